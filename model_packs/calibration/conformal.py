"""Intervals for regression that hold without a model of the noise, and the score that they give.

Owns split conformal prediction (Lei et al. 2018, "Distribution-Free Predictive Inference for Regression", with their
locally weighted residuals): residuals of rows that trained nothing, over the spread that the model itself predicts, are
exchangeable with the next one's. So an interval of the right rank covers the truth with at least its level.

Turned round it is a score: an answer is good enough when its error stays within a tolerance that the user names, and
the confidence is the largest level whose interval still fits into that tolerance. It needs a model that says how far it
may be off (a spread output): with one spread for all rows every answer gets the same confidence.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Conformal:
    """What calibration rows say about the size of errors.

    Attributes:
        residuals: float64 [rows], rising, `|truth - predicted| / spread`, read-only.
    """

    residuals: NDArray[np.float64] = field(repr=False)

    def half_width(self, spread: ArrayLike, level: float) -> NDArray[np.float64]:
        """Half the width of the interval around each answer.

        Args:
            spread: float [rows], above 0, in the unit of the answer, as the model predicts it.
            level: Share of intervals that shall cover the truth, strictly between 0 and 1.

        Returns:
            float64 [rows], in the unit of the answer; infinite when there are too few calibration rows for the level.

        Raises:
            ValueError: A level out of range, or a spread that is not above 0.
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"a level lies strictly between 0 and 1, not {level}")
        rank = math.ceil((len(self.residuals) + 1) * level)
        reach = float(self.residuals[rank - 1]) if rank <= len(self.residuals) else math.inf
        return _spread(spread) * reach

    def confidence(self, spread: ArrayLike, tolerance: float) -> NDArray[np.float64]:
        """The largest level whose interval stays within the tolerance.

        Args:
            spread: float [rows], above 0, in the unit of the answer.
            tolerance: The largest error that is good enough, in the unit of the answer, above 0.

        Returns:
            float64 [rows], from 0 to rows / (rows + 1): higher is safer, as all scores.

        Raises:
            ValueError: A tolerance or a spread that is not above 0.
        """
        if not 0.0 < tolerance < math.inf:
            raise ValueError(f"a tolerance is above 0 and finite, not {tolerance}")
        within = np.searchsorted(self.residuals, tolerance / _spread(spread), side="right")
        found: NDArray[np.float64] = within / (len(self.residuals) + 1)
        return found


def calibrate(predicted: ArrayLike, truth: ArrayLike, spread: ArrayLike) -> Conformal:
    """Learn the size of errors from rows that trained nothing.

    Args:
        predicted: float [rows], finite.
        truth: float [rows], finite.
        spread: float [rows], above 0: how far off the model expects to be, in the unit of the answer.

    Returns:
        What the rows say.

    Raises:
        ValueError: No rows, lists of different lengths, values that are not finite, or a spread that is not above 0.
    """
    answers, values, widths = np.asarray(predicted, float), np.asarray(truth, float), _spread(spread)
    if answers.ndim != 1 or not answers.shape == values.shape == widths.shape or len(answers) == 0:
        shapes = f"{answers.shape}, {values.shape} and {widths.shape}"
        raise ValueError(f"answers, truths and spreads of shapes {shapes} must be equally long lists, not empty")
    if not (np.isfinite(answers).all() and np.isfinite(values).all()):
        raise ValueError("answers and truths are finite")
    residuals = np.sort(np.abs(values - answers) / widths)
    residuals.setflags(write=False)
    return Conformal(residuals)


def _spread(spread: ArrayLike) -> NDArray[np.float64]:
    """A list of spreads above 0."""
    widths = np.asarray(spread, dtype=np.float64)
    if not ((widths > 0.0) & np.isfinite(widths)).all():
        raise ValueError("a spread is above 0 and finite")
    return widths
