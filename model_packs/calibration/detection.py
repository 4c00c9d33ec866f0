"""The score of an image in which boxes are looked for.

Owns two rules. Boxes found: the image is as sure as the weakest box that is kept, because each of them is part of the
answer. Nothing found: there is no box to ask, and an image in which the model overlooked everything looks the same; so
"nothing" has a confidence of its own, which images without a kept box teach, and the strongest box that was not kept
speaks against it. A rule that calls an empty answer sure keeps every miss at the edge.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


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
