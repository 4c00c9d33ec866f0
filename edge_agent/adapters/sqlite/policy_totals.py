"""Owns the totals of each policy, as rows: what (binding, pack, policy version) decided, kept, escalated and audited.

They change in the transaction that stores the prediction or ends its audit, so they are exactly what the hub may divide
by. What a policy is and which one is in force is `core/policy.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.adapters.sqlite.reading import Reader
from edge_agent.adapters.sqlite.transaction import Transaction
from edge_agent.ports import BindingName, Decided, PolicyUse, Returned
from protos.messages.escalation import ItemClass

_COLUMNS = (
    "binding, digest, version, pack, decided, kept, escalated, suppressed, suppressed_asked, audits_drawn, "
    "audits_answered, audits_lost, threshold, audit_rate, changed_ns"
)


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


def read_totals(reader: Reader) -> tuple[PolicyTotals, ...]:
    """Every policy that ever decided here, by binding, the newest decision first."""
    with reader.transaction() as read:
        found = read(f"SELECT {_COLUMNS} FROM policy_total ORDER BY binding, changed_ns DESC")  # noqa: S608 - own text
    return tuple(PolicyTotals(BindingName(row[0]), *row[1:]) for row in found)
