"""Owns the samples of one partition that some open window may still need: dense arrays over consecutive slots.

Which windows are open is decided in `windows.py`.
"""

import numpy as np
from numpy.typing import NDArray

_FIRST_CAPACITY = 64
_NO_ROW = -1


class SlotBuffer:
    """Values, and what is known of them, for the slots from `base` on.

    Attributes:
        base: First slot; what lies before it is forgotten.
        values: float32 [capacity, channels]; NaN where nothing is known.
        is_present: bool [capacity]: a sample was taken.
        is_used: bool [capacity]: it was in an emitted window.
        is_held: bool [capacity]: an open window may still need it.
        rows: int64 [capacity]: the journal row that brought it.
    """

    def __init__(self, channels: int) -> None:
        self.base = 0
        self._is_blank = True  # nothing was written since all was forgotten
        self.values: NDArray[np.float32] = np.full((_FIRST_CAPACITY, channels), np.nan, np.float32)
        self.is_present: NDArray[np.bool_] = np.zeros(_FIRST_CAPACITY, np.bool_)
        self.is_used: NDArray[np.bool_] = np.zeros(_FIRST_CAPACITY, np.bool_)
        self.is_held: NDArray[np.bool_] = np.zeros(_FIRST_CAPACITY, np.bool_)
        self.rows: NDArray[np.int64] = np.full(_FIRST_CAPACITY, _NO_ROW, np.int64)

    def is_empty(self) -> bool:
        """Whether no open window needs anything from it."""
        return not self.is_held.any()

    def end(self) -> int:
        """The slot after the last held one; `base` when there is none."""
        held = np.flatnonzero(self.is_held)
        return self.base + (int(held[-1]) + 1 if len(held) else 0)

    def reach(self, last: int) -> None:
        """Make room up to slot `last`."""
        needed = last - self.base + 1
        capacity = len(self.rows)
        if needed <= capacity:
            return
        while capacity < needed:
            capacity *= 2
        self._move(0, capacity)

    def forget_before(self, slot: int) -> None:
        """Move `base` to a later slot."""
        shift = slot - self.base
        if shift > 0:
            self._move(min(shift, len(self.rows)), len(self.rows))
            self.base = slot

    def skip_to(self, slot: int) -> None:
        """Forget everything, which no open window needs, and move `base` to a slot that is not before it."""
        if self._is_blank:
            self.base = slot
        else:
            self.forget_before(slot)
            self._is_blank = not self.is_present.any()

    def put(self, slots: NDArray[np.int64], values: NDArray[np.float32], row: int) -> NDArray[np.int64]:
        """Write samples into empty slots, for which there is room.

        Args:
            slots: int64 [n], distinct.
            values: float32 [n, channels].
            row: Journal row that brings them.

        Returns:
            Their places in the arrays.
        """
        at = slots - self.base
        self._is_blank = False
        self.values[at] = values
        self.is_present[at] = True
        self.is_held[at] = True
        self.rows[at] = row
        return at

    def append(self, first: int, values: NDArray[np.float32], row: int) -> None:
        """Write samples into neighbouring empty slots; makes room.

        Args:
            first: The first one's slot.
            values: float32 [n, channels].
            row: Journal row that brings them.
        """
        self.reach(first + len(values) - 1)
        at = slice(first - self.base, first - self.base + len(values))
        self._is_blank = False
        self.values[at] = values
        self.is_present[at] = True
        self.is_held[at] = True
        self.rows[at] = row

    def window(self, start: int, samples: int) -> slice:
        """Places of a window's slots, with room for all of them."""
        self.reach(start + samples - 1)
        return slice(start - self.base, start - self.base + samples)

    def _move(self, shift: int, capacity: int) -> None:
        kept = len(self.rows) - shift
        size = (capacity, self.values.shape[1])
        values = np.full(size, np.nan, np.float32)
        values[:kept] = self.values[shift:]
        self.values = values
        for name in ("is_present", "is_used", "is_held"):
            flags = np.zeros(capacity, np.bool_)
            flags[:kept] = getattr(self, name)[shift:]
            setattr(self, name, flags)
        rows = np.full(capacity, _NO_ROW, np.int64)
        rows[:kept] = self.rows[shift:]
        self.rows = rows
