"""Which answers stay, which are asked again, and that each decision says why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.decision import AnswerStatus, Barrier, Decision, Egress, Policy, barrier, decide
from model_packs.outputs import Classification
from model_packs.scoring import Scored
from protos.messages.escalation import Reason

ANSWER = Classification("walk", {"walk": 0.7, "run": 0.3})
UNSCORABLE = Scored(None, 0.0, "non_finite")


def scored(confidence: float) -> Scored:
    """An answer of some confidence."""
    return Scored(ANSWER, confidence, None)


@pytest.mark.parametrize(
    ("answer", "threshold", "reason"),
    [
        (scored(0.8), 0.8, None),
        (scored(0.79), 0.8, Reason.LOW_CONFIDENCE),
        (scored(1.0), None, Reason.LOW_CONFIDENCE),
        (scored(0.0), 0.0, None),
        (scored(float("nan")), 0.0, Reason.LOW_CONFIDENCE),
        (UNSCORABLE, 0.0, Reason.UNSCORABLE),
        (UNSCORABLE, None, Reason.UNSCORABLE),
    ],
)
def test_the_threshold_decides(answer: Scored, threshold: float | None, reason: Reason | None) -> None:
    """At the threshold an answer stays; without one, and without a score, nothing stays."""
    decision = decide(answer, Policy(threshold))
    assert decision.reason is reason
    assert decision.is_certified == (reason is None)
    if reason is None:
        assert decision == Decision(AnswerStatus.FINAL, escalate=False, reason=None, barrier=None, propensity=0.0)
    else:
        assert (decision.status, decision.escalate, decision.propensity) == (AnswerStatus.PROVISIONAL, True, 1.0)


@given(
    st.sampled_from(list(Barrier)),
    st.floats(0.0, 1.0),
    st.one_of(st.none(), st.floats(0.0, 1.0)),
)
def test_behind_a_barrier_nothing_is_asked(wall: Barrier, confidence: float, threshold: float | None) -> None:
    """Every answer is final; one that would have been asked keeps its reason, and says what stood in the way."""
    decision = decide(scored(confidence), Policy(threshold, wall))
    assert decision.status is AnswerStatus.FINAL
    assert not decision.escalate
    assert decision.propensity == 0.0
    assert decision.barrier is (None if decision.reason is None else wall)
    assert decision.reason is decide(scored(confidence), Policy(threshold)).reason


@pytest.mark.parametrize(
    ("egress", "has_hub", "has_hub_pack", "wall"),
    [
        (Egress.TENSOR, True, True, None),
        (Egress.TENSOR, True, False, Barrier.NO_HUB_PACK),
        (Egress.TENSOR, False, False, Barrier.NO_HUB),
        (Egress.NEVER, True, True, Barrier.EGRESS_NEVER),
        (Egress.NEVER, False, False, Barrier.EGRESS_NEVER),
    ],
)
def test_barriers(egress: Egress, wall: Barrier | None, *, has_hub: bool, has_hub_pack: bool) -> None:
    """The operator's wish comes first, then what is there."""
    assert barrier(egress, has_hub=has_hub, has_hub_pack=has_hub_pack) is wall
