"""How far scores are from being probabilities.

Owns the reliability table (share that was right against mean score, by bins of the score) and its summary, the expected
calibration error (Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning"). Making scores
more honest is `temperature`'s business.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

DEFAULT_BINS: Final = 15


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The rows whose score falls into one bin.

    Attributes:
        low: Lower edge of the bin, not in it (but 0 is in the first).
        high: Upper edge, in it.
        count: Rows in it, at least 1.
        mean_score: Their mean score.
        accuracy: The share of them that was right.
    """

    low: float
    high: float
    count: int
    mean_score: float
    accuracy: float


def reliability(scores: ArrayLike, correct: ArrayLike, bins: int = DEFAULT_BINS) -> tuple[ReliabilityBin, ...]:
    """Compare scores with how often they were right, in bins of equal width.

    Args:
        scores: float [rows], each from 0 to 1.
        correct: bool [rows], whether the answer was right.
        bins: Number of bins over 0 to 1.

    Returns:
        The bins that hold rows, by rising score.

    Raises:
        ValueError: No rows, arrays of different lengths, a score outside 0 to 1, or no bins.
    """
    score = np.asarray(scores, dtype=np.float64)
    right = np.asarray(correct, dtype=np.bool_)
    if bins < 1:
        raise ValueError(f"a reliability table has at least one bin, not {bins}")
    if score.ndim != 1 or score.shape != right.shape or len(score) == 0:
        raise ValueError(f"scores {score.shape} and outcomes {right.shape} must be equally long lists, not empty")
    if not ((score >= 0.0) & (score <= 1.0)).all():
        raise ValueError("scores lie between 0 and 1")
    place = np.clip(np.ceil(score * bins).astype(np.intp) - 1, 0, bins - 1)
    return tuple(
        ReliabilityBin(
            low=index / bins,
            high=(index + 1) / bins,
            count=int(inside.sum()),
            mean_score=float(score[inside].mean()),
            accuracy=float(right[inside].mean()),
        )
        for index, inside in ((index, place == index) for index in np.unique(place).tolist())
    )


def expected_calibration_error(scores: ArrayLike, correct: ArrayLike, bins: int = DEFAULT_BINS) -> float:
    """The mean distance between score and accuracy over the bins, weighted by their rows.

    Args:
        scores: float [rows], each from 0 to 1.
        correct: bool [rows], whether the answer was right.
        bins: Number of bins over 0 to 1.

    Returns:
        From 0 (honest) to 1.

    Raises:
        ValueError: As `reliability`.
    """
    table = reliability(scores, correct, bins)
    total = sum(entry.count for entry in table)
    return sum(entry.count * abs(entry.mean_score - entry.accuracy) for entry in table) / total
