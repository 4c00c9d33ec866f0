"""Which answers stay, which are asked again, which are audited, and that each decision says why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.decision import (
    AnswerStatus,
    Barrier,
    Decision,
    Egress,
    Facts,
    Policy,
    Shortage,
    barrier,
    counters,
    decide,
    group_of,
)
from model_packs.outputs import Classification, RawTensors, Regression
from model_packs.scoring import Scored
from model_packs.tensors import Tensor
from protos.messages.escalation import Reason

ANSWER = Classification("walk", {"walk": 0.7, "run": 0.3})
UNSCORABLE = Scored(None, 0.0, "non_finite")
DRAWN = Facts(is_drawn=True, audit_rate=0.1)


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


@pytest.mark.parametrize(
    ("policy", "confidence", "ood", "reason"),
    [
        (Policy(0.5, always_escalate=frozenset({"walk"})), 0.99, None, Reason.CLASS_RULE),
        (Policy(0.5, always_escalate=frozenset({"run"})), 0.99, None, None),
        (Policy(0.5, class_thresholds={"walk": 0.9}), 0.8, None, Reason.CLASS_RULE),
        (Policy(0.5, class_thresholds={"walk": 0.9}), 0.9, None, None),
        (Policy(0.5, class_thresholds={"walk": 0.4}), 0.45, None, Reason.LOW_CONFIDENCE),
        (Policy(0.5, class_thresholds={"run": 0.9}), 0.8, None, None),
        (Policy(0.5, ood_limit=3.0), 0.99, 3.1, Reason.OUT_OF_DISTRIBUTION),
        (Policy(0.5, ood_limit=3.0), 0.99, float("nan"), Reason.OUT_OF_DISTRIBUTION),
        (Policy(0.5, ood_limit=3.0), 0.99, 3.0, None),
        (Policy(0.5, ood_limit=3.0), 0.99, None, None),
        (Policy(0.5), 0.99, 100.0, None),
        (Policy(0.0, is_hub_only=True), 1.0, None, Reason.FORCED),
    ],
)
def test_rules_of_a_policy(policy: Policy, confidence: float, ood: float | None, reason: Reason | None) -> None:
    """Labels, strange inputs and a hub-only policy escalate whatever the confidence; a label's threshold only adds."""
    assert decide(scored(confidence), policy, Facts(ood=ood)).reason is reason


@pytest.mark.parametrize(
    ("policy", "ood", "reason"),
    [
        (Policy(None), None, None),
        (Policy(1.0), None, None),
        (Policy(None, is_hub_only=True), None, Reason.FORCED),
        (Policy(None, ood_limit=3.0), 3.1, Reason.OUT_OF_DISTRIBUTION),
        (Policy(None, ood_limit=3.0), 2.9, None),
    ],
)
def test_raw_tensors_stay_unless_a_rule_asks(policy: Policy, ood: float | None, reason: Reason | None) -> None:
    """Nothing says how sure they are, so no threshold can doubt them; their confidence of 0 is none."""
    answer = Scored(RawTensors((Tensor("y", "UINT8", (1,), b"a"),)), 0.0, None)
    assert decide(answer, policy, Facts(ood=ood)).reason is reason


def test_a_number_is_kept_from_the_threshold_on() -> None:
    """The score of a regression is compared like any other; it is of no class."""
    answer = Regression(1.0, None, None, 0.5)
    kept, doubted = (decide(Scored(answer, confidence, None), Policy(0.8)) for confidence in (0.8, 0.79))
    assert (kept.reason, doubted.reason) == (None, Reason.LOW_CONFIDENCE)
    assert group_of(Scored(answer, 0.8, None)) == ""


def test_an_audited_answer_is_final_and_says_with_which_probability_it_was_drawn() -> None:
    """The lottery changes nothing of the answer; kept answers that were not drawn carry the same probability."""
    audited, kept = (decide(scored(0.9), Policy(0.5), facts) for facts in (DRAWN, Facts(audit_rate=0.1)))
    assert (audited.status, audited.escalate, audited.reason) == (AnswerStatus.FINAL, True, Reason.AUDIT)
    assert (kept.status, kept.escalate, kept.reason) == (AnswerStatus.FINAL, False, None)
    assert audited.propensity == kept.propensity == 0.1
    assert audited.is_kept
    assert audited.is_certified


def test_what_the_policy_escalates_is_no_audit() -> None:
    """A drawn window that is escalated anyway is asked once, with certainty."""
    decision = decide(scored(0.1), Policy(0.5), DRAWN)
    assert (decision.reason, decision.propensity, decision.is_audit) == (Reason.LOW_CONFIDENCE, 1.0, False)
    assert counters(decision) == (
        "decisions_made",
        "decisions_doubted{low_confidence}",
        "audits_drawn",
        "audits_escalated",
    )


def test_without_budget_an_answer_is_final_and_nobody_is_asked() -> None:
    """It keeps its reason, no certificate speaks for it, and what was short is counted."""
    decision = decide(scored(0.1), Policy(0.5), Facts(audit_rate=0.1, shortage=Shortage.CALLS))
    assert (decision.status, decision.escalate, decision.reason) == (AnswerStatus.FINAL, False, Reason.LOW_CONFIDENCE)
    assert decision.is_suppressed
    assert not decision.is_certified
    assert decision.propensity == 0.1
    assert counters(decision)[2:] == ("escalations_wanted", "escalations_suppressed_budget{calls}")


def test_a_drawn_window_is_asked_although_the_budget_is_short() -> None:
    """So the answers that nobody could be asked about have a random sample of their own."""
    decision = decide(scored(0.1), Policy(0.5), Facts(is_drawn=True, audit_rate=0.1, shortage=Shortage.CALLS))
    assert (decision.status, decision.escalate, decision.propensity) == (AnswerStatus.PROVISIONAL, True, 0.1)
    assert not decision.is_suppressed


@given(
    wall=st.sampled_from(list(Barrier)),
    confidence=st.floats(0.0, 1.0),
    threshold=st.one_of(st.none(), st.floats(0.0, 1.0)),
    drawn=st.booleans(),
)
def test_behind_a_barrier_nothing_is_asked(
    wall: Barrier, confidence: float, threshold: float | None, *, drawn: bool
) -> None:
    """Every answer is final; one that would have been asked keeps its reason, and says what stood in the way."""
    decision = decide(scored(confidence), Policy(threshold, wall), Facts(is_drawn=drawn, audit_rate=0.5))
    assert decision.status is AnswerStatus.FINAL
    assert not decision.escalate
    assert decision.propensity == 0.0
    assert decision.barrier is (None if decision.reason is None else wall)
    assert decision.reason is decide(scored(confidence), Policy(threshold)).reason


@given(
    confidence=st.floats(0.0, 1.0),
    shortage=st.sampled_from([None, *Shortage]),
    rate=st.floats(0.0, 1.0),
    drawn=st.booleans(),
)
def test_the_lottery_never_changes_what_the_policy_says(
    confidence: float,
    shortage: Shortage | None,
    rate: float,
    *,
    drawn: bool,
) -> None:
    """Whether a window is drawn moves neither the keeping nor the reason of a doubt; what is drawn always is asked."""
    facts = Facts(is_drawn=drawn, audit_rate=rate, shortage=shortage)
    decision = decide(scored(confidence), Policy(0.5), facts)
    assert decision.is_kept == (confidence >= 0.5)
    assert decision.escalate == (drawn or (not decision.is_kept and shortage is None))
    assert counters(decision)[0] == "decisions_made"


@pytest.mark.parametrize(
    ("policy", "told"), [(Policy(0.5), 0.5), (Policy(0.5, is_hub_only=True), None), (Policy(None), None)]
)
def test_the_threshold_as_the_hub_is_told_it(policy: Policy, told: float | None) -> None:
    """None stands for everything being escalated."""
    assert policy.reported_threshold == told


def test_a_group_is_the_label_of_the_answer() -> None:
    """Without an answer there is none."""
    assert (group_of(scored(0.5)), group_of(UNSCORABLE)) == ("walk", "")


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


@pytest.mark.parametrize(
    ("thresholds", "threshold", "confidence", "reason"),
    [
        ({"walk": 0.8, "run": 0.5}, 0.5, 0.8, None),
        ({"walk": 0.8, "run": 0.5}, 0.5, 0.79, Reason.LOW_CONFIDENCE),
        ({"walk": 0.5, "run": 0.8}, 0.5, 0.5, None),
        ({"run": 0.5}, 0.5, 1.0, Reason.LOW_CONFIDENCE),
        ({"walk": 0.5}, 0.9, 0.8, Reason.LOW_CONFIDENCE),
        ({"walk": 0.8}, 0.5, float("nan"), Reason.LOW_CONFIDENCE),
    ],
)
def test_groups_keep_by_their_own_thresholds(
    thresholds: dict[str, float], threshold: float, confidence: float, reason: Reason | None
) -> None:
    """A label that is not named keeps nothing, and a threshold that the hub raised holds for every label."""
    policy = Policy(threshold, group_thresholds=thresholds)
    assert decide(scored(confidence), policy).reason is reason
    assert policy.reported_threshold == threshold
