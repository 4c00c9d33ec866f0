"""Owns which questions are worth a call while calls are short: the gain that one must bring, from those seen lately.

An answer never waits, and whether the hub is asked is decided once, with it. So no question waits for a call; calls
wait for questions. A question is asked when its expected gain is among the largest of the last *horizon*, as many as
there are calls left. While fewer are wanted than there are calls, all are asked. Where more are wanted for long, calls
settle at what comes in a horizon, and go to the largest gains of all.

Pure: the caller's clock goes in. How many calls there are is `budget.py`'s business.
"""

import math
from collections.abc import Sequence

import numpy as np

_STEPS = 1000


class Worth:
    """The gains of lately, as a histogram whose weights fade with time; its size is fixed.

    Args:
        horizon_s: A gain that was seen so long ago weighs 1/e.
    """

    def __init__(self, horizon_s: float) -> None:
        self._horizon_s = horizon_s
        self._weights = np.zeros(_STEPS + 1)
        self._since_s: float | None = None

    def worthy(self, gains: Sequence[float], calls: int, now_s: float) -> list[bool]:
        """Note gains, and tell which of them are worth a call.

        Args:
            gains: Expected gains of questions that come together, 0..1: how probable it is that the hub's answer is
                better. They are told apart in steps of 0.001.
            calls: That are left for this and all that comes.
            now_s: Monotonic.

        Returns:
            For each gain whether it is among the `calls` largest of lately, these included; of equal ones all are.
        """
        steps = [min(max(int(gain * _STEPS), 0), _STEPS) for gain in gains]
        if self._since_s is not None:
            self._weights *= math.exp(-max(0.0, now_s - self._since_s) / self._horizon_s)
        self._since_s = now_s if self._since_s is None else max(now_s, self._since_s)
        np.add.at(self._weights, steps, 1.0)
        if calls <= 0:
            return [False] * len(steps)
        above = np.cumsum(self._weights[::-1])  # weight of this step and of all larger ones, the largest step first
        place = int(np.searchsorted(above, calls))
        least = max(0, _STEPS - place)
        return [step >= least for step in steps]
