"""The sampling grid is exact, also for rates without a whole period."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.grid import Grid, rate_fraction, whole_ns, whole_slots
from edge_agent.core.timestamps import MAX_NS, NS_PER_S

RATES = st.sampled_from([0.1, 1.0, 12.5, 29.97, 50.0, 333.3, 1000.0, 44100.0, 1_000_000.0])


@given(RATES, st.integers(0, MAX_NS))
def test_arrays_and_single_times_agree(rate_hz: float, time_ns: int) -> None:
    """64-bit arithmetic gives what exact arithmetic gives."""
    exact = Fraction(time_ns * Fraction(repr(rate_hz)), NS_PER_S) + Fraction(1, 2)
    nearest = exact.numerator // exact.denominator
    assert Grid(rate_hz).slots(np.array([time_ns], np.int64)).tolist() == [nearest]
    assert Grid(rate_hz).slot(time_ns) == nearest


@given(RATES, st.integers(0, 10**9))
def test_a_slot_is_nearest_to_its_own_time(rate_hz: float, slot: int) -> None:
    """There and back again."""
    grid = Grid(rate_hz)
    assert grid.slot(grid.time_ns(slot)) == slot


@given(RATES, st.integers(1, 200))
def test_times_of_samples_are_those_of_slots(rate_hz: float, samples: int) -> None:
    """The array holds what single times say."""
    grid = Grid(rate_hz)
    assert grid.times_ns(samples).tolist() == [grid.time_ns(slot) for slot in range(samples)]


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, 1_000_001.0, 1 / 3, float("nan"), float("inf")])
def test_a_rate_that_is_no_simple_fraction_is_refused(rate_hz: float) -> None:
    """Its grid would not be exact."""
    assert rate_fraction(rate_hz) is None
    assert whole_slots(1.0, rate_hz) is None
    with pytest.raises(ValueError, match="cannot be laid on a grid"):
        Grid(rate_hz)


@pytest.mark.parametrize(
    ("duration_s", "rate_hz", "slots"),
    [
        (1.0, 50.0, 50),
        (0.1, 50.0, 5),
        (0.3, 10.0, 3),
        (0.01, 50.0, None),
        (0.0, 50.0, None),
        (-1.0, 50.0, None),
        (float("nan"), 50.0, None),
        (1e-10, 1e6, None),
    ],
)
def test_durations_are_whole_numbers_of_slots(duration_s: float, rate_hz: float, slots: int | None) -> None:
    """A decimal is taken at its word: 0.1 s is a tenth."""
    assert whole_slots(duration_s, rate_hz) == slots


def test_durations_become_nanoseconds_exactly() -> None:
    """Not those of the nearest binary fraction."""
    assert whole_ns(0.3) == 300_000_000
