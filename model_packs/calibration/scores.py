"""Scores: one number from 0 to 1 that says how much an answer can stay as it is.

Owns the scores that class probabilities give, and their names as packs and certificates write them. All mean the same
to whoever reads them: higher is safer, and an answer stays when its score reaches the threshold. What is learned from
the hub's answers is `deferral`'s; a regression's is `conformal`'s; boxes' are `detection`'s. Making the probabilities
honest first is `temperature`'s and `scaling`'s.
"""

from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

ScoreKind = Literal["max_probability", "margin", "entropy", "escalate_output", "deferral"]
SCORE_KINDS: Final[tuple[ScoreKind, ...]] = ("max_probability", "margin", "entropy", "escalate_output", "deferral")

_ROW_SUM_TOLERANCE: Final = 1e-6


def max_probability(probabilities: ArrayLike) -> NDArray[np.float64]:
    """The largest probability of each row (Hendrycks and Gimpel 2017, arXiv:1610.02136).

    Args:
        probabilities: [rows, classes], each row sums to 1.

    Returns:
        float64 [rows], from 1/classes to 1.

    Raises:
        ValueError: They are no table of probabilities.
    """
    found: NDArray[np.float64] = checked_probabilities(probabilities).max(axis=1)
    return found


def margin(probabilities: ArrayLike) -> NDArray[np.float64]:
    """How far the largest probability of each row is ahead of the second.

    Args:
        probabilities: [rows, classes], each row sums to 1.

    Returns:
        float64 [rows], from 0 to 1; 1 when there is only one class.

    Raises:
        ValueError: They are no table of probabilities.
    """
    falling = np.sort(checked_probabilities(probabilities), axis=1)[:, ::-1]
    second = falling[:, 1] if falling.shape[1] > 1 else 0.0
    found: NDArray[np.float64] = falling[:, 0] - second
    return found


def certainty(probabilities: ArrayLike) -> NDArray[np.float64]:
    """One minus the entropy of each row over the largest entropy that its number of classes allows.

    Args:
        probabilities: [rows, classes], each row sums to 1; a probability of 0 adds nothing.

    Returns:
        float64 [rows], from 0 (all classes alike) to 1 (one class certain, or only one class).

    Raises:
        ValueError: They are no table of probabilities.
    """
    table = checked_probabilities(probabilities)
    n_classes = table.shape[1]
    if n_classes == 1:
        return np.ones(len(table))
    nats = -(table * np.log(np.where(table > 0.0, table, 1.0))).sum(axis=1)
    found: NDArray[np.float64] = np.clip(1.0 - nats / np.log(n_classes), 0.0, 1.0)
    return found


def checked_probabilities(probabilities: ArrayLike) -> NDArray[np.float64]:
    """Read a table of probabilities.

    Args:
        probabilities: [rows, classes].

    Returns:
        float64 [rows, classes].

    Raises:
        ValueError: It is no table, holds a value outside 0 to 1 or NaN, or a row does not sum to 1.
    """
    table = np.asarray(probabilities, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] == 0:  # noqa: PLR2004 - a table has two axes
        raise ValueError(f"probabilities are a table [rows, classes], not of shape {table.shape}")
    if not ((table >= 0.0) & (table <= 1.0)).all():
        raise ValueError("probabilities lie between 0 and 1")
    if not (np.abs(table.sum(axis=1) - 1.0) <= _ROW_SUM_TOLERANCE).all():
        raise ValueError("the probabilities of a row sum to 1")
    return table
