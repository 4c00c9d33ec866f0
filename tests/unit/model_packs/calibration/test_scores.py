"""Scores of class probabilities: their range, their order, their refusals."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from model_packs.calibration.scores import certainty, margin, max_probability
from model_packs.calibration.temperature import softmax

Score = Callable[[NDArray[np.float64]], NDArray[np.float64]]
SCORES: tuple[Score, ...] = (max_probability, margin, certainty)
TABLES = npst.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=st.floats(-50.0, 50.0)).map(
    softmax
)


@given(TABLES)
def test_every_score_lies_between_nought_and_one(table: NDArray[np.float64]) -> None:
    """One number a row, whatever the probabilities."""
    for score in SCORES:
        found = score(table)
        assert found.shape == (len(table),)
        assert ((found >= 0.0) & (found <= 1.0)).all()


def test_a_certain_row_scores_one_and_an_undecided_one_lowest() -> None:
    """One class alone gives 1 by every score; all classes alike give 1/classes, 0 and 0."""
    certain, undecided = np.array([[0.0, 1.0, 0.0, 0.0]]), np.full((1, 4), 0.25)
    assert [score(certain)[0] for score in SCORES] == [1.0, 1.0, 1.0]
    assert [score(undecided)[0] for score in SCORES] == pytest.approx([0.25, 0.0, 0.0])


def test_the_scores_are_what_their_formulas_say() -> None:
    """By hand for (0.7, 0.2, 0.1)."""
    table = np.array([[0.2, 0.7, 0.1]])
    nats = -(0.7 * np.log(0.7) + 0.2 * np.log(0.2) + 0.1 * np.log(0.1))
    assert max_probability(table)[0] == 0.7
    assert margin(table)[0] == pytest.approx(0.5)
    assert certainty(table)[0] == pytest.approx(1.0 - nats / np.log(3.0))


def test_a_single_class_is_always_certain() -> None:
    """There is nothing to mistake it for; Sedna's rule divides by log 1 here."""
    assert [score(np.ones((2, 1))).tolist() for score in SCORES] == [[1.0, 1.0]] * 3


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ([0.5, 0.5], "table"),
        ([[0.5, 0.6]], "sum to 1"),
        ([[1.5, -0.5]], "between 0 and 1"),
        ([[np.nan, 1.0]], "between 0 and 1"),
    ],
)
@pytest.mark.parametrize("score", SCORES)
def test_what_are_no_probabilities_is_refused(score: Score, table: list[float], reason: str) -> None:
    """A wrong table is an error, never a score."""
    with pytest.raises(ValueError, match=reason):
        score(np.array(table))
