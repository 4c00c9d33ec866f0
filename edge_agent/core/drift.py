"""Owns two change detectors for one number a window: ADWIN, and Page-Hinkley. Pure Python, no clock, no randomness.

What is watched, and what an alarm means, is `input_statistics.py`. An alarm says that the mean of the numbers has
changed; it cannot say whether that does any harm.
"""

import math
from dataclasses import dataclass, field

_PER_LEVEL = 5
_LEAST_PART = 16
_LEAST_WIDTH = 64


@dataclass(slots=True)
class _Bucket:
    """Some consecutive values: how many, their sum, and the sum of squared deviations from their mean."""

    count: int
    total: float
    squares: float

    def joined(self, later: "_Bucket") -> "_Bucket":
        """Two neighbours as one (Chan et al. 1979)."""
        count = self.count + later.count
        gap = later.total / later.count - self.total / self.count
        squares = self.squares + later.squares + gap * gap * self.count * later.count / count
        return _Bucket(count, self.total + later.total, squares)


@dataclass(slots=True)
class Adwin:
    """Adaptive windowing: the longest past whose two parts have the same mean, for every place to part it.

    A. Bifet, R. Gavaldà, "Learning from Time-Changing Data with Adaptive Windowing", SDM 2007: ADWIN2, with the bound
    for a known variance and `delta / ln(width)` at each check. Memory grows with the logarithm of the window.

    Attributes:
        delta: Bound on the probability of a false cut at one check, over all places.
        check_every: Values between two checks.
    """

    delta: float = 0.002
    check_every: int = 32
    _levels: list[list[_Bucket]] = field(default_factory=lambda: [[]])
    _seen: int = 0

    @property
    def width(self) -> int:
        """Values in the window."""
        return sum(bucket.count for level in self._levels for bucket in level)

    @property
    def mean(self) -> float:
        """Of the window; NaN before the first value."""
        width = self.width
        return sum(bucket.total for level in self._levels for bucket in level) / width if width else math.nan

    def begin(self, count: int, mean: float, std: float) -> None:
        """Start from values that were seen elsewhere: so many, with this mean and standard deviation."""
        self._levels = [[] for _ in range(count.bit_length())]
        self._levels[-1].append(_Bucket(count, count * mean, count * std * std))

    def update(self, value: float) -> bool:
        """Take the next value.

        Args:
            value: From 0 to 1: the bound is for values of this range.

        Returns:
            Whether the mean has changed: then the window has lost its older part.
        """
        self._levels[0].append(_Bucket(1, value, 0.0))
        place = 0
        while len(self._levels[place]) > _PER_LEVEL:
            if place + 1 == len(self._levels):
                self._levels.append([])
            level = self._levels[place]
            self._levels[place + 1].append(level.pop(0).joined(level.pop(0)))
            place += 1
        self._seen += 1
        return self._seen % self.check_every == 0 and self._shrunk()

    def _shrunk(self) -> bool:
        """Drop the oldest buckets while some place parts the window into two different means."""
        has_changed = False
        while self._has_cut():
            oldest = next(level for level in reversed(self._levels) if level)
            oldest.pop(0)
            has_changed = True
        return has_changed

    def _has_cut(self) -> bool:
        buckets = [bucket for level in reversed(self._levels) for bucket in level]  # oldest first
        width = sum(bucket.count for bucket in buckets)
        if width < _LEAST_WIDTH:
            return False
        whole = buckets[0]
        for bucket in buckets[1:]:
            whole = whole.joined(bucket)
        variance, risk = whole.squares / width, math.log(2.0 * math.log(width) / self.delta)
        count, total = 0, 0.0
        for bucket in buckets[:-1]:
            count, total = count + bucket.count, total + bucket.total
            rest = width - count
            if min(count, rest) < _LEAST_PART:
                continue
            harmonic = 1.0 / (1.0 / count + 1.0 / rest)
            cut = math.sqrt(2.0 / harmonic * variance * risk) + 2.0 / (3.0 * harmonic) * risk
            if abs(total / count - (whole.total - total) / rest) > cut:
                return True
        return False


@dataclass(slots=True)
class PageHinkley:
    """Page-Hinkley test, both ways: how far the sum of deviations from the running mean has left its extreme.

    E. S. Page, "Continuous Inspection Schemes", Biometrika 1954; with the running mean as in J. Gama et al., "A Survey
    on Concept Drift Adaptation", ACM CSUR 2014.

    Attributes:
        slack: Deviations of this size are no change, in units of the values.
        threshold: An alarm beyond it, in the same units.
        least: Values before the first alarm.
    """

    slack: float = 0.005
    threshold: float = 10.0
    least: int = 30
    _count: int = 0
    _mean: float = 0.0
    _up: float = 0.0
    _down: float = 0.0

    def begin(self, count: int, mean: float) -> None:
        """Start from values that were seen elsewhere: so many, with this mean."""
        self._count, self._mean, self._up, self._down = count, mean, 0.0, 0.0

    def update(self, value: float) -> bool:
        """Take the next value; after an alarm the test begins anew.

        Args:
            value: Any finite number.

        Returns:
            Whether the mean has risen or fallen.
        """
        self._count += 1
        self._mean += (value - self._mean) / self._count
        self._up = max(0.0, self._up + value - self._mean - self.slack)
        self._down = max(0.0, self._down - value + self._mean - self.slack)
        has_changed = self._count >= self.least and max(self._up, self._down) > self.threshold
        if has_changed:
            self._count, self._mean, self._up, self._down = 0, 0.0, 0.0, 0.0
        return has_changed
