"""Prediction events: ids, the first form, revisions, and the schema that describes them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core import prediction as prediction_module
from edge_agent.core.decision import Barrier, Facts, Policy, Shortage, decide
from edge_agent.core.escalation import WITHOUT_VERDICT, Outcome
from edge_agent.core.event_text import event_bytes
from edge_agent.core.prediction import (
    CertificateState,
    CertificateUse,
    Event,
    Prediction,
    agrees,
    event,
    input_digest,
    prediction_id,
    revise,
    settled,
    unrevised,
)
from edge_agent.core.timestamps import NS_PER_S, from_text
from model_packs.outputs import Classification, Output, RawTensors, Regression, Text
from model_packs.scoring import Scored
from model_packs.tensors import Tensor
from protos.messages.escalation import Verdict
from protos.messages.inference import ModelUse, Tier

SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(prediction_module.__file__).parents[1] / "schemas" / "edge.prediction.1.json").read_text())
)
START_NS = from_text("2026-11-21T08:00:00Z")
ID = prediction_id("press-07", "motion", "p1", START_NS, START_NS + NS_PER_S)
DIGEST = "sha256:" + "0" * 64
EDGE = ModelUse("motion-band-edge@1.0.0", DIGEST)
HUB = ModelUse("motion-band-hub@1.0.0", DIGEST)
WALK = Classification("walk", {"walk": 0.7, "run": 0.3})
RUN = Classification("run", {"walk": 0.1, "run": 0.9})
CERTIFICATE = CertificateUse(DIGEST, CertificateState.CERTIFIED)
UNSCORABLE = Scored(None, 0.0, "non_finite")


def predicted(scored: Scored, threshold: float | None = 0.8, barrier: Barrier | None = None) -> Prediction:
    """A prediction as the pipeline makes it."""
    return Prediction(
        id=ID,
        device="press-07",
        binding="motion",
        decided_ns=START_NS + NS_PER_S + 3_100_042,
        clock="synced",
        window_start_ns=START_NS,
        window_end_ns=START_NS + NS_PER_S,
        window_samples=50,
        window_fill=49 / 50,
        is_durable=True,
        scored=scored,
        decision=decide(scored, Policy(threshold, barrier)),
        models=(EDGE,),
        certificate=CERTIFICATE,
        latency_ms=3.14159,
        trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )


def checked(found: Event | None) -> Event:
    """An event that fits the schema, read back as a subscriber would."""
    assert found is not None
    SCHEMA.validate(json.loads(json.dumps(found, allow_nan=False)))
    return found


def verdict(revision: int = 1, tier: Tier = Tier.HUB, output: Output | None = RUN) -> Verdict:
    """A later answer."""
    return Verdict(
        verdict_seq=1,
        prediction_id=ID,
        input_digest=DIGEST,
        revision=revision,
        tier=tier,
        output=output,
        confidence=0.9 if output else 0.0,
        models=(HUB,),
        decided_at_ns=START_NS,
        infer_ms=12.0,
    )


def provisional() -> Event:
    """An event whose window is asked again."""
    return checked(event(predicted(Scored(WALK, 0.7, None))))


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
PORTIONS = st.floats(0.0, 1.0)
SCORED = st.one_of(
    st.just(UNSCORABLE),
    st.builds(
        lambda scores, sure: Scored(Classification(next(iter(scores)), scores), sure, None),
        st.dictionaries(NAMES, PORTIONS, min_size=1, max_size=5),
        PORTIONS,
    ),
)


@st.composite
def predictions(draw: st.DrawFn) -> Prediction:
    """Any."""
    scored = draw(SCORED)
    policy = Policy(draw(st.sampled_from([None, 0.0, 0.5, 1.0])), draw(st.sampled_from([None, *Barrier])))
    rate, shortage = draw(st.sampled_from([0, 0.05, 1.0])), draw(st.sampled_from([None, *Shortage]))
    return replace(
        predicted(scored),
        device=draw(NAMES),
        binding=draw(NAMES),
        decision=decide(scored, policy, Facts(draw(st.booleans()), rate, shortage)),
        certificate=draw(st.sampled_from([None, CERTIFICATE])),
        decided_ns=draw(st.integers(0, 2**62)),
        window_start_ns=draw(st.integers(0, 2**62)),
        window_fill=draw(PORTIONS),
        latency_ms=draw(st.floats(0, 1e9)),
        is_durable=draw(st.booleans()),
    )


@given(predictions())
def test_an_event_is_written_as_the_json_library_would(one: Prediction) -> None:
    """Byte for byte, whatever it says."""
    assert event_bytes(one) == json.dumps(event(one), separators=(",", ":")).encode()


def test_a_confident_answer_is_final() -> None:
    """The whole event, key by key."""
    assert checked(event(predicted(Scored(WALK, 0.85, None)))) == {
        "schema": "edge.prediction/1",
        "id": ID,
        "device": "press-07",
        "binding": "motion",
        "ts": "2026-11-21T08:00:01.003Z",
        "clock": "synced",
        "window": {"start": "2026-11-21T08:00:00.000Z", "end": "2026-11-21T08:00:01.000Z", "n": 50, "fill": 0.98},
        "durable": True,
        "status": "final",
        "revision": 0,
        "tier": "edge",
        "output": {"task": "classification", "label": "walk", "scores": {"walk": 0.7, "run": 0.3}},
        "confidence": 0.85,
        "escalation": {"reason": None, "outcome": "none", "propensity": 0.0, "policy_version": 0},
        "models": [{"pack": "motion-band-edge@1.0.0", "digest": DIGEST, "role": "active"}],
        "certificate": {"digest": DIGEST, "state": "certified"},
        "latency_ms": 3.142,
        "trace": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }


@pytest.mark.parametrize(
    ("scored", "barrier", "status", "escalation"),
    [
        (Scored(WALK, 0.7, None), None, "provisional", ("low_confidence", "queued", 1.0)),
        (UNSCORABLE, None, "provisional", ("unscorable", "queued", 1.0)),
        (Scored(WALK, 0.7, None), Barrier.NO_HUB, "final", ("low_confidence", "none", 0.0)),
        (UNSCORABLE, Barrier.EGRESS_NEVER, "final", ("unscorable", "none", 0.0)),
    ],
)
def test_a_doubtful_answer_carries_no_certificate(
    scored: Scored, barrier: Barrier | None, status: str, escalation: tuple[str, str, float]
) -> None:
    """Asked or not, a certificate speaks only for what its threshold keeps."""
    found = checked(event(predicted(scored, barrier=barrier)))
    told = found["escalation"]
    assert (found["status"], found["certificate"]) == (status, None)
    assert (told["reason"], told["outcome"], told["propensity"]) == escalation


NUMBER = Regression(12.5, 12.0, 13.25, 0.5, "mm")


@pytest.mark.parametrize(
    "output",
    [
        NUMBER,
        Regression(-1.0, None, None, 0.0),
        Text("stop the line"),
        RawTensors((Tensor.from_array("y", np.array([np.nan, 1.5], np.float32)),)),
    ],
)
def test_answers_of_every_task_fit_the_schema(output: Output) -> None:
    """Numbers, texts and raw tensors are tagged; text and bytes of the event are the same."""
    made = predicted(Scored(output, 0.9, None))
    assert checked(event(made))["output"] == output.to_json()
    assert json.loads(event_bytes(made)) == event(made)


@pytest.mark.parametrize(("value", "same"), [(12.9, True), (13.0, True), (13.1, False)])
def test_numbers_agree_within_the_tolerance_of_the_edges_pack(value: float, same: bool) -> None:  # noqa: FBT001 - a table
    """What the hub's pack tolerates does not count."""
    found = event(predicted(Scored(NUMBER, 0.9, None)))
    assert agrees(found, verdict(output=Regression(value, None, None, 99.0, "mm"))) is same


def audited() -> Event:
    """An event that the lottery drew: final, and asked all the same."""
    sure = predicted(Scored(WALK, 0.9, None))
    drawn = decide(sure.scored, Policy(0.8), Facts(is_drawn=True, audit_rate=0.1))
    return checked(event(replace(sure, decision=drawn, policy_version=3)))


def test_an_audited_answer_is_final_and_certified() -> None:
    """It says that it is audited, with which probability, and by which policy; the certificate speaks for it."""
    found = audited()
    assert (found["status"], found["certificate"]["state"]) == ("final", "certified")
    assert found["escalation"] == {"reason": "audit", "outcome": "queued", "propensity": 0.1, "policy_version": 3}


@pytest.mark.parametrize("output", [WALK, None])
def test_a_hub_that_agrees_with_an_audited_answer_revises_nothing(output: Classification | None) -> None:
    """Nor does one that cannot tell; the end of the audit is kept in the event, and nothing else changes."""
    first = audited()
    assert revise(first, verdict(output=output), START_NS) is None
    found = checked(settled(first, Outcome.ANSWERED))
    assert found == {**first, "escalation": {**first["escalation"], "outcome": "answered"}}


def test_a_hub_that_disagrees_with_an_audited_answer_revises_it() -> None:
    """As any revision; why it was asked stays."""
    found = checked(revise(audited(), verdict(output=RUN), START_NS))
    assert (found["status"], found["output"]["label"], found["certificate"]) == ("revised", "run", None)
    assert (found["escalation"]["reason"], found["escalation"]["outcome"]) == ("audit", "answered")


def test_a_person_revises_an_audited_answer_even_to_confirm_it() -> None:
    """Somebody looked at it, and that is told."""
    found = checked(revise(audited(), verdict(tier=Tier.HUMAN, output=WALK), START_NS))
    assert (found["status"], found["tier"]) == ("revised", "human")


@pytest.mark.parametrize(("output", "same"), [(WALK, True), (RUN, False), (None, None)])
def test_agreement_is_of_labels(output: Classification | None, same: bool | None) -> None:  # noqa: FBT001 - a table
    """And needs two answers."""
    assert agrees(audited(), verdict(output=output)) is same
    assert agrees(event(predicted(UNSCORABLE)), verdict(output=output)) is None


def test_what_the_budget_does_not_allow_is_final_and_says_so() -> None:
    """It carries no certificate: the policy did not keep it."""
    doubtful = predicted(Scored(WALK, 0.7, None))
    short = decide(doubtful.scored, Policy(0.8), Facts(audit_rate=0.1, shortage=Shortage.CALLS))
    found = checked(event(replace(doubtful, decision=short)))
    assert (found["status"], found["certificate"]) == ("final", None)
    assert (found["escalation"]["outcome"], found["escalation"]["propensity"]) == ("suppressed_budget", 0.1)


def test_a_pack_without_a_certificate() -> None:
    """Its answers carry none."""
    found = checked(event(replace(predicted(Scored(WALK, 0.9, None)), certificate=None)))
    assert found["certificate"] is None


FIELDS = st.tuples(st.text(), st.text(), st.text(), st.integers(0, 9), st.integers(0, 9))


@given(FIELDS, FIELDS)
def test_ids_name_windows(one: tuple[str, str, str, int, int], other: tuple[str, str, str, int, int]) -> None:
    """Equal for the same window, different for any other."""
    assert (prediction_id(*one) == prediction_id(*other)) == (one == other)


def test_the_id_is_pinned() -> None:
    """Another version of the program must give the same id to the same window."""
    assert prediction_id("press-07", "motion", "p1", 0, 10**9) == "p7kzfzvjocxgkr5djchg7eae24"


def test_inputs_are_told_apart() -> None:
    """Values, names and order count."""
    one = Tensor.from_array("window", np.zeros((1, 5, 2), np.float32))
    other = Tensor.from_array("mask", np.ones((1, 5), np.float32))
    changed = Tensor.from_array("window", np.full((1, 5, 2), 1e-9, np.float32))
    digests = [input_digest(tensors) for tensors in ([one], [changed], [one, other], [other, one])]
    assert len(set(digests)) == 4
    assert input_digest([one]) == digests[0]
    assert digests[0].startswith("sha256:")


def test_a_verdict_revises() -> None:
    """The answer, its tier and its models are the hub's; what was asked, and why, stays."""
    first = provisional()
    found = checked(revise(first, verdict(), from_text(first["ts"]) + 250_000_000))
    assert found == {
        **first,
        "ts": "2026-11-21T08:00:01.253Z",
        "status": "revised",
        "revision": 1,
        "tier": "hub",
        "output": RUN.to_json(),
        "confidence": 0.9,
        "escalation": {"reason": "low_confidence", "outcome": "answered", "propensity": 1.0, "policy_version": 0},
        "models": [{"pack": "motion-band-hub@1.0.0", "digest": DIGEST, "role": "active"}],
        "certificate": None,
        "latency_ms": 253.142,
    }


def test_an_equal_verdict_confirms() -> None:
    """The caller learns that the answer holds."""
    found = checked(revise(provisional(), verdict(output=WALK), START_NS))
    assert (found["status"], found["revision"], found["output"]) == ("revised", 1, WALK.to_json())


def test_a_hub_that_cannot_tell_either_says_so() -> None:
    """Then nobody knows, and the event claims nothing."""
    found = checked(revise(provisional(), verdict(output=None), START_NS))
    assert (found["status"], found["output"], found["confidence"]) == ("revised", None, 0.0)


def test_a_step_back_of_the_clock_makes_no_negative_latency() -> None:
    """It stays what it was."""
    assert checked(revise(provisional(), verdict(), 0))["latency_ms"] == 3.142


@pytest.mark.parametrize(
    ("held", "later"),
    [
        (verdict(1), verdict(1, output=WALK)),
        (verdict(2), verdict(1)),
        (verdict(1, Tier.HUMAN), verdict(2, Tier.HUB)),
    ],
)
def test_what_is_not_better_changes_nothing(held: Verdict, later: Verdict) -> None:
    """The same or a lower revision, or a lower tier."""
    current = checked(revise(provisional(), held, START_NS))
    assert revise(current, later, START_NS) is None


def test_a_person_has_the_last_word() -> None:
    """A human verdict follows the hub's; the escalation had ended before."""
    current = checked(revise(provisional(), verdict(1), START_NS))
    found = checked(revise(current, verdict(2, Tier.HUMAN, WALK), START_NS))
    assert (found["tier"], found["revision"], found["escalation"]["outcome"]) == ("human", 2, "answered")


@pytest.mark.parametrize("outcome", sorted(WITHOUT_VERDICT))
def test_an_escalation_that_ends_without_a_verdict_is_told(outcome: Outcome) -> None:
    """The edge's answer stands, without a certificate."""
    first = provisional()
    found = checked(unrevised(first, outcome, START_NS))
    assert (found["status"], found["revision"], found["output"]) == ("unrevised", 0, first["output"])
    assert found["escalation"] == {**first["escalation"], "outcome": outcome}


@pytest.mark.parametrize(
    ("current", "outcome"),
    [
        (event(predicted(Scored(WALK, 0.9, None))), Outcome.EXPIRED),
        (revise(provisional(), verdict(), START_NS), Outcome.EXPIRED),
        (unrevised(provisional(), Outcome.EVICTED, START_NS), Outcome.PURGED),
        (provisional(), Outcome.ACKED),
        (provisional(), Outcome.ANSWERED),
    ],
)
def test_where_nobody_waits_there_is_nothing_to_tell(current: dict[str, Any], outcome: Outcome) -> None:
    """Final, revised or told already; or the escalation goes on."""
    assert unrevised(current, outcome, START_NS) is None


@pytest.mark.parametrize(
    ("ended", "outcome"),
    [(Outcome.EXPIRED, "answered_late"), (Outcome.EVICTED, "evicted"), (Outcome.REJECTED, "rejected")],
)
def test_a_late_verdict_still_revises(ended: Outcome, outcome: str) -> None:
    """The only move out of an end is expired to answered late; the answer is of use all the same."""
    current = checked(unrevised(provisional(), ended, START_NS))
    found = checked(revise(current, verdict(), START_NS))
    assert (found["status"], found["escalation"]["outcome"]) == ("revised", outcome)


@given(
    st.lists(
        st.builds(
            verdict, st.integers(1, 5), st.sampled_from([Tier.HUB, Tier.HUMAN]), st.sampled_from([WALK, RUN, None])
        ),
        max_size=8,
    )
)
def test_revisions_rise_and_tiers_never_fall(verdicts: list[Verdict]) -> None:
    """In whatever order verdicts come, repeated or not."""
    current = provisional()
    for one in verdicts:
        found = revise(current, one, START_NS)
        if found is not None:
            checked(found)
            assert found["revision"] > current["revision"]
            assert Tier(found["tier"]).rank >= Tier(current["tier"]).rank
            current = found
        assert revise(current, one, START_NS) is None


@pytest.mark.parametrize(
    "change",
    [
        {"revision": 1},
        {"tier": "hub"},
        {"status": "provisional"},
        {"id": "x"},
        {"output": {"task": "classification"}},
        {"ts": "2026-11-21 08:00"},
        {"escalation": {"reason": "because", "outcome": "none"}},
        {"escalation": {"reason": None, "outcome": "none", "propensity": 1.5}},
    ],
)
def test_the_schema_refuses_what_is_no_event(change: dict[str, Any]) -> None:
    """It describes events, not just any object."""
    good = event(predicted(Scored(WALK, 0.85, None)))
    assert not SCHEMA.is_valid({**good, **change})
    assert SCHEMA.is_valid(good)
