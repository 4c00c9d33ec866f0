"""What people say about answers: every wrong message has a name, and every good one is joined with its answer."""

import json
from dataclasses import replace
from typing import Any

import pytest

from edge_agent.core.feedback import MAX_BYTES, Answered, Said, is_edge_answer, judged, read_feedback
from edge_agent.errors import InputFault, InputFaultError
from model_packs.boxes import Box
from model_packs.outputs import NOTHING_FOUND, Detection
from protos.messages.escalation import PredictionId
from protos.messages.feedback import Feedback, Judgement
from protos.messages.inference import ModelUse

EDGE: dict[str, Any] = {
    "binding": "motion",
    "window": {"start": "2026-11-21T08:00:00.000Z", "end": "2026-11-21T08:00:01.000Z", "n": 5, "fill": 1.0},
    "tier": "edge",
    "output": {"task": "classification", "label": "idle", "scores": {"idle": 0.7, "moving": 0.3}},
    "confidence": 0.7,
    "models": [{"pack": "tiny-edge@1.0.0", "digest": "sha256:aa", "role": "active"}],
}
HUMAN = {
    **EDGE,
    "tier": "human",
    "output": {"task": "classification", "label": "moving", "scores": {"moving": 1.0}},
    "confidence": 1.0,
    "models": [],
}
START_NS = 1_795_248_000_000_000_000


def message(**fields: object) -> bytes:
    """A message."""
    return json.dumps(fields).encode()


def said(judgement: Judgement, label: str = "") -> Said:
    """Words about p1."""
    return Said(PredictionId("p1"), judgement, label, "anna", "")


def answered(newest: dict[str, Any] = EDGE, edge: dict[str, Any] = EDGE) -> Answered:
    """What the device knows of p1."""
    return Answered(newest, edge, "m1", 1.0)


@pytest.mark.parametrize(
    ("fields", "judgement", "label"),
    [
        ({"right": True}, Judgement.RIGHT, ""),
        ({"right": False}, Judgement.WRONG, ""),
        ({"label": "moving"}, Judgement.LABEL, "moving"),
    ],
)
def test_the_three_things_to_say(fields: dict[str, object], judgement: Judgement, label: str) -> None:
    """With who says it and a note, both optional; other fields are the panel's own."""
    assert read_feedback(message(id="p1", **fields)) == Said(PredictionId("p1"), judgement, label, "", "")
    full = read_feedback(message(id="p1", by="anna", note="belt was slack", seq=7, **fields))
    assert (full.given_by, full.note) == ("anna", "belt was slack")


@pytest.mark.parametrize(
    ("payload", "reason", "words"),
    [
        (b"", InputFault.MALFORMED, "not JSON"),
        (b"\xff", InputFault.MALFORMED, "not JSON"),
        (b"[]", InputFault.WRONG_TYPE, "an array instead of an object"),
        (b"[" * 5000, InputFault.TOO_DEEP, "nested"),
        (b" " * (MAX_BYTES + 1), InputFault.TOO_LARGE, "at most 16384"),
        (message(right=True), InputFault.MISSING_FIELD, "no field 'id'"),
        (message(id="", right=True), InputFault.MISSING_FIELD, "no field 'id'"),
        (message(id=7, right=True), InputFault.WRONG_TYPE, "'id' is no text"),
        (message(id="p" * 65, right=True), InputFault.MALFORMED, "'id' is longer than 64"),
        (message(id="p1"), InputFault.MALFORMED, "expected 'right' or 'label', found neither"),
        (message(id="p1", right=True, label="idle"), InputFault.MALFORMED, "found both"),
        (message(id="p1", right=1), InputFault.WRONG_TYPE, "neither true nor false"),
        (message(id="p1", label=""), InputFault.MALFORMED, "'label' is empty"),
        (message(id="p1", label=None), InputFault.WRONG_TYPE, "'label' is no text"),
        (message(id="p1", label="x" * 201), InputFault.MALFORMED, "'label' is longer than 200"),
        (message(id="p1", label="a\0b"), InputFault.MALFORMED, "no text for people"),
        (
            message(id="p1", right=True, note="\ud800"),
            InputFault.MALFORMED,
            "'note' is longer than 2000 characters, or",
        ),
        (message(id="p1", right=True, by=["anna"]), InputFault.WRONG_TYPE, "'by' is no text"),
    ],
)
def test_what_is_no_feedback_is_refused_by_name(payload: bytes, reason: InputFault, words: str) -> None:
    """With the mend."""
    with pytest.raises(InputFaultError) as caught:
        read_feedback(payload)
    assert caught.value.reason is reason
    assert words in caught.value.message
    assert caught.value.mend


def test_the_same_words_about_the_same_answer_have_the_same_digest() -> None:
    """And any other word has another one."""
    one = said(Judgement.LABEL, "idle")
    others = [
        replace(one, prediction_id=PredictionId("p2")),
        replace(one, judgement=Judgement.WRONG),
        replace(one, label="moving"),
        replace(one, given_by="bert"),
        replace(one, note="later"),
    ]
    assert said(Judgement.LABEL, "idle").digest == one.digest
    assert len({other.digest for other in others} | {one.digest}) == 6


def test_a_judgement_is_joined_with_the_edges_own_answer() -> None:
    """Window, model, output, confidence and propensity, as the hub stores them."""
    assert judged(said(Judgement.LABEL, "moving"), answered(), 9) == Feedback(
        prediction_id=PredictionId("p1"),
        judgement=Judgement.LABEL,
        label="moving",
        given_by="anna",
        note="",
        given_at_ns=9,
        binding="motion",
        partition="m1",
        window_start_ns=START_NS,
        window_end_ns=START_NS + 1_000_000_000,
        edge_model=ModelUse("tiny-edge@1.0.0", "sha256:aa"),
        edge_output=judged(said(Judgement.WRONG), answered(), 9).edge_output,
        confidence=0.7,
        propensity=1.0,
    )


def test_right_confirms_the_newest_answer_and_wrong_names_none() -> None:
    """After a revision, people speak about what they see; the edge's own answer stays beside it."""
    assert judged(said(Judgement.RIGHT), answered(), 9).label == "idle"
    after = judged(said(Judgement.RIGHT), answered(newest=HUMAN), 9)
    assert (after.label, after.confidence, after.edge_model.pack) == ("moving", 0.7, "tiny-edge@1.0.0")
    assert judged(said(Judgement.WRONG), answered(newest=HUMAN), 9).label == ""


def test_a_label_must_be_one_of_the_packs_where_it_is_known() -> None:
    """An answer that could not be scored names none, so any label is taken; but nothing of it can be right."""
    with pytest.raises(InputFaultError, match="label 'flying'; the pack knows idle, moving") as caught:
        judged(said(Judgement.LABEL, "flying"), answered(), 9)
    assert caught.value.reason is InputFault.UNKNOWN_LABEL
    unscored = {**EDGE, "output": None}
    assert judged(said(Judgement.LABEL, "flying"), answered(unscored, unscored), 9).edge_output is None
    with pytest.raises(InputFaultError, match="nothing can be right") as caught:
        judged(said(Judgement.RIGHT), answered(unscored, unscored), 9)
    assert caught.value.reason is InputFault.NO_ANSWER


def test_an_answer_of_a_task_that_this_program_does_not_know_is_told() -> None:
    """A newer agent wrote it."""
    other = {**EDGE, "output": {"task": "poetry"}}
    with pytest.raises(InputFaultError, match="the answer cannot be read") as caught:
        judged(said(Judgement.WRONG), answered(other, other), 9)
    assert caught.value.reason is InputFault.NO_ANSWER


def test_an_edge_answer_is_known_by_its_tier() -> None:
    """What a revision left is somebody else's."""
    assert is_edge_answer(EDGE)
    assert not is_edge_answer(HUMAN)


def test_boxes_are_confirmed_as_they_were_told_or_all_denied() -> None:
    """Right means the newest boxes; a label is what one of the answers told, or that there is nothing."""
    bolt = Detection((Box("bolt", 0.75, 0.0, 1.0, 2.0, 3.0),), "pixels", 0.5)
    nut = Detection((Box("nut", 0.5, 0.0, 1.0, 2.0, 3.0),), "pixels", 0.5)
    edge, hub = {**EDGE, "output": bolt.to_json()}, {**EDGE, "tier": "hub", "output": nut.to_json()}
    revised, unscored = answered(hub, edge), answered(hub, {**EDGE, "output": None})
    assert judged(said(Judgement.RIGHT), revised, 9).label == nut.told
    for label in (bolt.told, nut.told, NOTHING_FOUND):
        assert judged(said(Judgement.LABEL, label), revised, 9).label == label
    assert judged(said(Judgement.LABEL, nut.told), unscored, 9).label == nut.told
    with pytest.raises(InputFaultError) as caught:
        judged(said(Judgement.LABEL, "bolt"), revised, 9)
    assert caught.value.reason is InputFault.UNKNOWN_LABEL
    assert caught.value.message.endswith(f"the pack knows {bolt.told}, {nut.told}, {NOTHING_FOUND}")
