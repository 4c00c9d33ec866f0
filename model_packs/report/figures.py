"""What a report says in numbers.

Owns counting: the point at which a pack works, the curves and bounds around it, how honest its probabilities are, and
what each class costs. Words and pictures are `page`'s and `panels`'. Intervals are exact (Clopper and Pearson 1934) and
take rows as independent; where they are not, the interval is too narrow, and the page says so.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_packs.calibration.cascade import Bounds, CostCurve, bounds, cost_curve
from model_packs.calibration.reliability import ReliabilityBin, expected_calibration_error, reliability
from model_packs.certificate.binomial import lower_tail
from model_packs.certificate.document import Certificate
from model_packs.report.evaluation import Evaluation

SHOWN_SHARES: Final = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
CONFIDENCE: Final = 0.95
PREDICTED_CLASS: Final = "predicted_class"
"""How a certificate says that its groups are the classes that the edge answers."""

_BISECTIONS: Final = 40


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its exact interval.

    Attributes:
        count: How many of them.
        of: Of how many; at least 1.
        low: Lower end of the interval at `CONFIDENCE`.
        high: Upper end.
    """

    count: int
    of: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share."""
        return self.count / self.of


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What happens on the rows when the certificate's threshold decides.

    Attributes:
        threshold: Rows with this score or more stay; None without a threshold, or with one for each group.
        escalated: Share that the hub is asked about.
        kept_wrong: Wrong among the kept; None when nothing is kept.
        accuracy: Right in the end, edge and hub together; None without the hub's answers.
    """

    threshold: float | None
    escalated: Share
    kept_wrong: Share | None
    accuracy: Share | None


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One predicted class.

    Attributes:
        name: The class that the edge answered.
        rows: How often it did.
        escalated: Share of them that goes to the hub.
        kept_wrong: Wrong among those that stay; None when none stays.
        ece: Expected calibration error of its probabilities; None when they are not known.
    """

    name: str
    rows: int
    escalated: Share
    kept_wrong: Share | None
    ece: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """All numbers of a report.

    Attributes:
        n_rows: Rows.
        edge: Right when the edge answers everything.
        hub: Right when the hub answers everything; None without its answers.
        point: At the certificate's threshold; None when the pack has no certificate.
        curve: Accuracy and kept risk by threshold; without a hub, only the risk means something.
        limits: Bounds of the accuracy; None without the hub's answers.
        least: Least share escalated for the hub's accuracy, and for half a point less, on these rows.
        by_share: Share escalated and accuracy there, for `SHOWN_SHARES`.
        bins: Reliability of the probabilities; empty when they are not known.
        ece: Their expected calibration error.
        classes: By class, the most escalated first; empty when the answers are not known.
    """

    n_rows: int
    edge: Share
    hub: Share | None
    point: OperatingPoint | None
    curve: CostCurve
    limits: Bounds | None
    least: tuple[float | None, float | None]
    by_share: tuple[tuple[float, float], ...]
    bins: tuple[ReliabilityBin, ...]
    ece: float | None
    classes: tuple[ClassRow, ...]


def to_document(found: Figures) -> dict[str, Any]:
    """Write the numbers as a JSON object, without the curve's points.

    Args:
        found: The numbers.

    Returns:
        The object that `model-pack report --json` prints under `figures`.
    """
    return {
        "n_rows": found.n_rows,
        "edge": asdict(found.edge),
        "hub": None if found.hub is None else asdict(found.hub),
        "point": None if found.point is None else asdict(found.point),
        "least_escalated": dict(zip(("as_hub", "half_a_point_less"), found.least, strict=True)),
        "by_share": [{"escalated": asked, "accuracy": accuracy} for asked, accuracy in found.by_share],
        "ece": found.ece,
        "reliability": [asdict(inside) for inside in found.bins],
        "classes": [asdict(row) for row in found.classes],
    }


def figures(rows: Evaluation, certificate: Certificate | None) -> Figures:
    """Count everything.

    Args:
        rows: At least one.
        certificate: The pack's.

    Returns:
        The numbers.
    """
    hub = rows.hub_correct
    curve = cost_curve(rows.score, rows.correct, rows.correct if hub is None else hub)
    limits = None if hub is None else bounds(rows.correct, hub)
    kept = None if certificate is None else kept_rows(rows, certificate)
    least = (
        (None, None)
        if limits is None
        else (curve.least_escalated(limits.hub), curve.least_escalated(limits.hub - 0.005))
    )
    return Figures(
        n_rows=len(rows.score),
        edge=share(rows.correct),
        hub=None if hub is None else share(hub),
        point=None if kept is None or certificate is None else _point(rows, kept, certificate.threshold),
        curve=curve,
        limits=limits,
        least=least,
        by_share=() if hub is None else tuple((asked, curve.accuracy_at(asked)) for asked in SHOWN_SHARES),
        bins=() if rows.probability is None else reliability(rows.probability, rows.correct),
        ece=None if rows.probability is None else expected_calibration_error(rows.probability, rows.correct),
        classes=_classes(rows, kept),
    )


def kept_rows(rows: Evaluation, certificate: Certificate) -> NDArray[np.bool_] | None:
    """Which rows stay at the edge under a certificate.

    Args:
        rows: The rows.
        certificate: Without a threshold nothing stays; with one for each group, nothing of an unknown group stays.

    Returns:
        bool [rows]; None when the certificate tells groups apart and the rows do not say theirs.
    """
    if not certificate.groups:
        least = np.full(len(rows.score), np.inf if certificate.threshold is None else certificate.threshold)
        return rows.score >= least
    by_class = certificate.group_by == PREDICTED_CLASS and rows.predicted is not None
    groups = rows.predicted if by_class else rows.groups
    if groups is None:
        return None
    known = {name: threshold for name, threshold in certificate.thresholds.items() if threshold is not None}
    return rows.score >= np.array([known.get(name, np.inf) for name in groups.tolist()])


def share(outcomes: NDArray[np.bool_]) -> Share:
    """A share with its exact interval.

    Args:
        outcomes: bool [rows], at least one.

    Returns:
        The share of true ones.
    """
    return counted(int(outcomes.sum()), len(outcomes))


def counted(count: int, of: int) -> Share:
    """A share that was counted already, with its exact interval.

    Args:
        count: From 0 to `of`.
        of: At least 1.

    Returns:
        The share.
    """
    return Share(count, of, 1.0 - _upper(of - count, of), _upper(count, of))


def _upper(count: int, of: int) -> float:
    """The largest rate that so few events do not rule out at half of one minus `CONFIDENCE`."""
    if count == of:
        return 1.0
    low, high = count / of, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        if lower_tail(count, of, middle) > (1.0 - CONFIDENCE) / 2.0:
            low = middle
        else:
            high = middle
    return high


def _point(rows: Evaluation, kept: NDArray[np.bool_], threshold: float | None) -> OperatingPoint:
    hub = rows.hub_correct
    return OperatingPoint(
        threshold=threshold,
        escalated=share(~kept),
        kept_wrong=share(~rows.correct[kept]) if kept.any() else None,
        accuracy=None if hub is None else share(np.where(kept, rows.correct, hub)),
    )


def _classes(rows: Evaluation, kept: NDArray[np.bool_] | None) -> tuple[ClassRow, ...]:
    if rows.predicted is None or kept is None:
        return ()
    found = []
    for name in np.unique(rows.predicted).tolist():
        inside = rows.predicted == name
        stays = inside & kept
        known = None if rows.probability is None else rows.probability[inside]
        found.append(
            ClassRow(
                name=name,
                rows=int(inside.sum()),
                escalated=share(~kept[inside]),
                kept_wrong=share(~rows.correct[stays]) if stays.any() else None,
                ece=None if known is None else expected_calibration_error(known, rows.correct[inside]),
            )
        )
    return tuple(sorted(found, key=lambda row: (-row.escalated.value, row.name)))
