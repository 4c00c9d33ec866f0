"""Owns which windows of the field a new certificate may rest on, and what each of them says under its risk.

What came to the hub is no sample of the traffic: what was escalated came for sure, audits by their lottery. Each row
knows its probability, so the rows can be thinned to a uniform sample; that, and the certificate itself, is
`model_packs.certificate`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloud_hub.core.monitoring.watch import Measure

NS_PER_DAY = 86_400 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One window that came to the hub.

    Attributes:
        at_ns: End of the window by the device's clock, Unix epoch, UTC.
        propensity: Probability with which it came, over 0 to 1.
        confidence: The student's score.
        edge: What the student answered; None when it could not score the window.
        hub: What the full model answered; None when it did not, or could not.
        human: What a person called it; None when nobody has.
        is_for_people: The hub's lottery chose it for people.
    """

    prediction_id: str
    at_ns: int
    propensity: float
    confidence: float
    edge: str | None
    hub: str | None
    human: str | None
    is_for_people: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """The windows that a certificate may rest on; arrays [rows], in the order in which they came.

    Attributes:
        confidence: float64, the scores.
        is_right: bool, not a loss under the risk; what should have been judged and was not counts as a loss.
        inclusion: float64, the probabilities with which the rows are there.
        day: int64, the day of each window since the Unix epoch: the cluster.
        ids: The prediction ids.
        n_missing: Rows that should have been judged and were not.
    """

    confidence: NDArray[np.float64]
    is_right: NDArray[np.bool_]
    inclusion: NDArray[np.float64]
    day: NDArray[np.int64]
    ids: tuple[str, ...]
    n_missing: int


def judged_rows(rows: Iterable[FieldRow], risk: Measure) -> Judged:
    """Pick the windows that a certificate on a risk may rest on.

    On disagreement that is every window that the student scored. On error and excess only what the lottery chose for
    people: what people picked themselves is no sample.

    Args:
        rows: Of one pack in one binding.
        risk: Of the certificate.

    Returns:
        The rows; none of them is left out for its outcome.
    """
    by_people = risk is not Measure.DISAGREEMENT
    chosen = [
        row for row in rows if row.edge is not None and row.propensity > 0 and (row.is_for_people or not by_people)
    ]
    outcomes = [_is_right(row, risk) for row in chosen]
    return Judged(
        confidence=np.array([row.confidence for row in chosen], dtype=np.float64),
        is_right=np.array([outcome is True for outcome in outcomes], dtype=np.bool_),
        inclusion=np.array([row.propensity for row in chosen], dtype=np.float64),
        day=np.array([row.at_ns // NS_PER_DAY for row in chosen], dtype=np.int64),
        ids=tuple(row.prediction_id for row in chosen),
        n_missing=sum(outcome is None for outcome in outcomes),
    )


def in_edge_words(
    edge: str | None, hub: str | None, human: str | None, *, agrees: bool | None
) -> tuple[str | None, str | None]:
    """Say what hub and person said in the edge's words where they mean the same: numbers and boxes are written anew.

    Args:
        edge: What the edge told; None: it could not score the window.
        hub: What the full model told; None: nothing so far, or nothing.
        human: What a person told; None: nothing.
        agrees: Whether edge and hub mean the same, by their task's loss; None: nobody can tell.

    Returns:
        The hub's words and the person's; the hub's are None where nobody can compare them.
    """
    if agrees:
        return edge, edge if human == hub else human
    return None if agrees is None and edge is not None else hub, human


def _is_right(row: FieldRow, risk: Measure) -> bool | None:
    """None: nobody said so far."""
    if risk is Measure.DISAGREEMENT:
        return None if row.hub is None else row.hub == row.edge
    if row.human is None or (risk is Measure.EXCESS and row.hub is None):
        return None
    is_wrong = row.human != row.edge
    return not (is_wrong and (risk is Measure.ERROR or row.hub == row.human))
