"""Owns waiting for events: waking whoever waits in this process, and looking now and then for what others write."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

POLL_S = 1.0
"""How often one who waits for an event looks without being woken: commands write from other processes."""


class EventBell:
    """Rung after each commit that wrote events; wakes all who wait."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake all who wait now."""
        self._rung.set()
        self._rung = asyncio.Event()

    async def wait_until(self, is_there: Callable[[], Awaitable[bool]], timeout_s: float) -> bool:
        """Wait until what is waited for is there, at most so long; False when it did not come.

        Args:
            is_there: Looks; what comes while it looks is not missed.
            timeout_s: 0 looks once.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        while True:
            ring = self._rung
            if await is_there():
                return True
            left_s = until_s - loop.time()
            if left_s <= 0:
                return False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, POLL_S)):
                    await ring.wait()
