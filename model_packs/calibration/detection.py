"""The score of an image in which boxes are looked for.

Owns two rules. Boxes found: the image is as sure as the weakest box that is kept, because each of them is part of the
answer. Nothing found: there is no box to ask, and an image in which the model overlooked everything looks the same; so
"nothing" has a confidence of its own, which images without a kept box teach, and the strongest box that was not kept
speaks against it. A rule that calls an empty answer sure keeps every miss at the edge. Boxes themselves are not looked
at here (`model_packs.detecting`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class DetectionScore:
    """How an image's boxes become one confidence.

    Attributes:
        kept_at: Boxes of this score or more are part of the answer, strictly between 0 and 1.
        nothing_found: Confidence of an answer without boxes, from 0 (always ask the hub) to 1.
    """

    kept_at: float
    nothing_found: float = 0.0

    def confidence(self, box_scores: Sequence[float]) -> float:
        """Score one image.

        Args:
            box_scores: Scores of all candidate boxes, each from 0 to 1; those below `kept_at`, too, if the model says.

        Returns:
            From 0 to 1: the weakest kept box; without one, `nothing_found`, and at most one minus the strongest box
            that was not kept.

        Raises:
            ValueError: A score outside 0 to 1, or NaN.
        """
        if not all(0.0 <= score <= 1.0 for score in box_scores):
            raise ValueError("box scores lie between 0 and 1")
        kept = [score for score in box_scores if score >= self.kept_at]
        if kept:
            return min(kept)
        return min(self.nothing_found, 1.0 - max(box_scores, default=0.0))


def tempered(box_scores: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Divide the log odds of scores by a temperature: what temperature scaling is for an answer of yes or no.

    Args:
        box_scores: Any shape, from 0 to 1; what lies outside stays as it is.
        temperature: From 0.001 to 1000; above 1 makes scores less sure.

    Returns:
        The same shape; the order of the scores is kept, and 0, 1/2 and 1 stay where they are.
    """
    if temperature == 1.0:
        return box_scores
    is_score = (box_scores >= 0.0) & (box_scores <= 1.0)
    usable = np.where(is_score, box_scores, 0.5)
    for_it, against = usable ** (1.0 / temperature), (1.0 - usable) ** (1.0 / temperature)
    return np.where(is_score, for_it / (for_it + against), box_scores)


def fit_nothing_found(correct: ArrayLike) -> float:
    """The confidence of "nothing found", from images without a kept box that trained nothing.

    Args:
        correct: bool [images], whether there was indeed nothing.

    Returns:
        The share that was right, with one right and one wrong image added (Laplace's rule of succession), so that few
        images claim little.

    Raises:
        ValueError: Not a list.
    """
    outcomes = np.asarray(correct, dtype=np.bool_)
    if outcomes.ndim != 1:
        raise ValueError(f"outcomes are one list, not of shape {outcomes.shape}")
    return math.fsum([1.0, float(outcomes.sum())]) / (len(outcomes) + 2.0)
