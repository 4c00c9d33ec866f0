"""Owns when a batch closes: as soon as nothing more is on its way, and never later than a bound.

A protocol tells when a call begins (its headers are there) and when its message has come. While others are on their
way, what has come waits for them; one client alone never waits. Requests whose protocol tells nothing are put together
with what comes in the same turn of the event loop. A call that was expected and never came is forgotten at the bound.
"""

import asyncio
from typing import Protocol

from cloud_hub.serving.interface import Arrival


class Closing(Protocol):
    """Something that waits for the window to close."""

    def close_window(self) -> None:
        """Run what has come."""


class Window:
    """The one window of a serving core.

    Args:
        loop: The event loop that everything here is called on.
        bound_s: How long a batch waits for what is on its way; 0: it does not.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, bound_s: float) -> None:
        self._loop = loop
        self._bound_s = bound_s
        self._last = 0
        self._expected: set[int] = set()
        self._waiting: list[Closing] = []
        self._timer: asyncio.TimerHandle | None = None
        self._turn: asyncio.Handle | None = None
        self._opened_at = 0

    def expect(self) -> Arrival:
        """Note that a call has begun."""
        self._last += 1
        self._expected.add(self._last)
        return Arrival(self._last)

    def forget(self, arrival: Arrival) -> None:
        """Note that a call has come, or never will; closes the window if it was the last."""
        self._expected.discard(arrival)
        if not self._expected and self._waiting:
            self._close()

    def wait(self, what: Closing, arrival: Arrival | None) -> None:
        """Wait for the window to close.

        Args:
            what: Told when it closes, which may be before this returns; it waits no more then.
            arrival: The call that has come just now, if it was expected.
        """
        self._waiting.append(what)
        self.note(arrival)

    def note(self, arrival: Arrival | None) -> None:
        """Note that one more has come for what waits already."""
        if arrival is not None:
            self._expected.discard(arrival)
            if not self._expected:
                self._close()
                return
        if self._turn is None and self._timer is None:
            self._opened_at = self._last
            self._turn = self._loop.call_soon(self._end_of_turn)

    def close(self) -> None:
        """Stop waiting; a second call does nothing."""
        self._stop()
        self._waiting.clear()

    def _end_of_turn(self) -> None:
        self._turn = None
        if self._expected and self._bound_s:
            self._timer = self._loop.call_later(self._bound_s, self._end_of_bound)
        else:
            self._close()

    def _end_of_bound(self) -> None:
        self._timer = None
        # What was on its way when the window opened may never come: it holds nobody up again.
        self._expected = {one for one in self._expected if one > self._opened_at}
        self._close()

    def _close(self) -> None:
        self._stop()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.close_window()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
