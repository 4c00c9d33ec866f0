"""The exact binomial tail and the sample sizes that follow from it."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_packs.certificate import binomial


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 99))
def test_the_tail_equals_the_rational_sum(errors: int, more: int, percent: int) -> None:
    """For small samples the tail is the exact sum of fractions, to double precision."""
    trials, rate = errors + more, Fraction(percent, 100)
    exact = sum(
        (math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(errors + 1)), start=Fraction(0)
    )

    assert binomial.lower_tail(errors, trials, float(rate)) == pytest.approx(float(exact), rel=1e-11)


@settings(deadline=None)
@given(st.integers(1, 2000), st.data())
def test_one_more_error_is_never_less_surprising(trials: int, data: st.DataObject) -> None:
    """The tail rises with the errors and falls with the rate, whatever the sample."""
    errors = data.draw(st.integers(0, trials - 1))
    rate = data.draw(st.floats(1e-6, 0.5))

    tail = binomial.lower_tail(errors, trials, rate)

    assert 0.0 <= tail <= binomial.lower_tail(errors + 1, trials, rate) + 1e-12
    assert binomial.lower_tail(errors, trials, min(2 * rate, 0.999)) <= tail + 1e-12


def test_a_million_trials_are_no_problem() -> None:
    """At the mean of a million trials the tail is about a half, and no term under- or overflows."""
    assert binomial.lower_tail(50_000, 1_000_000, 0.05) == pytest.approx(0.501, abs=0.002)
    assert binomial.lower_tail(0, 1_000_000, 0.05) == 0.0  # 0.95 ** 1e6 is below the smallest double
    assert binomial.lower_tail(1_000_000, 1_000_000, 0.05) == 1.0


def test_no_trials_are_no_evidence() -> None:
    """With nothing observed the p-value is 1."""
    assert binomial.lower_tail(0, 0, 0.05) == 1.0


@pytest.mark.parametrize(
    ("rate", "errors", "needed"),
    [
        (0.005, 0, 598),
        (0.005, 1, 947),
        (0.005, 2, 1258),
        (0.01, 0, 299),
        (0.01, 1, 473),
        (0.01, 2, 628),
        (0.02, 0, 149),
        (0.02, 1, 236),
        (0.02, 2, 313),
        (0.05, 0, 59),
        (0.05, 1, 93),
        (0.05, 2, 124),
    ],
)
def test_required_trials_are_the_known_ones(rate: float, errors: int, needed: int) -> None:
    """The published sample sizes for 95 % confidence come out, and one trial fewer is not enough."""
    assert binomial.required_trials(rate, 0.05, errors) == needed
    assert binomial.lower_tail(errors, needed, rate) <= 0.05 < binomial.lower_tail(errors, needed - 1, rate)


@pytest.mark.parametrize(
    ("errors", "trials", "rate"), [(-1, 5, 0.1), (6, 5, 0.1), (0, 1_000_001, 0.1), (0, 5, 0.0), (0, 5, 1.0)]
)
def test_what_is_no_binomial_question_is_refused(errors: int, trials: int, rate: float) -> None:
    """Impossible counts and rates raise, instead of giving a p-value."""
    with pytest.raises(ValueError, match=r"lie"):
        binomial.lower_tail(errors, trials, rate)


def test_a_rate_that_takes_too_many_trials_is_refused() -> None:
    """A target that a million trials cannot show says so."""
    with pytest.raises(ValueError, match="more than 1000000 trials"):
        binomial.required_trials(1e-7, 0.05, 2)
    with pytest.raises(ValueError, match="delta"):
        binomial.required_trials(0.05, 1.0, 2)
