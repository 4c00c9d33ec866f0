"""What asking the hub buys: accuracy against the share that is asked, and the bounds that no rule can leave.

Owns the curve of an edge and a hub under a score (keep what reaches the threshold, ask the hub about the rest): the
accuracy of both together, and the risk of what is kept (El-Yaniv and Wiener 2010, "On the Foundations of Noise-free
Selective Classification"). And two bounds: a rule that sees the outcomes, and one that draws lots. A threshold chosen
on the rows that it is judged on is an upper limit, never a promise: promises are `certificate`'s.
"""

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class CostCurve:
    """One point for every threshold that makes a difference, from keeping all to asking about all.

    Attributes:
        threshold: float64 [points], rising; rows with this score or more stay; infinite at the last point.
        escalated: float64 [points], share of the rows that the hub is asked about, from 0 to 1.
        accuracy: float64 [points], share of all rows that is right in the end.
        kept_risk: float64 [points], share wrong among the kept; NaN where nothing is kept.
        n_rows: Rows behind it.
    """

    threshold: NDArray[np.float64] = field(repr=False)
    escalated: NDArray[np.float64] = field(repr=False)
    accuracy: NDArray[np.float64] = field(repr=False)
    kept_risk: NDArray[np.float64] = field(repr=False)
    n_rows: int

    def least_escalated(self, accuracy: float) -> float | None:
        """The smallest share that must be asked about for an accuracy.

        Args:
            accuracy: To reach, from 0 to 1.

        Returns:
            The share; None when no threshold reaches it.
        """
        reached = np.flatnonzero(self.accuracy >= accuracy - _ROUNDING)
        return float(self.escalated[reached[0]]) if len(reached) else None

    def threshold_for(self, accuracy: float) -> float | None:
        """The lowest threshold that reaches an accuracy on these rows.

        Args:
            accuracy: To reach, from 0 to 1.

        Returns:
            The threshold; None when none reaches it.
        """
        reached = np.flatnonzero(self.accuracy >= accuracy - _ROUNDING)
        return float(self.threshold[reached[0]]) if len(reached) else None

    @property
    def mean_accuracy(self) -> float:
        """The accuracy on average over all shares from 0 to 1, each alike: one number for how well a score ranks."""
        return float(((self.accuracy[1:] + self.accuracy[:-1]) / 2.0 * np.diff(self.escalated)).sum())

    def accuracy_at(self, escalated: float) -> float:
        """The accuracy when about this share is asked about.

        Args:
            escalated: From 0 to 1.

        Returns:
            Between the two nearest points in proportion, as if lots were drawn between their thresholds.
        """
        return float(np.interp(escalated, self.escalated, self.accuracy))


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a rule that sees the outcomes, and one that draws lots, would need and reach.

    Attributes:
        n_rows: Rows.
        n_edge_right: Those that the edge has right.
        n_hub_right: Those that the hub has right.
        n_gains: Those that the hub has right and the edge has wrong.
    """

    n_rows: int
    n_edge_right: int
    n_hub_right: int
    n_gains: int

    @property
    def edge(self) -> float:
        """Share right when the edge answers everything."""
        return self.n_edge_right / self.n_rows

    @property
    def hub(self) -> float:
        """Share right when the hub answers everything."""
        return self.n_hub_right / self.n_rows

    def oracle_least(self, accuracy: float) -> float | None:
        """The smallest share with which any rule can reach an accuracy: it asks only where that helps.

        Args:
            accuracy: To reach, from 0 to 1.

        Returns:
            The share; None when even all gains do not reach it.
        """
        missing = max(0, math.ceil(accuracy * self.n_rows - self.n_edge_right - _ROUNDING))
        return missing / self.n_rows if missing <= self.n_gains else None

    def random_least(self, accuracy: float) -> float | None:
        """The share with which drawing lots reaches an accuracy on average.

        Args:
            accuracy: To reach, from 0 to 1.

        Returns:
            The share; None when asking about everything does not reach it.
        """
        if self.edge >= accuracy - _ROUNDING:
            return 0.0
        if self.hub < accuracy - _ROUNDING:
            return None
        return min(1.0, (accuracy - self.edge) / (self.hub - self.edge))

    def oracle_accuracy(self, escalated: float) -> float:
        """The best accuracy that any rule can reach with a share.

        Args:
            escalated: From 0 to 1; rows where asking would harm are asked about last.

        Returns:
            From 0 to 1.
        """
        n_harms = self.n_edge_right + self.n_gains - self.n_hub_right
        asked = escalated * self.n_rows
        gained = min(asked, self.n_gains)
        harmed = max(0.0, asked - (self.n_rows - n_harms))
        return (self.n_edge_right + gained - harmed) / self.n_rows

    def random_accuracy(self, escalated: float) -> float:
        """The accuracy on average when the share is drawn by lot.

        Args:
            escalated: From 0 to 1.

        Returns:
            Between the edge's and the hub's.
        """
        return self.edge + escalated * (self.hub - self.edge)


def cost_curve(score: ArrayLike, edge_right: ArrayLike, hub_right: ArrayLike) -> CostCurve:
    """Accuracy against the share asked about, at every threshold.

    Args:
        score: float [rows], finite; rows with the lowest scores are asked about first, equal ones together.
        edge_right: bool [rows].
        hub_right: bool [rows].

    Returns:
        The curve.

    Raises:
        ValueError: No rows, lists of different lengths, or a score that is not finite.
    """
    scores, edge, hub = _rows(score, edge_right, hub_right)
    order = np.argsort(scores, kind="stable")
    values, first = np.unique(scores[order], return_index=True)
    asked = np.append(first, len(scores))  # rows below each value, then all
    gained = np.concatenate([[0], np.cumsum(hub[order].astype(np.int64) - edge[order])])[asked]
    wrong = np.concatenate([[0], np.cumsum(~edge[order])])
    kept = len(scores) - asked
    with np.errstate(invalid="ignore"):
        kept_risk = (wrong[-1] - wrong[asked]) / kept
    return CostCurve(
        threshold=np.append(values, np.inf),
        escalated=asked / len(scores),
        accuracy=(int(edge.sum()) + gained) / len(scores),
        kept_risk=kept_risk,
        n_rows=len(scores),
    )


def bounds(edge_right: ArrayLike, hub_right: ArrayLike) -> Bounds:
    """The bounds of a set of rows.

    Args:
        edge_right: bool [rows].
        hub_right: bool [rows].

    Returns:
        The bounds.

    Raises:
        ValueError: No rows, or lists of different lengths.
    """
    edge, hub = np.asarray(edge_right, dtype=np.bool_), np.asarray(hub_right, dtype=np.bool_)
    if edge.ndim != 1 or edge.shape != hub.shape or len(edge) == 0:
        raise ValueError(f"outcomes of shapes {edge.shape} and {hub.shape} must be equally long lists, not empty")
    return Bounds(len(edge), int(edge.sum()), int(hub.sum()), int((hub & ~edge).sum()))


def _rows(
    score: ArrayLike, edge_right: ArrayLike, hub_right: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Three lists that belong together."""
    scores = np.asarray(score, dtype=np.float64)
    edge, hub = np.asarray(edge_right, dtype=np.bool_), np.asarray(hub_right, dtype=np.bool_)
    if scores.ndim != 1 or not scores.shape == edge.shape == hub.shape or len(scores) == 0:
        shapes = f"{scores.shape}, {edge.shape} and {hub.shape}"
        raise ValueError(f"scores and outcomes of shapes {shapes} must be equally long lists, not empty")
    if not np.isfinite(scores).all():
        raise ValueError("scores hold a value that is not finite")
    return scores, edge, hub
