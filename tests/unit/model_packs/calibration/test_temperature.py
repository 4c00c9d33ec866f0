"""Fitting, accepting and applying a temperature."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model_packs.calibration.temperature import (
    accept_temperature,
    fit_temperature,
    negative_log_likelihood,
    softmax,
)


def overconfident(rows: int, factor: float, seed: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Logits whose labels are drawn from the softmax of the logits divided by a factor."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2.0 * factor, size=(rows, 4))
    cumulative = softmax(logits, factor).cumsum(axis=1)
    return logits, (cumulative < rng.random((rows, 1))).sum(axis=1).clip(max=3)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_fit_finds_the_temperature_that_made_the_labels(factor: float) -> None:
    """On labels drawn at a known temperature the fit gives it back, within the noise of the sample."""
    logits, labels = overconfident(20_000, factor, seed=3)

    assert fit_temperature(logits, labels) == pytest.approx(factor, rel=0.05)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_other_temperature_fits_better(seed: int) -> None:
    """The fitted temperature's likelihood is not beaten by temperatures around it."""
    logits, labels = overconfident(200, 2.0, seed)

    fitted = fit_temperature(logits, labels)

    best = negative_log_likelihood(logits, labels, fitted)
    assert all(
        best <= negative_log_likelihood(logits, labels, fitted * step) + 1e-12 for step in (0.8, 0.99, 1.01, 1.2)
    )


def test_a_temperature_that_helps_on_unseen_rows_is_used() -> None:
    """Rows that took no part in the fit judge it."""
    accepted = accept_temperature(overconfident(2000, 3.0, seed=1), overconfident(2000, 3.0, seed=2))

    assert accepted.temperature == accepted.fitted == pytest.approx(3.0, rel=0.1)
    assert accepted.nll_after < accepted.nll_before


def test_a_temperature_that_hurts_on_unseen_rows_is_refused() -> None:
    """When the judging rows are of another kind, the scores stay as they are."""
    accepted = accept_temperature(overconfident(2000, 3.0, seed=1), overconfident(2000, 1.0, seed=2))

    assert accepted.temperature == 1.0
    assert accepted.fitted == pytest.approx(3.0, rel=0.1)
    assert accepted.nll_after > accepted.nll_before


def test_probabilities_sum_to_one_however_large_the_logits() -> None:
    """Neither huge logits nor a tiny temperature overflows."""
    probabilities = softmax([[1e300, -1e300], [0.0, 0.0]], 1e-3)

    assert probabilities.tolist() == [[1.0, 0.0], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ([[0.0, 1.0]], [0, 1], "1 rows of logits but labels"),
        (np.empty((0, 3)), [], "no rows"),
        ([[0.0, np.nan]], [0], "not finite"),
        ([0.0, 1.0], [0, 1], "a table"),
        ([[0.0, 1.0]], [2], "class indices from 0 to 1"),
    ],
)
def test_tables_that_do_not_belong_together_are_refused(
    logits: NDArray[np.float64], labels: list[int], message: str
) -> None:
    """The message says what is wrong with the rows."""
    with pytest.raises(ValueError, match=message):
        fit_temperature(logits, labels)


def test_a_temperature_is_above_zero() -> None:
    """Zero, negative and missing temperatures are refused."""
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="above 0"):
            softmax([[0.0, 1.0]], temperature)
        with pytest.raises(ValueError, match="above 0"):
            negative_log_likelihood([[0.0, 1.0]], [0], temperature)
