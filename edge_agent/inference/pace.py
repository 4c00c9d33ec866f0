"""Owns knowing which calls are short enough to be answered where they arrive, without a thread of their own.

Told by what the last runs took, for each size of the input to a power of two: a batch of a hundred is another matter
than one. Where a call is answered is `adapters/oip/loop_calls.py`.
"""

from typing import Final

QUICK_S: Final = 0.001
"""A change of threads there and back costs a tenth of that; others wait so long at most."""

_UNKNOWN: Final = 1
_MOST: Final = 3


class Pace:
    """The runs of one pack; any thread may ask. What nobody has seen yet is not quick."""

    def __init__(self) -> None:
        self._slowness: dict[int, int] = {}

    def is_quick(self, elements: int) -> bool:
        """Whether runs of this size took less than `QUICK_S` lately.

        Args:
            elements: Of the input.
        """
        return not self._slowness.get(elements.bit_length(), _UNKNOWN)

    def note(self, elements: int, took_s: float) -> None:
        """Learn from a run: a slow one counts until a quick one follows, several until as many do, up to three.

        Args:
            elements: Of the input.
            took_s: How long it took.
        """
        size = elements.bit_length()
        before = self._slowness.get(size, _UNKNOWN)
        if took_s > QUICK_S:
            self._slowness[size] = min(before + 1, _MOST)
        elif before:
            self._slowness[size] = before - 1
