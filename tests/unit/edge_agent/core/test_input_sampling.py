"""Which inputs are looked at when more come than are worth it."""

import pytest

from edge_agent.core.input_sampling import LOOKED_AT_ONCE, LOOKED_AT_PER_S, InputSampling
from edge_agent.core.prediction import prediction_id


def taken(sampling: InputSampling, per_s: int, first_s: int, seconds: int) -> list[tuple[int, int]]:
    """Second and number of each input that is looked at, of so many a second."""
    return [
        (second, number)
        for second in range(first_s, first_s + seconds)
        for number in range(per_s)
        if sampling.takes(prediction_id("press-07", "motion", "m1", second, number), second + number / per_s)
    ]


@pytest.mark.parametrize("per_s", [1, LOOKED_AT_PER_S])
def test_all_are_looked_at_while_few_come(per_s: int) -> None:
    """As without a share."""
    assert len(taken(InputSampling(), per_s, 0, 10)) == 10 * per_s


def test_of_many_a_random_share_is_looked_at() -> None:
    """About so many a second, from all parts of it; a burst out of nothing has an end."""
    sampling = InputSampling()
    assert len(taken(sampling, 1000, 0, 1)) == LOOKED_AT_ONCE
    later = taken(sampling, 1000, 1, 60)
    assert len(later) == pytest.approx(60 * LOOKED_AT_PER_S, rel=0.1)
    early = sum(number < 500 for _, number in later)
    assert early == pytest.approx(len(later) / 2, rel=0.15)


def test_after_a_flood_all_are_looked_at_again() -> None:
    """The share is that of the last second in which something came."""
    sampling = InputSampling()
    taken(sampling, 1000, 0, 3)
    assert len(taken(sampling, 10, 100, 5)) == 50


def test_a_crash_looks_at_the_same() -> None:
    """The share goes by the ids."""
    assert taken(InputSampling(), 1000, 0, 5) == taken(InputSampling(), 1000, 0, 5)
