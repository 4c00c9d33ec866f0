"""Why a window was escalated, what each tier said, and how the case stands."""

from dataclasses import replace

import pytest

from cloud_hub.core.cases import Case, CaseDetail, CaseState, opened
from cloud_hub.core.console.case_view import (
    MAX_SCORES,
    REASON_WORDS,
    FoundBoxes,
    answers,
    found_boxes,
    history,
    label_keys,
    said,
    scores,
    standing,
    why,
)
from cloud_hub.core.console.wording import Shape
from cloud_hub.core.feedback import Given, LabelGiven, Said, Source
from cloud_hub.core.provenance import in_console
from model_packs.boxes import Box
from model_packs.outputs import Classification, Detection, Regression
from protos.messages.escalation import PredictionId, Reason, Verdict
from protos.messages.inference import ModelUse, Tier
from tests.unit.cloud_hub.escalations import PRESS, A, B, escalation

NEW = opened(PRESS, escalation("p1"), 5)
ANSWERED = replace(NEW, state=CaseState.ANSWERED, hub_label="b", hub_confidence=0.97, agrees=False)
UNSCORED = opened(PRESS, escalation("p2", edge=None, reason=Reason.UNSCORABLE), 5)


def verdict(tier: Tier, output: Classification | None, at_ns: int = 7) -> Verdict:
    """A logged answer."""
    return Verdict(1, PredictionId("p1"), "d", 1, tier, output, 0.97, (ModelUse("full@1.0.0", "d"),), at_ns, 1.0)


def given(what: Said, label: str | None, source: Source = Source.CONSOLE, revision: int | None = None) -> Given:
    """A stored judgement."""
    console = in_console(LabelGiven(PRESS, PredictionId("p1"), label, "ana", "look", 9), ANSWERED)
    return replace(console, said=what, source=source, revision=revision, received_at_ns=9)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_sentence(reason: Reason) -> None:
    """And a short word for lists."""
    told = why(replace(NEW, reason=reason))
    assert told.point
    assert (told.before + told.point + told.after).endswith(".")
    assert REASON_WORDS[reason]


def test_low_confidence_is_told_with_both_numbers() -> None:
    """Its confidence and the threshold that it missed."""
    told = why(NEW)
    assert (told.point, told.after) == ("not sure", ": 0.60 is below its threshold 0.80.")


def test_numbers_that_look_alike_get_more_digits() -> None:
    """0.80 is not below 0.80."""
    assert why(replace(NEW, edge_confidence=0.7996)).after == ": 0.7996 is below its threshold 0.8000."


def test_no_threshold_means_everything_is_asked() -> None:
    """A pack without a certificate trusts no confidence."""
    assert why(replace(NEW, threshold=None)).point == "everything"


def test_each_tier_says_its_answer_or_why_it_has_none() -> None:
    """Edge, hub, and a person once one has spoken."""
    assert [(one.tier, one.label, one.words) for one in answers(NEW)] == [
        (Tier.EDGE, "a", ""),
        (Tier.HUB, None, "has not answered yet"),
    ]
    assert [one.label for one in answers(replace(ANSWERED, human_label="a"))] == ["a", "b", "a"]
    assert answers(UNSCORED)[0].words == "could not score it"
    assert answers(replace(UNSCORED, state=CaseState.ANSWERED))[1].words == "could not score it either"
    assert answers(replace(NEW, state=CaseState.SETTLED, human_label="a"))[1].words == "was not needed any more"


@pytest.mark.parametrize(
    ("case", "shape", "word"),
    [
        (NEW, Shape.IDLE, "waits for the hub"),
        (ANSWERED, Shape.WARN, "hub disagrees"),
        (replace(ANSWERED, hub_label="a", agrees=True), Shape.OK, "hub agrees"),
        (replace(UNSCORED, state=CaseState.ANSWERED, hub_label="a"), Shape.IDLE, "not comparable"),
        (replace(ANSWERED, is_doubted=True), Shape.WARN, "called wrong"),
        (replace(ANSWERED, is_doubted=True, human_label="b"), Shape.WARN, "labelled b; hub was right"),
        (replace(ANSWERED, human_label="a"), Shape.OK, "labelled a; edge was right"),
        (replace(ANSWERED, human_label="c"), Shape.WARN, "labelled c; neither was right"),
        (replace(ANSWERED, hub_label="a", agrees=True, human_label="a"), Shape.OK, "labelled a; both were right"),
        (replace(ANSWERED, human_label="c" * 17), Shape.WARN, f"labelled {'c' * 16}…; neither was right"),
        (replace(NEW, state=CaseState.SETTLED, human_label="b"), Shape.WARN, "labelled b; neither was right"),
    ],
)
def test_a_case_stands_by_what_the_tiers_say(case: Case, shape: Shape, word: str) -> None:
    """Who doubts comes first."""
    state = standing(case)
    assert (state.shape, state.word) == (shape, word)


def test_labels_have_keys_in_the_packs_order() -> None:
    """1 to 9, then 0, then none; what hub and people said is marked."""
    keys = label_keys([f"l{number}" for number in range(12)], replace(ANSWERED, hub_label="l2", human_label="l3"))
    assert [one.key for one in keys] == [*"1234567890", "", ""]
    assert [one.label for one in keys if one.is_hub] == ["l2"]
    assert [one.label for one in keys if one.is_human] == ["l3"]


def test_digits_are_their_own_keys() -> None:
    """Nobody should have to press 1 for a nought."""
    assert [(one.label, one.key) for one in label_keys(["0", "1", "7"], NEW)] == [("0", "0"), ("1", "1"), ("7", "7")]


def test_without_a_pack_the_answers_are_the_choices() -> None:
    """What edge and hub said is all that is known."""
    assert [one.label for one in label_keys((), ANSWERED)] == ["a", "b"]


def test_what_people_said_is_a_sentence() -> None:
    """Who, what, where, and what it made."""
    assert said(given(Said.LABEL, "b", revision=2)) == "ana labelled it b, in the console; revision 2"
    assert said(given(Said.RIGHT, "a", Source.OPERATOR)) == "ana called the answer right: a, at the device"
    assert said(given(Said.WRONG, None, Source.OPERATOR)) == "ana called the answer wrong, at the device"
    assert said(given(Said.UNSURE, None)) == "ana could not tell, in the console"


def test_a_history_is_told_in_order_and_once() -> None:
    """A person's verdict stands as what they said, not twice."""
    detail = CaseDetail(
        ANSWERED,
        escalation("p1"),
        (verdict(Tier.HUB, B), verdict(Tier.HUMAN, B, 9)),
        (given(Said.LABEL, "b", revision=2),),
    )
    assert [(one.tier, one.text) for one in history(detail)] == [
        (Tier.EDGE, "answered a, and asked the hub"),
        (Tier.HUB, "answered b; revision 1"),
        (Tier.HUMAN, "ana labelled it b, in the console; revision 2"),
    ]
    silent = history(CaseDetail(UNSCORED, None, (verdict(Tier.HUB, None),), ()))
    assert [one.text for one in silent] == [
        "could not score it, and asked the hub",
        "could not score it either; revision 1",
    ]


def test_scores_stand_side_by_side_the_likeliest_first() -> None:
    """Each tier's own; a class that a tier does not know has none; many classes are cut."""
    detail = CaseDetail(ANSWERED, escalation("p1"), (verdict(Tier.HUB, B), verdict(Tier.HUMAN, A)), ())
    told = scores(detail)
    assert told is not None
    assert (told.tiers, told.rows) == ((Tier.EDGE, Tier.HUB), (("b", (0.4, 0.9)), ("a", (0.6, 0.1))))
    other = Classification("z", {"z": 1.0, "never": 0.001})
    only = scores(CaseDetail(ANSWERED, escalation("p1"), (verdict(Tier.HUB, other),), ()))
    assert only is not None
    assert only.rows == (("z", (None, 1.0)), ("a", (0.6, None)), ("b", (0.4, None)))
    many = Classification("l0", {f"l{number}": 0.01 for number in range(50)})
    cut = scores(CaseDetail(ANSWERED, escalation("p1", edge=many), (), ()))
    assert cut is not None
    assert len(cut.rows) == MAX_SCORES
    assert scores(CaseDetail(UNSCORED, None, (), ())) is None


def test_numbers_are_told_with_their_unit_and_have_no_score_table() -> None:
    """Where nobody gave classes, there are none to show side by side."""
    number = Regression(12.5, 12.0, 13.0, 0.5, "mm")
    asked = escalation("p1", edge=number)
    said = replace(verdict(Tier.HUB, None), output=replace(number, value=12.9))
    detail = CaseDetail(opened(PRESS, asked, 5), asked, (said,), ())
    assert scores(detail) is None
    assert [remark.text for remark in history(detail)] == [
        "answered 12.5 mm, and asked the hub",
        "answered 12.9 mm; revision 1",
    ]


def test_boxes_are_listed_by_tier() -> None:
    """Of each tier the latest answer; a tier that found nothing says so, and one that could not score is not there."""
    bolt = Detection((Box("bolt", 0.75, 0.0, 1.0, 2.0, 3.0),), "pixels", 0.5)
    none = replace(bolt, boxes=())
    asked = escalation("p1", edge=bolt)
    said = [replace(verdict(tier, None), output=output) for tier, output in ((Tier.HUB, none), (Tier.HUMAN, bolt))]
    detail = CaseDetail(opened(PRESS, asked, 5), asked, tuple(said), ())
    assert found_boxes(detail) == (
        FoundBoxes(Tier.EDGE, bolt.boxes, "pixels"),
        FoundBoxes(Tier.HUB, (), "pixels"),
        FoundBoxes(Tier.HUMAN, bolt.boxes, "pixels"),
    )
    assert [remark.text for remark in history(detail)] == [
        f"answered {bolt.told}, and asked the hub",
        "answered nothing found; revision 1",
    ]
    assert found_boxes(CaseDetail(UNSCORED, None, (), ())) == ()
