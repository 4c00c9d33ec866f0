"""Owns when a batch closes: as soon as the wave that its requests came in is whole, and never later than a bound.

How large a wave is, is `core.serving.wave`. What comes in the same turn of the event loop always runs together.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from cloud_hub.core.serving.wave import Wave

FULL_SIZE: Final = 4
"""A wave of so many is waited for as long as the bound; a smaller one in proportion, so that chance costs little.

For each that is missing, the wait must be longer than the loop takes for one request: 0.3 ms with gRPC, twice that
where others are on the cores. Else a small wave stays small just when the loop has most to do, and each runs alone.
"""


class Window:
    """The window of one model.

    Args:
        loop: The event loop that everything here is called on.
        bound_s: How long a batch waits for the rest of a wave of `FULL_SIZE` and more; 0: it does not.
        most: Most requests that are waited for.
        close: Told when the window closes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, bound_s: float, most: int, close: Callable[[], None]) -> None:
        self._loop = loop
        self._bound_s = bound_s
        self._close = close
        self._wave = Wave(most)
        self._timer: asyncio.TimerHandle | None = None
        self._turn: asyncio.Handle | None = None

    def come(self, *, is_beside_another: bool) -> None:
        """A request has come that could run; `is_beside_another` as for `Wave.come`."""
        wave = self._wave
        wave.come(is_beside_another=is_beside_another)
        if self._turn is not None:
            return
        if wave.is_whole or not self._bound_s:
            self._turn = self._loop.call_soon(self._end_of_turn)
        elif self._timer is None:
            bound_s = self._bound_s * min(1.0, wave.size / FULL_SIZE)
            self._timer = self._loop.call_later(bound_s, self._end_of_bound)

    def fill(self) -> None:
        """The batch is full without waiting any longer: close now."""
        self._wave.come(is_beside_another=False)
        self._end(is_late=False)

    def cancel(self) -> None:
        """Wait for nothing any more; a second call does nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _end_of_turn(self) -> None:
        self._turn = None
        self._end(is_late=False)

    def _end_of_bound(self) -> None:
        self._timer = None
        self._end(is_late=not self._wave.is_whole)

    def _end(self, *, is_late: bool) -> None:
        self.cancel()
        self._wave.end(is_late=is_late)
        self._close()
