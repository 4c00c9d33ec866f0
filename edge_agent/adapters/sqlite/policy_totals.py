"""Owns the totals of each policy, as rows: what (binding, pack, policy version) decided, kept, escalated and audited.

They change in the transaction that stores the prediction or ends its audit, so they are exactly what the hub may divide
by. What a policy is and which one is in force is `core/policy.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.adapters.sqlite.reading import Reader
from edge_agent.adapters.sqlite.transaction import Transaction
from edge_agent.core.escalation import WITHOUT_VERDICT, Outcome
from edge_agent.ports import BindingName, Decided, PolicyUse, Returned
from protos.messages.escalation import ItemClass

_COLUMNS = (
    "binding, digest, version, pack, decided, kept, escalated, suppressed, suppressed_asked, audits_drawn, "
    "audits_answered, audits_lost, threshold, audit_rate, changed_ns"
)
_OUTCOMES = ("answered", "corrected", "sampled", "sampled_wrong", "unanswered")

_NOTHING = (0,) * 6


@dataclass(frozen=True, slots=True)
class PolicyTotals:
    """What one policy did.

    Attributes:
        digest: Of the pack's pack.json.
        kept: Answered at the edge, audited ones included.
        escalated: Asked of the hub because the policy wanted it; audits are not in it.
        suppressed: Wanted by the policy and, for want of budget, not asked.
        suppressed_asked: Short of budget, too, but drawn by the lottery, and so asked; they are in `escalated`.
        audits_answered: The hub or a person judged the window.
        audits_lost: Ended without a verdict.
        threshold: As last used; None: everything is escalated.
        audit_rate: As last used.
        changed_ns: Wall clock of the last decision, Unix epoch, UTC.
        answered: Of `escalated` without `suppressed_asked`, those with a verdict.
        corrected: Of `answered`, those where the verdict is another answer than the edge's, or the edge had none.
        sampled: Of `suppressed_asked`, those whose verdict can be compared with the edge's answer: a random sample of
            what nobody was asked about.
        sampled_wrong: Of `sampled`, those where it is another one.
        unanswered: Of `escalated`, those that ended without a verdict.
    """

    binding: BindingName
    digest: str
    version: int
    pack: str
    decided: int
    kept: int
    escalated: int
    suppressed: int
    suppressed_asked: int
    audits_drawn: int
    audits_answered: int
    audits_lost: int
    threshold: float | None
    audit_rate: float
    changed_ns: int
    answered: int = 0
    corrected: int = 0
    sampled: int = 0
    sampled_wrong: int = 0
    unanswered: int = 0

    @property
    def audits_open(self) -> int:
        """Audits that may still be answered."""
        return self.audits_drawn - self.audits_answered - self.audits_lost


def count_decided(tx: Transaction, decided: Iterable[Decided], returned: Iterable[Returned] = ()) -> None:
    """Add decisions to their policies' totals: a row for each policy, however many it decided."""
    sums: dict[tuple[BindingName, str, int], list[int]] = {}
    last: dict[tuple[BindingName, str, int], PolicyUse] = {}
    for one in decided:
        use = one.decided_by
        if use is None:
            continue
        is_audit = one.escalate is not None and one.escalate_class is ItemClass.AUDIT
        is_asked = one.escalate is not None and not is_audit
        parts = (1, use.is_kept, is_asked, use.is_short and not is_asked, use.is_short and is_asked, is_audit)
        _add(sums, last, (one.binding, use), parts)
    for held in returned:
        use, amount = held.decided_by, held.amount
        _add(sums, last, (held.binding, use), (amount, use.is_kept * amount, 0, use.is_short * amount, 0, 0))
    tx.insert(
        f"policy_total ({_COLUMNS})",
        [
            (
                *key, last[key].model.pack, *totals, 0, 0, last[key].threshold, last[key].audit_rate, tx.now.wall_ns
            )
            for key, totals in sums.items()
        ],
        """ON CONFLICT DO UPDATE SET decided = decided + excluded.decided, kept = kept + excluded.kept,
        escalated = escalated + excluded.escalated, suppressed = suppressed + excluded.suppressed,
        suppressed_asked = suppressed_asked + excluded.suppressed_asked,
        audits_drawn = audits_drawn + excluded.audits_drawn, threshold = excluded.threshold,
        audit_rate = excluded.audit_rate, changed_ns = excluded.changed_ns""",
    )  # fmt: skip


def _add(
    sums: dict[tuple[BindingName, str, int], list[int]],
    last: dict[tuple[BindingName, str, int], PolicyUse],
    decided_by: tuple[BindingName, PolicyUse],
    parts: Sequence[int],
) -> None:
    binding, use = decided_by
    key = (binding, use.model.digest, use.version)
    sums[key] = [total + part for total, part in zip(sums.get(key, _NOTHING), parts, strict=True)]
    last[key] = use


def count_audit_end(tx: Transaction, event: Mapping[str, Any], *, answered: int, lost: int) -> None:
    """Add to what became of a policy's audits.

    Args:
        tx: The transaction.
        event: What the edge itself said of the audited window: it names binding, pack and policy.
        answered: 1 for a verdict.
        lost: 1 for an end without one; -1 when a late verdict takes that back.
    """
    tx.connection.execute(
        "UPDATE policy_total SET audits_answered = audits_answered + ?, audits_lost = audits_lost + ? "
        "WHERE binding = ? AND digest = ? AND version = ?",
        (
            answered, lost, event["binding"], event["models"][0]["digest"],
            event["escalation"].get("policy_version", 0),
        ),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class EscalationEnd:
    """How an escalation moved among its ends.

    Attributes:
        before: Where it stood.
        now: Where it stands; an end.
        agrees: Whether the verdict is the edge's own answer; None when there is no verdict, or nobody can tell.
        is_first_answer: The edge had no answer, and the verdict has one.
    """

    before: Outcome
    now: Outcome
    agrees: bool | None = None
    is_first_answer: bool = False


def count_escalation_end(tx: Transaction, event: Mapping[str, Any], end: EscalationEnd) -> None:
    """Add to what became of a policy's escalations; a late answer takes back that there was none.

    Args:
        tx: The transaction.
        event: What the edge itself said of the window. Its propensity tells a random sample of what the budget kept
            from being asked: below 1, where the policy's own escalations are asked for sure.
        end: How it ended.
    """
    is_late = end.before in WITHOUT_VERDICT
    is_sample = event["escalation"].get("propensity", 1.0) < 1.0
    is_answered = end.now not in WITHOUT_VERDICT
    is_other = end.agrees is False or end.is_first_answer
    values = {
        "answered": is_answered and not is_sample,
        "corrected": is_answered and not is_sample and is_other,
        "sampled": is_sample and end.agrees is not None,
        "sampled_wrong": is_sample and end.agrees is False,
        "unanswered": int(not is_answered) - int(is_late),
    }
    if any(values.values()):
        said = {name: int(values[name]) for name in _OUTCOMES}
        place = (event["binding"], event["models"][0]["digest"], event["escalation"].get("policy_version", 0))
        tx.connection.execute(
            f"INSERT INTO policy_outcome (binding, digest, version, {', '.join(_OUTCOMES)}) "  # noqa: S608 - own text
            f"VALUES (:binding, :digest, :policy, {', '.join(f'max(:{name}, 0)' for name in _OUTCOMES)}) "
            # An end from before this table was never added, so a late answer may have nothing to take back.
            "ON CONFLICT DO UPDATE SET " + ", ".join(f"{name} = max({name} + :{name}, 0)" for name in _OUTCOMES),
            {**dict(zip(("binding", "digest", "policy"), place, strict=True)), **said},
        )


def read_totals(reader: Reader) -> tuple[PolicyTotals, ...]:
    """Every policy that ever decided here, by binding, the newest decision first."""
    outcomes = ", ".join(f"coalesce({name}, 0)" for name in _OUTCOMES)
    with reader.transaction() as read:
        found = read(
            f"SELECT {_COLUMNS}, {outcomes} FROM policy_total LEFT JOIN policy_outcome "  # noqa: S608 - own text
            "USING (binding, digest, version) ORDER BY binding, changed_ns DESC"
        )
    return tuple(PolicyTotals(BindingName(row[0]), *row[1:]) for row in found)
