"""Owns the decision: which answers stay at the edge as they are, and which are asked again at the hub, and why.

Pure: scores and policy in, `Decision` out. Scores are made by `model_packs.scoring`; what becomes of an escalation is
`escalation.py`.
"""

from dataclasses import dataclass
from enum import StrEnum

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


@dataclass(frozen=True, slots=True)
class Policy:
    """What a binding does with a score.

    Attributes:
        threshold: Answers of at least this calibrated confidence stay; None: no confidence is enough.
        barrier: Why nothing may be escalated; None when escalation is possible.
    """

    threshold: float | None
    barrier: Barrier | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one answer.

    Attributes:
        status: `final` or `provisional`.
        escalate: Whether the hub is asked.
        reason: Why the answer is not good enough; None: its confidence reaches the threshold.
        barrier: Why the hub is not asked although there is a reason.
        propensity: Probability with which this window was chosen for the hub: 1.0 when the policy chose it, else 0.0.
    """

    status: AnswerStatus
    escalate: bool
    reason: Reason | None
    barrier: Barrier | None
    propensity: float

    @property
    def is_certified(self) -> bool:
        """Whether a certificate may speak for the answer: it bounds the risk of what its threshold keeps, no other."""
        return self.reason is None


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


def decide(scored: Scored, policy: Policy) -> Decision:
    """Decide about one answer.

    Args:
        scored: The edge's answer; unscorable ones carry confidence 0.
        policy: What the binding does with it.

    Returns:
        The decision, with its reason. Behind a barrier every answer is final and nothing is asked.
    """
    reason = _doubt(scored, policy.threshold)
    if reason is None:
        return Decision(AnswerStatus.FINAL, escalate=False, reason=None, barrier=None, propensity=0.0)
    if policy.barrier is not None:
        return Decision(AnswerStatus.FINAL, escalate=False, reason=reason, barrier=policy.barrier, propensity=0.0)
    return Decision(AnswerStatus.PROVISIONAL, escalate=True, reason=reason, barrier=None, propensity=1.0)


def _doubt(scored: Scored, threshold: float | None) -> Reason | None:
    if scored.output is None or scored.unscorable is not None:
        return Reason.UNSCORABLE
    is_enough = threshold is not None and scored.confidence >= threshold
    return None if is_enough else Reason.LOW_CONFIDENCE
