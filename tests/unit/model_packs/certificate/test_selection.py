"""The order of tests and the choice of a threshold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_packs.certificate import binomial, selection
from model_packs.certificate.evidence import Order

TARGET, DELTA = 0.05, 0.05


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(124, 2000), st.integers(0, 2**32 - 1))
def test_the_sequence_starts_where_two_errors_can_still_be_rejected(n_tune: int, n_calibration: int, seed: int) -> None:
    """The start is the strictest tuning score whose expected kept count reaches the required one."""
    tune = np.random.default_rng(seed).random(n_tune)

    thresholds = selection.threshold_sequence(tune, n_calibration, TARGET, DELTA)

    needed = binomial.required_trials(TARGET, DELTA, selection.START_ERRORS)
    falling = sorted(tune.tolist(), reverse=True)
    # Expected kept = n_calibration * count / n_tune, compared without dividing.
    first = next(score for count, score in enumerate(falling, 1) if n_calibration * count >= needed * n_tune)
    assert thresholds[0] == first
    assert thresholds[-1] == tune.min()
    assert list(thresholds) == sorted(set(thresholds), reverse=True)


def test_too_few_calibration_rows_give_no_sequence() -> None:
    """With fewer rows than no error at all needs, there is nothing to test."""
    assert selection.threshold_sequence(np.linspace(0, 1, 50), 58, TARGET, DELTA) == ()


@pytest.mark.parametrize(("n_rows", "errors"), [(58, None), (59, 0), (92, 0), (93, 1), (123, 1), (124, 2), (10_000, 2)])
def test_the_start_bears_two_errors_or_as_many_as_the_rows_allow(n_rows: int, errors: int | None) -> None:
    """Few rows still get a start; what it bears is known before any outcome is."""
    assert selection.start_errors(n_rows, TARGET, DELTA) == errors


def test_testing_stops_at_the_first_threshold_that_is_not_rejected() -> None:
    """A looser threshold that would pass again is not looked at: that is what makes the sequence valid."""
    scores = np.repeat([0.9, 0.8, 0.7], [200, 50, 2000])
    is_error = np.repeat([False, True, False], [200, 50, 2000])

    tested = selection.select((0.9, 0.8, 0.7), scores, is_error, target=TARGET, delta=DELTA)

    assert [test.threshold for test in tested] == [0.9, 0.8]
    assert [test.is_rejected for test in tested] == [True, False]
    assert binomial.lower_tail(50, 2250, TARGET) <= DELTA  # 0.7 would have passed


def test_counts_are_of_scores_at_or_above_the_threshold() -> None:
    """A window scored exactly at the threshold is kept, as on the device."""
    (tested,) = selection.select((0.5,), np.array([0.4, 0.5, 0.6]), np.array([True, True, False]), target=0.5, delta=1)

    assert (tested.n_kept, tested.k_errors) == (2, 1)


def test_betting_tests_each_threshold_once_and_keeps_the_evidence_of_what_may_be_shown() -> None:
    """The same thresholds in the same order; the last rejected one and the one that ended it carry their order."""
    scores = np.repeat([0.9, 0.8, 0.7, 0.6, 0.5], 100)
    is_error = np.repeat([False, False, False, True, False], 100)

    tested = selection.select(
        (0.8, 0.75, 0.7, 0.6, 0.5), scores, is_error, target=TARGET, delta=DELTA, method="betting"
    )

    assert [test.threshold for test in tested] == [0.8, 0.75, 0.7, 0.6]
    assert [test.is_rejected for test in tested] == [True, True, True, False]
    assert [test.evidence for test in tested] == [None, None, Order(0), Order(400)]
