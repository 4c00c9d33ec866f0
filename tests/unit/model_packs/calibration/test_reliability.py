"""The reliability table and the expected calibration error."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_packs.calibration.reliability import ReliabilityBin, expected_calibration_error, reliability


def test_the_table_compares_score_and_accuracy_by_bin() -> None:
    """Rows fall into bins that hold their upper edge; empty bins are left out."""
    table = reliability([0.0, 0.25, 0.5, 0.9, 1.0], [False, True, True, False, True], bins=2)

    assert table == (
        ReliabilityBin(low=0.0, high=0.5, count=3, mean_score=0.25, accuracy=2 / 3),
        ReliabilityBin(low=0.5, high=1.0, count=2, mean_score=0.95, accuracy=0.5),
    )
    assert expected_calibration_error(
        [0.0, 0.25, 0.5, 0.9, 1.0], [False, True, True, False, True], bins=2
    ) == pytest.approx((3 * (2 / 3 - 0.25) + 2 * 0.45) / 5)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50), st.integers(1, 20))
def test_the_error_is_a_share_and_every_row_is_counted_once(rows: list[tuple[float, bool]], bins: int) -> None:
    """The error lies between 0 and 1, and the bins hold all rows."""
    scores, correct = zip(*rows, strict=True)

    assert sum(entry.count for entry in reliability(scores, correct, bins)) == len(rows)
    assert 0.0 <= expected_calibration_error(scores, correct, bins) <= 1.0


def test_honest_scores_have_a_small_error() -> None:
    """Outcomes drawn with the scores as probabilities leave only noise."""
    rng = np.random.default_rng(5)
    scores = rng.random(50_000)

    assert expected_calibration_error(scores, rng.random(50_000) < scores) < 0.02


@pytest.mark.parametrize(
    ("scores", "correct", "bins", "message"),
    [
        ([], [], 5, "not empty"),
        ([0.5], [True, False], 5, "equally long"),
        ([1.5], [True], 5, "between 0 and 1"),
        ([float("nan")], [True], 5, "between 0 and 1"),
        ([0.5], [True], 0, "at least one bin"),
    ],
)
def test_rows_that_make_no_table_are_refused(scores: list[float], correct: list[bool], bins: int, message: str) -> None:
    """The message says what is wrong."""
    with pytest.raises(ValueError, match=message):
        reliability(scores, correct, bins)
