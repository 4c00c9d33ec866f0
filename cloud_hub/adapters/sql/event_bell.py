"""Owns waking whoever waits for events in this process; what other processes write is found by looking now and then."""

import asyncio


class EventBell:
    """Rung after each commit that wrote events; wakes all who wait."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake all who wait now."""
        self._rung.set()
        self._rung = asyncio.Event()

    def next_ring(self) -> asyncio.Event:
        """What is set at the next ring; take it before looking, so that no ring is missed in between."""
        return self._rung
