"""Owns the totals of each policy, as rows: what (binding, pack, policy version) decided, kept, escalated and audited.

They change in the transaction that stores the prediction or ends its audit, so they are exactly what the hub may divide
by. What a policy is and which one is in force is `core/policy.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.adapters.sqlite.reading import Reader
from edge_agent.adapters.sqlite.transaction import Transaction
from edge_agent.ports import BindingName, Decided, PolicyUse
from protos.messages.escalation import ItemClass

_COLUMNS = (
    "binding, digest, version, pack, decided, kept, escalated, suppressed, suppressed_asked, audits_drawn, "
    "audits_answered, audits_lost, threshold, audit_rate, changed_ns"
)


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


def count_decided(tx: Transaction, one: Decided, use: PolicyUse) -> None:
    """Add one decision to its policy's totals."""
    is_audit = one.escalate is not None and one.escalate_class is ItemClass.AUDIT
    is_asked = one.escalate is not None and not is_audit
    tx.connection.execute(
        f"""INSERT INTO policy_total ({_COLUMNS}) VALUES
        (:binding, :digest, :version, :pack, 1, :kept, :escalated, :suppressed, :both, :drawn, 0, 0,
         :threshold, :rate, :now_ns)
        ON CONFLICT DO UPDATE SET decided = decided + 1, kept = kept + excluded.kept,
        escalated = escalated + excluded.escalated, suppressed = suppressed + excluded.suppressed,
        suppressed_asked = suppressed_asked + excluded.suppressed_asked,
        audits_drawn = audits_drawn + excluded.audits_drawn, threshold = excluded.threshold,
        audit_rate = excluded.audit_rate, changed_ns = excluded.changed_ns""",  # noqa: S608 - own text
        {
            "binding": one.binding, "digest": use.model.digest, "version": use.version, "pack": use.model.pack,
            "kept": use.is_kept, "escalated": is_asked, "suppressed": use.is_short and not is_asked,
            "both": use.is_short and is_asked, "drawn": is_audit, "threshold": use.threshold, "rate": use.audit_rate,
            "now_ns": tx.now.wall_ns,
        },
    )  # fmt: skip


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
