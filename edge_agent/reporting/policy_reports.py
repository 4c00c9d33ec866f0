"""Owns how the hub is told of policies: the one in force of each binding, former ones that matter, the last refused.

Totals are the store's rows (`adapters/sqlite/policy_totals.py`); what is in force is the models' business.
"""

from collections.abc import Callable, Mapping, Sequence

from edge_agent.adapters.sqlite.policy_totals import PolicyTotals
from edge_agent.core.policy import PolicySlot
from edge_agent.inference.answering import Model
from edge_agent.ports import BindingName
from protos.messages.fleet import PolicyReport, PolicyState

_FORMER_TOLD = 4


def policy_reports(
    models: Mapping[BindingName, Model], totals: Sequence[PolicyTotals], slot_of: Callable[[str], PolicySlot]
) -> tuple[PolicyReport, ...]:
    """Report every binding's policies.

    Args:
        models: What each binding runs.
        totals: What each policy did, by binding, the newest decision first.
        slot_of: Asks what a binding was ordered.

    Returns:
        For each binding the active one, also before its first decision; the newest former ones, and all whose audits
        may still be answered; and the last refused.
    """
    reports: list[PolicyReport] = []
    for name, model in models.items():
        own = [one for one in totals if one.binding == name]
        is_active = [(one.digest, one.version) == (model.use.digest, model.policy.version) for one in own]
        active = next((one for one, is_it in zip(own, is_active, strict=True) if is_it), None)
        former = [one for one, is_it in zip(own, is_active, strict=True) if not is_it]
        reports.append(_active(name, model, active))
        reports += [_former(one) for place, one in enumerate(former) if place < _FORMER_TOLD or one.audits_open]
        refused = slot_of(name).refused
        if refused is not None:
            reports.append(
                PolicyReport(
                    binding=name,
                    policy_version=refused.policy.version,
                    pack=model.use.pack,
                    pack_digest=model.use.digest,
                    decided=0,
                    kept=0,
                    escalated=0,
                    audits_drawn=0,
                    audits_lost=0,
                    audit_rate=0.0 if refused.policy.audit_rate is None else refused.policy.audit_rate,
                    threshold=refused.policy.threshold,
                    state=PolicyState.REFUSED,
                    detail=refused.detail,
                )
            )
    return tuple(reports)


def _active(name: BindingName, model: Model, totals: PolicyTotals | None) -> PolicyReport:
    """Rate and threshold as they are now; the totals know those of the last decision."""
    policy = model.policy
    return PolicyReport(
        binding=name,
        policy_version=policy.version,
        pack=model.use.pack,
        pack_digest=model.use.digest,
        decided=0 if totals is None else totals.decided,
        kept=0 if totals is None else totals.kept,
        escalated=0 if totals is None else totals.escalated,
        audits_drawn=0 if totals is None else totals.audits_drawn,
        audits_lost=0 if totals is None else totals.audits_lost,
        audit_rate=policy.audit_rate if policy.barrier is None else 0.0,
        threshold=policy.reported_threshold,
        state=PolicyState.ACTIVE,
        suppressed=0 if totals is None else totals.suppressed,
        suppressed_asked=0 if totals is None else totals.suppressed_asked,
        unanswered=0 if totals is None else totals.unanswered,
    )


def _former(totals: PolicyTotals) -> PolicyReport:
    return PolicyReport(
        binding=totals.binding,
        policy_version=totals.version,
        pack=totals.pack,
        pack_digest=totals.digest,
        decided=totals.decided,
        kept=totals.kept,
        escalated=totals.escalated,
        audits_drawn=totals.audits_drawn,
        audits_lost=totals.audits_lost,
        audit_rate=totals.audit_rate,
        threshold=totals.threshold,
        state=PolicyState.FORMER,
        suppressed=totals.suppressed,
        suppressed_asked=totals.suppressed_asked,
        unanswered=totals.unanswered,
    )
