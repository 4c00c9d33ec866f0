"""Owns which inputs are looked at when more come than are worth it: a random share, by the prediction's id.

The statistics of an input (`input_statistics.py`) cost more than a small model's answer, and drift is no matter of
milliseconds: some inputs a second tell it as well as thousands. The share is the same for all inputs of a second, so
no stream is left out because it comes at a bad moment, and what is looked at is a random sample of what came.
"""

import zlib

LOOKED_AT_PER_S = 50
"""So many inputs of a binding are looked at in a second, on average."""

LOOKED_AT_ONCE = 4 * LOOKED_AT_PER_S
"""So many at most in the first second of a burst, which nobody could foresee."""

_PERIOD_S = 1.0
_WHOLE = 1 << 32


class InputSampling:
    """The share of one binding; what it decides depends on the ids and times that it is given, and on nothing else."""

    def __init__(self) -> None:
        self._began_s = float("-inf")
        self._share = 1.0
        self._came = 0
        self._taken = 0

    def takes(self, name: str, now_s: float) -> bool:
        """Whether to look at an input.

        Args:
            name: The id of its prediction: a digest, so as good as random, and the same after a crash.
            now_s: Monotonic; never before that of an earlier call.
        """
        passed_s = now_s - self._began_s
        if passed_s >= _PERIOD_S:
            self._share = min(1.0, LOOKED_AT_PER_S * passed_s / self._came) if self._came else 1.0
            self._began_s, self._came, self._taken = now_s, 0, 0
        self._came += 1
        is_taken = self._taken < LOOKED_AT_ONCE and zlib.crc32(name.encode()) < self._share * _WHOLE
        self._taken += is_taken
        return is_taken
