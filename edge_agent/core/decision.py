"""Owns the decision: which answers stay at the edge as they are, and which are asked again at the hub, and why.

Pure: scores, policy and facts in, `Decision` out. Scores are made by `model_packs.scoring`; whom the lottery draws is
`audit_lottery.py`, what the budget allows `budget.py`, how the hub changes a policy `policy.py`; what becomes of an
escalation is `escalation.py`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from edge_agent.core.accounting import Count, of_reason
from model_packs.outputs import RawTensors
from model_packs.scoring import Scored
from protos.messages.escalation import Reason


class Egress(StrEnum):
    """What of a binding's data may leave the device."""

    TENSOR = "tensor"
    NEVER = "never"


class AnswerStatus(StrEnum):
    """How final an answer is, as events say it."""

    FINAL = "final"
    PROVISIONAL = "provisional"
    REVISED = "revised"
    UNREVISED = "unrevised"


class Barrier(StrEnum):
    """Why nothing of a binding goes to the hub, whatever the score."""

    EGRESS_NEVER = "egress_never"
    NO_HUB = "no_hub"
    NO_HUB_PACK = "no_hub_pack"


class Shortage(StrEnum):
    """Why the hub is not asked although the policy wants it to be."""

    CALLS = "calls"
    MONEY = "money"
    OUTRANKED = "outranked"
    """Calls are short, and what is left of them is kept for larger expected gains."""
    UNSCORABLE_RATE = "unscorable_rate"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a binding does with a score.

    Attributes:
        threshold: Answers of at least this confidence stay; None: no confidence is enough.
        barrier: Why nothing may be escalated; None when escalation is possible.
        class_thresholds: By predicted label, where more is asked than `threshold`.
        always_escalate: Predicted labels that are never kept.
        ood_limit: Inputs whose out-of-distribution statistic is above it are escalated; None: not looked at.
        is_hub_only: Everything is escalated, whatever the score.
        audit_rate: Probability with which a kept answer is audited, 0..1.
        version: Of the hub's policy in force; 0: the pack's own.
        group_thresholds: By predicted label, where the certificate has a threshold for each: an answer stays from its
            own on, if it reaches `threshold` as well, which is no higher than the lowest of them unless the hub raised
            it. Labels that are not named keep nothing. Empty: there is one threshold for all.
        group: Which group all answers are of, where groups are sites; empty: the predicted label is the group.
    """

    threshold: float | None
    barrier: Barrier | None = None
    class_thresholds: Mapping[str, float] = field(default_factory=dict, hash=False)
    always_escalate: frozenset[str] = frozenset()
    ood_limit: float | None = None
    is_hub_only: bool = False
    audit_rate: float = 0.0
    version: int = 0
    group_thresholds: Mapping[str, float] = field(default_factory=dict, hash=False)
    group: str = ""

    @property
    def reported_threshold(self) -> float | None:
        """As the hub is told it: nothing below it is kept; None when everything is escalated."""
        return None if self.is_hub_only else self.threshold


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known besides the answer.

    Attributes:
        is_drawn: The lottery has drawn the window, before it was answered.
        audit_rate: Probability with which it could be drawn: the policy's, or 0.0 while the audits' reserve is spent.
        shortage: Why an escalation could not be afforded now; None when it can.
        ood: Out-of-distribution statistic of the input; None when it was not computed.
    """

    is_drawn: bool = False
    audit_rate: float = 0.0
    shortage: Shortage | None = None
    ood: float | None = None


@dataclass(slots=True)
class Decision:
    """What becomes of one answer.

    Attributes:
        status: `final` or `provisional`.
        escalate: Whether the hub is asked.
        reason: Why the answer is not good enough; `audit`: it is, and the lottery drew it; None: it is.
        barrier: Why the hub is not asked although there is a reason.
        propensity: Probability with which a window that is decided like this one goes to the hub: 1.0 when the policy
            escalates it, the audit rate when it is kept or the budget is short, 0.0 behind a barrier.
        shortage: Why the policy's escalation is not asked.
        is_drawn: Whether the lottery drew the window.
    """

    status: AnswerStatus
    escalate: bool
    reason: Reason | None
    barrier: Barrier | None
    propensity: float
    shortage: Shortage | None = None
    is_drawn: bool = False

    @property
    def is_kept(self) -> bool:
        """Whether the policy keeps the answer; an audited one is kept, too."""
        return self.reason is None or self.is_audit

    @property
    def is_audit(self) -> bool:
        """Whether the hub is asked only because the lottery drew it."""
        return self.reason is Reason.AUDIT

    @property
    def is_certified(self) -> bool:
        """Whether a certificate may speak for the answer: it bounds the risk of what its threshold keeps, no other."""
        return self.is_kept

    @property
    def is_suppressed(self) -> bool:
        """Whether the policy escalates it and nobody is asked, for want of budget."""
        return self.shortage is not None and not self.escalate


def barrier(egress: Egress, *, has_hub: bool, has_hub_pack: bool) -> Barrier | None:
    """Tell why a binding can never escalate.

    Args:
        egress: What the binding allows.
        has_hub: A hub is configured.
        has_hub_pack: The edge pack names a hub pack.

    Returns:
        The strongest reason; None when it can.
    """
    if egress is Egress.NEVER:
        return Barrier.EGRESS_NEVER
    if not has_hub:
        return Barrier.NO_HUB
    return None if has_hub_pack else Barrier.NO_HUB_PACK


def decide(scored: Scored, policy: Policy, facts: Facts = Facts()) -> Decision:
    """Decide about one answer.

    Args:
        scored: The edge's answer; unscorable ones carry confidence 0.
        policy: What the binding does with it.
        facts: What else is known; a drawn window goes to the hub whatever the budget says, from a reserve of its own.

    Returns:
        The decision, with its reason. Behind a barrier every answer is final and nothing is asked.
    """
    reason = doubt(scored, policy, facts.ood)
    drawn, rate = facts.is_drawn, facts.audit_rate
    if policy.barrier is not None:
        wall = None if reason is None else policy.barrier
        return Decision(AnswerStatus.FINAL, escalate=False, reason=reason, barrier=wall, propensity=0.0)
    if reason is None:
        audit = Reason.AUDIT if drawn else None
        return Decision(AnswerStatus.FINAL, escalate=drawn, reason=audit, barrier=None, propensity=rate, is_drawn=drawn)
    if facts.shortage is None:
        return Decision(
            AnswerStatus.PROVISIONAL, escalate=True, reason=reason, barrier=None, propensity=1.0, is_drawn=drawn
        )
    return Decision(
        AnswerStatus.PROVISIONAL if drawn else AnswerStatus.FINAL,
        escalate=drawn,
        reason=reason,
        barrier=None,
        propensity=rate,
        shortage=facts.shortage,
        is_drawn=drawn,
    )


def doubt(scored: Scored, policy: Policy, ood: float | None = None) -> Reason | None:
    """Tell why an answer is not good enough, the strongest reason first.

    Args:
        scored: The edge's answer.
        policy: What the binding does with it.
        ood: Out-of-distribution statistic of its input; None when it was not computed.

    Returns:
        The reason; None when the answer stays.
    """
    if scored.output is None or scored.unscorable is not None:
        return Reason.UNSCORABLE
    if policy.is_hub_only:
        return Reason.FORCED
    if policy.ood_limit is not None and ood is not None and not ood <= policy.ood_limit:
        return Reason.OUT_OF_DISTRIBUTION
    label = group_of(scored)
    if label in policy.always_escalate:
        return Reason.CLASS_RULE
    if not _is_sure(scored, label, policy):
        return Reason.LOW_CONFIDENCE
    own = policy.class_thresholds.get(label)
    return None if own is None or scored.confidence >= own else Reason.CLASS_RULE


def _is_sure(scored: Scored, label: str, policy: Policy) -> bool:
    """Whether the threshold in force is reached, and the group's own where groups have their own.

    Of raw tensors nothing says how sure they are: they stay, unless a rule asks.
    """
    if isinstance(scored.output, RawTensors):
        return True
    confidence = scored.confidence
    if policy.threshold is None or not confidence >= policy.threshold:
        return False
    return not policy.group_thresholds or confidence >= policy.group_thresholds.get(label, math.inf)


def group_of(scored: Scored) -> str:
    """The group that an answer belongs to, where groups are watched apart: its label; empty when it has none."""
    return getattr(scored.output, "label", "")


def counters(decision: Decision) -> tuple[str, ...]:
    """Name the counters that one decision adds 1 to, beside `predictions_decided`.

    Args:
        decision: Any.

    Returns:
        How it was decided, whether it was drawn, and what was wanted of the hub and could not be afforded. What is
        asked of the hub is counted where it is stored.
    """
    suppressed_by = decision.shortage if decision.is_suppressed else None
    return _counters(decision.reason, suppressed_by, is_drawn=decision.is_drawn)


@lru_cache(maxsize=256)  # pure; there are few different ones
def _counters(reason: Reason | None, suppressed_by: Shortage | None, *, is_drawn: bool) -> tuple[str, ...]:
    names: list[str] = [Count.DECISIONS_MADE, _decided(reason)]
    if is_drawn and reason is not Reason.AUDIT:
        names += [Count.AUDITS_DRAWN, Count.AUDITS_ESCALATED]
    if suppressed_by is not None:
        names += [Count.ESCALATIONS_WANTED, of_reason(Count.ESCALATIONS_SUPPRESSED_BUDGET, suppressed_by)]
    return tuple(names)


def _decided(reason: Reason | None) -> str:
    if reason is None:
        return Count.DECISIONS_KEPT
    return Count.DECISIONS_AUDITED if reason is Reason.AUDIT else of_reason(Count.DECISIONS_DOUBTED, reason)
