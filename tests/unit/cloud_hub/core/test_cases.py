"""What happens to a case, and where it stands in the review queue."""

from dataclasses import replace

import pytest

from cloud_hub.core.cases import (
    UNSURE_BELOW,
    Case,
    CaseDetail,
    CaseState,
    ReviewRank,
    answered,
    caught_up,
    heard,
    label_of,
    opened,
    review_rank,
)
from cloud_hub.core.feedback import Given, LabelGiven, Said
from cloud_hub.core.provenance import in_console
from model_packs.outputs import Classification, Output
from protos.messages.escalation import PredictionId, Verdict
from protos.messages.inference import ModelUse, Tier
from tests.unit.cloud_hub.escalations import PRESS, escalation

WALK = Classification("walk", {"walk": 0.9, "run": 0.1})
RUN = Classification("run", {"walk": 0.2, "run": 0.8})


def case(edge: Output | None = WALK) -> Case:
    """A case as it arrives."""
    return opened(PRESS, escalation("p1", edge=edge), 5)


def verdict(output: Output | None, confidence: float = 0.9) -> Verdict:
    """What the full model says of it."""
    models = (ModelUse("full@1.0.0", "sha256:9"),)
    return Verdict(1, PredictionId("p1"), "d", 1, Tier.HUB, output, confidence, models, 7, 1.5)


def given(said: Said, label: str | None, by: str = "ada") -> Given:
    """A judgement about it."""
    console = LabelGiven(PRESS, PredictionId("p1"), label, by, "", 9)
    return replace(in_console(console, case()), said=said)


def test_a_new_case_waits_with_all_that_the_device_said() -> None:
    """The list shows label, confidence, reason, threshold and packs as escalated; nobody else has spoken."""
    new = case()
    assert (new.edge_label, new.edge_confidence, new.reason.value, new.threshold) == (
        "walk",
        0.6,
        "low_confidence",
        0.8,
    )
    assert (new.edge_pack, new.hub_pack, new.partition) == ("small@1.0.0", "full@1.0.0", "left")
    assert (new.state, new.hub_label, new.human_label, new.agrees) == (CaseState.WAITING, None, None, None)


def test_long_texts_are_cut_for_the_list() -> None:
    """A device may send texts of any length; a list holds their beginning."""
    long = replace(escalation("p1", binding="b" * 1000), partition="p" * 1000)
    new = opened(PRESS, long, 5)
    assert (len(new.binding), len(new.partition)) == (128, 256)
    assert label_of(Classification("x" * 300, {"x" * 300: 1.0})) == "x" * 200


@pytest.mark.parametrize(
    ("edge", "hub", "agrees"), [(WALK, WALK, True), (WALK, RUN, False), (None, WALK, None), (WALK, None, None)]
)
def test_the_hubs_answer_agrees_or_not_or_cannot_be_compared(
    edge: Output | None, hub: Output | None, *, agrees: bool | None
) -> None:
    """Edge and hub agree when both name the same class; where one could not score the window, nothing is claimed."""
    after = answered(case(edge), verdict(hub))
    assert after.state is CaseState.ANSWERED
    assert after.agrees is agrees
    assert (after.hub_label, after.hub_confidence, after.hub_digest) == (label_of(hub), 0.9, "sha256:9")


def test_an_answer_without_models_has_no_digest() -> None:
    """Nothing is made up where the verdict names no model."""
    assert answered(case(), replace(verdict(WALK), models=())).hub_digest == ""


def test_a_label_settles_a_case_that_waits() -> None:
    """The full model is asked no more; a case that it has answered stays answered."""
    settled = heard(case(), Said.LABEL, "run", "ada")
    assert (settled.state, settled.human_label, settled.human_by) == (CaseState.SETTLED, "run", "ada")
    both = heard(answered(case(), verdict(WALK)), Said.LABEL, "run", "ada")
    assert (both.state, both.agrees, both.human_label) == (CaseState.ANSWERED, True, "run")


def test_wrong_doubts_and_unsure_changes_nothing() -> None:
    """Without a class, "wrong" only raises doubt; who cannot tell is counted elsewhere."""
    assert heard(case(), Said.WRONG, None, "op").is_doubted
    assert heard(case(), Said.UNSURE, None, "ada") == case()


def test_a_case_catches_up_with_what_was_said_before_it_came() -> None:
    """Feedback that overtook its window counts in its order: the last label holds."""
    said = (given(Said.WRONG, None, "op"), given(Said.LABEL, "run"), given(Said.RIGHT, "walk", "eva"))
    late = caught_up(case(), said)
    assert (late.state, late.human_label, late.human_by, late.is_doubted) == (CaseState.SETTLED, "walk", "eva", True)


RANKS = [
    (case(), ReviewRank.ORDINARY),
    (answered(case(), verdict(WALK)), ReviewRank.ORDINARY),
    (answered(case(None), verdict(WALK)), ReviewRank.ORDINARY),
    (answered(case(), verdict(RUN)), ReviewRank.SPLIT),
    (answered(case(), verdict(WALK, UNSURE_BELOW - 0.01)), ReviewRank.IN_DOUBT),
    (answered(case(), verdict(WALK, UNSURE_BELOW)), ReviewRank.ORDINARY),
    (answered(case(), verdict(None, 0.0)), ReviewRank.IN_DOUBT),
    (replace(answered(case(), verdict(WALK)), hub_confidence=None), ReviewRank.IN_DOUBT),
    (replace(answered(case(), verdict(RUN)), is_for_people=True), ReviewRank.CHOSEN),
    (heard(answered(case(), verdict(WALK)), Said.WRONG, None, "op"), ReviewRank.DOUBTED),
    (replace(case(), is_doubted=True, unsure_n=1), ReviewRank.DOUBTED),
    (replace(case(), is_doubted=True, unsure_n=2), ReviewRank.UNSURE),
    (heard(answered(case(), verdict(RUN)), Said.LABEL, "run", "ada"), None),
    (replace(heard(case(), Said.LABEL, "run", "ada"), is_doubted=True, unsure_n=2), None),
]


@pytest.mark.parametrize(("one", "rank"), RANKS)
def test_the_queue_puts_doubt_first_and_unsure_last(one: Case, rank: ReviewRank | None) -> None:
    """Doubted, then split or unsure hub answers, then the rest, then what two persons could not tell; labelled: out."""
    assert review_rank(one) is rank
    assert list(ReviewRank) == sorted(ReviewRank)


def test_a_case_whose_bytes_cannot_be_read_shows_no_tensors() -> None:
    """The row is still told; inputs and the edge's scores are not there."""
    unreadable = CaseDetail(case(), None, (), ())
    assert (unreadable.inputs, unreadable.edge_output) == ((), None)
    whole = CaseDetail(case(), escalation("p1", edge=RUN), (), ())
    assert ([tensor.name for tensor in whole.inputs], whole.edge_output) == (["window"], RUN)
