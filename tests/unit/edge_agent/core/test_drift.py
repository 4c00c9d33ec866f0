"""What the change detectors tell, and when they keep quiet."""

import math
import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.drift import Adwin, PageHinkley


def noise(seed: int, count: int, mean: float, spread: float) -> list[float]:
    """Independent values within 0..1."""
    generator = random.Random(seed)  # noqa: S311 - a test's values
    return [min(1.0, max(0.0, generator.gauss(mean, spread))) for _ in range(count)]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_without_a_change_the_window_is_everything(values: list[float]) -> None:
    """Merged buckets lose nothing: count and mean are those of all values."""
    adwin = Adwin(delta=1e-300)
    assert not any(adwin.update(value) for value in values)
    assert adwin.width == len(values)
    assert adwin.mean == pytest.approx(fmean(values))


def test_an_empty_window_has_no_mean() -> None:
    """It is no number."""
    assert math.isnan(Adwin().mean)


def test_stable_values_raise_no_alarm() -> None:
    """Thirty streams of a thousand values, at the delta that is used."""
    assert sum(Adwin().update(value) for seed in range(30) for value in noise(seed, 1000, 0.5, 0.1)) == 0
    alarms = 0
    for seed in range(30):
        adwin = Adwin()
        alarms += sum(adwin.update(value) for value in noise(seed, 1000, 0.5, 0.1))
    assert alarms == 0


@pytest.mark.parametrize(("before", "after"), [(0.3, 0.6), (0.6, 0.3)])
def test_a_shift_is_told_and_the_old_part_forgotten(before: float, after: float) -> None:
    """In both directions, within a hundred values; afterwards the mean is the new one."""
    adwin = Adwin()
    assert not any(adwin.update(value) for value in noise(1, 500, before, 0.05))
    told = [place for place, value in enumerate(noise(2, 500, after, 0.05)) if adwin.update(value)]
    assert told
    assert told[0] < 100
    assert adwin.mean == pytest.approx(after, abs=0.03)
    assert adwin.width < 600


def test_its_memory_grows_with_the_logarithm() -> None:
    """Ten thousand values take a few dozen buckets."""
    adwin = Adwin()
    for value in noise(3, 10_000, 0.5, 0.1):
        adwin.update(value)
    assert sum(map(len, adwin._levels)) < 100


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_page_hinkley_tells_a_shift_and_begins_anew(sign: float) -> None:
    """Both ways; not before it has seen enough."""
    test = PageHinkley(slack=0.5, threshold=10.0)
    assert not any(test.update(0.0) for _ in range(100))
    told = [place for place in range(40) if test.update(sign * 3.0)]
    assert told
    assert told[0] <= 6
    assert not PageHinkley(threshold=0.0, least=5).update(9.0)


def test_page_hinkley_lets_small_deviations_be() -> None:
    """Less than the slack adds up to nothing."""
    test = PageHinkley(slack=0.5, threshold=10.0)
    assert not any(test.update(0.4 if place % 2 else -0.4) for place in range(5000))
