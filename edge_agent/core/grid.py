"""Owns the grid of sampling times: slot `i` stands at `i / rate` seconds after the Unix epoch, in exact arithmetic."""

from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.timestamps import NS_PER_S

MAX_RATE_HZ = 1_000_000
MAX_DURATION_S = 1_000_000
_FEW = 16
_MAX_RATE_TERMS = 4_000_000_000  # numerator x denominator: 2e9 times this must stay below 2**63


@lru_cache(maxsize=64)  # pure, and asked for each message
def rate_fraction(rate_hz: float) -> Fraction | None:
    """Read a rate as the fraction that its decimal text means (29.97 is 2997/100).

    Args:
        rate_hz: Samples a second.

    Returns:
        None when it is not positive, above `MAX_RATE_HZ`, or no simple fraction.
    """
    if not 0 < rate_hz <= MAX_RATE_HZ:
        return None
    rate = Fraction(repr(float(rate_hz)))
    return rate if rate.numerator * rate.denominator <= _MAX_RATE_TERMS else None


def whole_slots(duration_s: float, rate_hz: float) -> int | None:
    """How many slots a duration spans.

    Args:
        duration_s: Its decimal text is taken at its word.
        rate_hz: A rate that `rate_fraction` accepts.

    Returns:
        None when that is no whole number of at least 1, or the duration is no whole number of nanoseconds.
    """
    rate = rate_fraction(rate_hz)
    if rate is None or not 0 < duration_s <= MAX_DURATION_S:
        return None
    duration = Fraction(repr(float(duration_s)))
    slots = duration * rate
    is_whole = slots.denominator == 1 and (duration * NS_PER_S).denominator == 1
    return slots.numerator if is_whole else None


def whole_ns(duration_s: float) -> int:
    """A configured duration in nanoseconds, its decimal text taken at its word and rounded to the nearest."""
    return round(Fraction(repr(float(duration_s))) * NS_PER_S)


@dataclass(frozen=True, slots=True)
class Grid:
    """Slots of one rate.

    Args:
        rate_hz: A rate that `rate_fraction` accepts.

    Raises:
        ValueError: It does not accept it.
    """

    rate_hz: float
    _numerator: int = field(init=False, repr=False)
    _period_ns: int = field(init=False, repr=False)  # nanoseconds of `_numerator` slots

    def __post_init__(self) -> None:
        rate = rate_fraction(self.rate_hz)
        if rate is None:
            raise ValueError(f"a rate of {self.rate_hz} Hz cannot be laid on a grid")
        object.__setattr__(self, "_numerator", rate.numerator)
        object.__setattr__(self, "_period_ns", rate.denominator * NS_PER_S)

    def slots(self, times_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Nearest slots.

        Args:
            times_ns: int64 [n], Unix epoch, UTC.

        Returns:
            int64 [n]; a time half-way between two slots takes the later.
        """
        if len(times_ns) <= _FEW:  # an array's overhead is more than so many divisions
            return np.array([self.slot(time_ns) for time_ns in times_ns.tolist()], np.int64)
        # Whole periods first: their product with the numerator stays small enough for 64 bits.
        periods, rest = np.divmod(times_ns, self._period_ns)
        nearest: NDArray[np.int64] = periods * self._numerator + (2 * rest * self._numerator + self._period_ns) // (
            2 * self._period_ns
        )
        return nearest

    def even_slot(self, first_ns: int) -> int | None:
        """The slot of a time, if those that follow it in steps of `times_ns` are sure to have the slots after it.

        Args:
            first_ns: Unix epoch, UTC.

        Returns:
            None when it is so near the middle between two slots that a step's rounding may decide.
        """
        slot, rest = divmod(2 * first_ns * self._numerator + self._period_ns, 2 * self._period_ns)
        return slot if rest >= 2 * self._numerator else None

    def times_ns(self, samples: int) -> NDArray[np.int64]:
        """Times of the first slots.

        Args:
            samples: How many; at this rate they must span less than 292 years.

        Returns:
            int64 [samples], from 0, rounded down to whole nanoseconds.
        """
        groups, rest = np.divmod(np.arange(samples, dtype=np.int64), self._numerator)
        times: NDArray[np.int64] = groups * self._period_ns + rest * self._period_ns // self._numerator
        return times

    def slot(self, time_ns: int) -> int:
        """Nearest slot of one time."""
        return (2 * time_ns * self._numerator + self._period_ns) // (2 * self._period_ns)

    def time_ns(self, slot: int) -> int:
        """When a slot stands, rounded down to whole nanoseconds; `slot` of it is the same slot again."""
        return slot * self._period_ns // self._numerator
