"""Owns the equations of conservation: every record, sample, window, answer, escalation and judgement is somewhere.

Counters are rows of the store, changed with what they count; pending things are counted from their own rows. So an
equation that holds says that nothing was lost and nothing was counted twice. Counting is the pipeline's and the
store's; names of counters are here.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

SCHEMA = "edge.audit/1"

DEVICE = ""
"""Stands where a binding's name stands, for what belongs to the device itself; no binding can have this name."""


class Count(StrEnum):
    """Names of counters; those that stand in `BY_REASON` are written with a reason: `records_shed{queue_full}`."""

    RECORDS_RECEIVED = "records_received"
    RECORDS_JOURNALED = "records_journaled"
    RECORDS_DUPLICATE = "records_duplicate"
    RECORDS_DEAD_LETTERED = "records_dead_lettered"
    RECORDS_SHED = "records_shed"
    SAMPLES_DECODED = "samples_decoded"
    SAMPLES_USED = "samples_used"
    SAMPLES_LATE = "samples_late"
    SAMPLES_OUT_OF_RANGE = "samples_out_of_range"
    SAMPLES_UNUSED = "samples_unused"
    SAMPLES_PENDING = "samples_pending"
    WINDOWS_CLOSED = "windows_closed"
    WINDOWS_INFERRED = "windows_inferred"
    WINDOWS_SKIPPED = "windows_skipped"
    WINDOWS_PENDING = "windows_pending"
    PREDICTIONS_DECIDED = "predictions_decided"
    PREDICTIONS_PUBLISHED = "predictions_published"
    PREDICTIONS_EXPIRED = "predictions_expired"
    PREDICTIONS_EVICTED = "predictions_evicted"
    PREDICTIONS_PENDING_PUBLISH = "predictions_pending_publish"
    PREDICTIONS_RETURNED = "predictions_returned"
    DECISIONS_MADE = "decisions_made"
    DECISIONS_KEPT = "decisions_kept"
    DECISIONS_AUDITED = "decisions_audited"
    DECISIONS_DOUBTED = "decisions_doubted"
    AUDITS_DRAWN = "audits_drawn"
    AUDITS_ESCALATED = "audits_escalated"
    AUDITS_CREATED = "audits_created"
    AUDITS_AGREED = "audits_agreed"
    AUDITS_DISAGREED = "audits_disagreed"
    AUDITS_UNJUDGED = "audits_unjudged"
    AUDITS_LOST = "audits_lost"
    AUDITS_PENDING = "audits_pending"
    REVISIONS_MADE = "revisions_made"
    REVISIONS_PUBLISHED = "revisions_published"
    REVISIONS_EXPIRED = "revisions_expired"
    REVISIONS_EVICTED = "revisions_evicted"
    REVISIONS_PENDING_PUBLISH = "revisions_pending_publish"
    ALARMS_MADE = "alarms_made"
    ALARMS_PUBLISHED = "alarms_published"
    ALARMS_EXPIRED = "alarms_expired"
    ALARMS_EVICTED = "alarms_evicted"
    ALARMS_PENDING_PUBLISH = "alarms_pending_publish"
    ESCALATIONS_WANTED = "escalations_wanted"
    ESCALATIONS_SUPPRESSED_BUDGET = "escalations_suppressed_budget"
    ESCALATIONS_CREATED = "escalations_created"
    ESCALATIONS_ANSWERED = "escalations_answered"
    ESCALATIONS_ANSWERED_LATE = "escalations_answered_late"
    ESCALATIONS_REJECTED = "escalations_rejected"
    ESCALATIONS_EXPIRED = "escalations_expired"
    ESCALATIONS_EVICTED = "escalations_evicted"
    ESCALATIONS_DEAD_LETTERED = "escalations_dead_lettered"
    ESCALATIONS_PURGED = "escalations_purged"
    ESCALATIONS_PENDING = "escalations_pending"
    FEEDBACK_RECEIVED = "feedback_received"
    FEEDBACK_DELIVERED = "feedback_delivered"
    FEEDBACK_DUPLICATE = "feedback_duplicate"
    FEEDBACK_DEAD_LETTERED = "feedback_dead_lettered"
    FEEDBACK_EVICTED = "feedback_evicted"
    FEEDBACK_SHED = "feedback_shed"
    FEEDBACK_PENDING = "feedback_pending"
    VERDICTS_RECEIVED = "verdicts_received"
    VERDICTS_APPLIED = "verdicts_applied"
    VERDICTS_UNCHANGED = "verdicts_unchanged"
    VERDICTS_FORGOTTEN = "verdicts_forgotten"
    VERDICTS_OTHER_INPUT = "verdicts_other_input"


BY_REASON = frozenset(
    {
        Count.RECORDS_DEAD_LETTERED,
        Count.RECORDS_SHED,
        Count.SAMPLES_UNUSED,
        Count.WINDOWS_SKIPPED,
        Count.PREDICTIONS_EVICTED,
        Count.ALARMS_EVICTED,
        Count.DECISIONS_DOUBTED,
        Count.AUDITS_LOST,
        Count.AUDITS_PENDING,
        Count.REVISIONS_EVICTED,
        Count.ESCALATIONS_SUPPRESSED_BUDGET,
        Count.ESCALATIONS_EVICTED,
        Count.ESCALATIONS_PENDING,
        Count.FEEDBACK_DEAD_LETTERED,
        Count.FEEDBACK_EVICTED,
        Count.FEEDBACK_SHED,
    }
)

_OF_A_BINDING: dict[str, tuple[Count, tuple[Count, ...]]] = {
    "records": (
        Count.RECORDS_RECEIVED,
        (Count.RECORDS_JOURNALED, Count.RECORDS_DUPLICATE, Count.RECORDS_DEAD_LETTERED, Count.RECORDS_SHED),
    ),
    "samples": (
        Count.SAMPLES_DECODED,
        (
            Count.SAMPLES_USED,
            Count.SAMPLES_LATE,
            Count.SAMPLES_OUT_OF_RANGE,
            Count.SAMPLES_UNUSED,
            Count.SAMPLES_PENDING,
        ),
    ),
    # Nothing counts WINDOWS_PENDING: a window closes and is inferred or skipped in one pass, so in one commit. The term
    # stands for an agent that would part the two.
    "windows": (
        Count.WINDOWS_CLOSED,
        (Count.WINDOWS_INFERRED, Count.WINDOWS_SKIPPED, Count.WINDOWS_PENDING),
    ),
    "predictions": (
        Count.PREDICTIONS_DECIDED,
        (
            Count.PREDICTIONS_PUBLISHED,
            Count.PREDICTIONS_EXPIRED,
            Count.PREDICTIONS_EVICTED,
            Count.PREDICTIONS_PENDING_PUBLISH,
            Count.PREDICTIONS_RETURNED,  # to the caller who asked, and to nobody else
        ),
    ),
    # With a left side of its own: a store may hold answers of a program that did not count these.
    "decisions": (
        Count.DECISIONS_MADE,
        (Count.DECISIONS_KEPT, Count.DECISIONS_AUDITED, Count.DECISIONS_DOUBTED),
    ),
    # Drawn by the lottery: the policy escalates some of them anyway, the others are kept and audited.
    "audits drawn": (
        Count.AUDITS_DRAWN,
        (Count.AUDITS_ESCALATED, Count.AUDITS_CREATED),
    ),
    "audits created": (
        Count.AUDITS_CREATED,
        (
            Count.AUDITS_AGREED,
            Count.AUDITS_DISAGREED,
            Count.AUDITS_UNJUDGED,
            Count.AUDITS_LOST,
            Count.AUDITS_PENDING,
        ),
    ),
    "revisions": (
        Count.REVISIONS_MADE,
        (
            Count.REVISIONS_PUBLISHED,
            Count.REVISIONS_EXPIRED,
            Count.REVISIONS_EVICTED,
            Count.REVISIONS_PENDING_PUBLISH,
        ),
    ),
    "alarms": (
        Count.ALARMS_MADE,
        (Count.ALARMS_PUBLISHED, Count.ALARMS_EXPIRED, Count.ALARMS_EVICTED, Count.ALARMS_PENDING_PUBLISH),
    ),
    "escalations wanted": (
        Count.ESCALATIONS_WANTED,
        (Count.ESCALATIONS_SUPPRESSED_BUDGET, Count.ESCALATIONS_CREATED),
    ),
    "escalations created": (
        Count.ESCALATIONS_CREATED,
        (
            Count.ESCALATIONS_ANSWERED,
            Count.ESCALATIONS_ANSWERED_LATE,
            Count.ESCALATIONS_REJECTED,
            Count.ESCALATIONS_EXPIRED,
            Count.ESCALATIONS_EVICTED,
            Count.ESCALATIONS_DEAD_LETTERED,
            Count.ESCALATIONS_PURGED,
            Count.ESCALATIONS_PENDING,
        ),
    ),
}

_OF_THE_DEVICE: dict[str, tuple[Count, tuple[Count, ...]]] = {
    "feedback": (
        Count.FEEDBACK_RECEIVED,
        (
            Count.FEEDBACK_DELIVERED,
            Count.FEEDBACK_DUPLICATE,
            Count.FEEDBACK_DEAD_LETTERED,
            Count.FEEDBACK_EVICTED,
            Count.FEEDBACK_SHED,
            Count.FEEDBACK_PENDING,
        ),
    ),
    "verdicts": (
        Count.VERDICTS_RECEIVED,
        (
            Count.VERDICTS_APPLIED,
            Count.VERDICTS_UNCHANGED,
            Count.VERDICTS_FORGOTTEN,
            Count.VERDICTS_OTHER_INPUT,
        ),
    ),
}

_NAMES = {
    is_device: frozenset(name for left, right in table.values() for name in (left, *right))
    for is_device, table in ((False, _OF_A_BINDING), (True, _OF_THE_DEVICE))
}
"""Counters by whether they are the device's."""


@dataclass(frozen=True, slots=True)
class Term:
    """One number of an equation."""

    name: str
    value: int


@dataclass(frozen=True, slots=True)
class Equation:
    """`left = sum of the terms`, for one binding or for the device.

    Every term is there, zeros too. A term by reason is there once for each reason that was seen, or without a reason as
    0 when none was.
    """

    name: str
    binding: str
    left: Term
    terms: tuple[Term, ...]

    @property
    def right(self) -> int:
        """Sum of the terms."""
        return sum(term.value for term in self.terms)

    @property
    def holds(self) -> bool:
        """Whether both sides are equal and nothing is negative."""
        return self.left.value == self.right and all(term.value >= 0 for term in (self.left, *self.terms))

    def to_json(self) -> dict[str, Any]:
        """Write the equation as an object of `edge.audit/1`."""
        return {
            "name": self.name,
            "binding": self.binding or None,
            "left": {"name": self.left.name, "value": self.left.value},
            "terms": [{"name": term.name, "value": term.value} for term in self.terms],
            "right": self.right,
            "holds": self.holds,
        }


def of_reason(count: Count, reason: str) -> str:
    """Name the part of a counter that has one reason: `records_shed{queue_full}`."""
    return f"{count}{{{reason}}}"


def equations(counts: Mapping[tuple[str, str], int], bindings: Collection[str] = ()) -> list[Equation]:
    """Set up every equation for every binding, and for the device.

    Args:
        counts: By (binding, name), counters and counted rows, all read in one transaction; what is absent is 0.
        bindings: Bindings (or `DEVICE`) to set up even when nothing of them was counted.

    Returns:
        Sorted by binding, the device first; in the order records, samples, windows, predictions, decisions, audits,
        revisions, alarms, escalations, and for the device feedback, verdicts.

    Raises:
        ValueError: A name that no equation knows: something would be counted and not audited.
    """
    by_binding: dict[str, dict[str, int]] = {binding: {} for binding in bindings}
    for (binding, name), value in counts.items():
        base = name.partition("{")[0]
        if base not in _NAMES[binding == DEVICE] or (base in BY_REASON) != name.endswith("}"):
            raise ValueError(f"counter {name!r} of binding {binding!r} is in no equation")
        by_binding.setdefault(binding, {})[name] = value
    return [
        Equation(
            name,
            binding,
            Term(left.value, values.get(left, 0)),
            tuple(term for count in right for term in _terms(count, values)),
        )
        for binding, values in sorted(by_binding.items())
        for name, (left, right) in (_OF_THE_DEVICE if binding == DEVICE else _OF_A_BINDING).items()
    ]


def audit_document(device: str, found: list[Equation]) -> dict[str, Any]:
    """Write an audit as `edge.audit/1`.

    Args:
        device: Device id.
        found: All equations of the device.

    Returns:
        A JSON object.
    """
    return {
        "schema": SCHEMA,
        "device": device,
        "holds": all(equation.holds for equation in found),
        "equations": [equation.to_json() for equation in found],
    }


def _terms(count: Count, values: Mapping[str, int]) -> list[Term]:
    if count not in BY_REASON:
        return [Term(count.value, values.get(count, 0))]
    by_reason = [Term(name, value) for name, value in sorted(values.items()) if name.startswith(f"{count}{{")]
    return by_reason or [Term(count.value, 0)]
