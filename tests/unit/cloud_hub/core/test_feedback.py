"""Which judgement becomes a verdict, which is a repeat, and which cannot be kept."""

from dataclasses import replace

import pytest

from cloud_hub.core.cases import opened
from cloud_hub.core.feedback import (
    MAX_ID_CHARS,
    MAX_NOTE_CHARS,
    MAX_SEQ,
    NOBODY,
    Before,
    Given,
    LabelGiven,
    Said,
    Source,
    check_feedback,
    check_label,
    is_repeat,
    makes_verdict,
    standing,
    unsure_n,
)
from cloud_hub.core.provenance import from_device, in_console
from cloud_hub.errors import FeedbackInvalidError, LabelUnknownError
from protos.messages.escalation import PredictionId
from protos.messages.feedback import Feedback, FeedbackItem, Judgement
from protos.messages.inference import ModelUse
from tests.unit.cloud_hub.escalations import PRESS, A, escalation

CASE = opened(PRESS, escalation("p1"), 5)


def feedback(judgement: Judgement = Judgement.LABEL, label: str = "b") -> Feedback:
    """What somebody at a device says."""
    return Feedback(
        prediction_id=PredictionId("p1"),
        judgement=judgement,
        label=label,
        given_by="shift 2",
        note="it was standing",
        given_at_ns=8,
        binding="band",
        partition="left",
        window_start_ns=1_000,
        window_end_ns=2_000,
        edge_model=ModelUse("small@1.0.0", "sha256:1"),
        edge_output=A,
        confidence=0.97,
        propensity=0.0,
    )


def said(label: str | None, by: str = "ada") -> Given:
    """What somebody of the console said."""
    return in_console(LabelGiven(PRESS, PredictionId("p1"), label, by, "", 9), CASE)


def test_what_was_said_is_summed_up_for_the_next_one() -> None:
    """The last label of anybody holds; one's own last word is one's own, at the same place only."""
    earlier = (said("a"), said("b", "eva"), said(None))
    assert standing(earlier, Source.CONSOLE, "ada") == Before("b", (Said.UNSURE, None))
    assert standing(earlier, Source.CONSOLE, "eva") == Before("b", (Said.LABEL, "b"))
    assert standing(earlier, Source.OPERATOR, "ada") == Before("b", None)
    assert standing((), Source.CONSOLE, "ada") == Before(None, None)


def test_persons_who_cannot_tell_are_counted_once_each() -> None:
    """The same person twice is one person."""
    assert unsure_n((said(None), said(None), said("a", "eva"))) == 1
    assert unsure_n((said(None), said(None, "eva"))) == 2


@pytest.mark.parametrize(
    ("label", "before", "verdict", "repeat"),
    [
        ("a", Before(None, None), True, False),
        (None, Before(None, None), False, False),
        ("a", Before("a", (Said.LABEL, "a")), False, True),
        ("a", Before("a", None), False, False),
        ("b", Before("a", (Said.LABEL, "a")), True, False),
        ("a", Before("b", (Said.LABEL, "a")), True, False),
        (None, Before(None, (Said.UNSURE, None)), False, True),
        (None, Before("a", (Said.LABEL, "a")), False, False),
    ],
)
def test_only_a_class_that_does_not_hold_yet_makes_a_verdict(
    label: str | None, before: Before, *, verdict: bool, repeat: bool
) -> None:
    """Repeats make none; another's same label is kept without one; a changed mind, and a return to it, make one."""
    assert makes_verdict(label, before) is verdict
    assert is_repeat(label, before) is repeat


@pytest.mark.parametrize("label", ["", "x" * 201, "a\nb", "c"])
def test_a_label_that_is_no_class_is_refused(label: str) -> None:
    """Empty, too long, unprintable, or none of the pack's classes: the message offers those."""
    with pytest.raises(LabelUnknownError, match="use one of a, b"):
        check_label(label, ("b", "a"))


def test_without_known_classes_any_name_is_a_label() -> None:
    """A hub that does not hold the pack cannot know better; control characters are refused all the same."""
    check_label("c", ())
    check_label("a", ("a", "b"))
    with pytest.raises(LabelUnknownError, match=r"cannot be an answer to this window$"):
        check_label("\x1b[2J", ())


def test_feedback_that_the_tables_cannot_hold_is_refused() -> None:
    """Numbers and ids beyond what an agent writes are named; "wrong" needs no label."""
    check_feedback(FeedbackItem(MAX_SEQ, feedback()), ("a", "b"))
    check_feedback(FeedbackItem(1, feedback(Judgement.WRONG, "")), ("a", "b"))
    with pytest.raises(FeedbackInvalidError, match="seq"):
        check_feedback(FeedbackItem(MAX_SEQ + 1, feedback()), ())
    long = replace(feedback(), prediction_id=PredictionId("p" * (MAX_ID_CHARS + 1)))
    with pytest.raises(FeedbackInvalidError, match="prediction id"):
        check_feedback(FeedbackItem(1, long), ())
    with pytest.raises(LabelUnknownError):
        check_feedback(FeedbackItem(1, feedback(Judgement.RIGHT, "c")), ("a", "b"))


def test_a_label_of_the_console_keeps_what_edge_and_hub_had_said() -> None:
    """Provenance: who, where, why the window was at the hub, and by which chance."""
    asked = replace(CASE, hub_label="a", hub_confidence=0.7, hub_digest="sha256:9")
    note = "n" * (MAX_NOTE_CHARS + 1)
    kept = in_console(LabelGiven(PRESS, PredictionId("p1"), "b", "ada", note, 9), asked)
    assert (kept.source, kept.said, kept.label, kept.given_by) == (Source.CONSOLE, Said.LABEL, "b", "ada")
    assert (kept.reason, kept.propensity, kept.edge_label, kept.edge_confidence) == ("low_confidence", 1.0, "a", 0.6)
    assert (kept.hub_label, kept.hub_confidence, kept.hub_digest) == ("a", 0.7, "sha256:9")
    assert (kept.given_at_ns, kept.received_at_ns, len(kept.note)) == (9, 9, MAX_NOTE_CHARS)
    assert said(None).said is Said.UNSURE


def test_a_judgement_from_a_device_keeps_what_the_device_knew() -> None:
    """A window that never was at the hub has no reason and no hub answer; texts of the panel are cut."""
    long = replace(feedback(), given_by="o" * 200, note="n" * 3000, binding="b" * 200)
    kept = from_device(PRESS, long, None, 11)
    assert (kept.source, kept.said, kept.label) == (Source.OPERATOR, Said.LABEL, "b")
    assert (len(kept.given_by), len(kept.note), len(kept.binding)) == (100, 2000, 128)
    assert (kept.reason, kept.propensity, kept.hub_label, kept.hub_pack) == (None, 0.0, None, "")
    assert (kept.edge_label, kept.edge_confidence, kept.given_at_ns, kept.received_at_ns) == ("a", 0.97, 8, 11)


def test_a_judgement_on_an_escalated_window_keeps_its_case() -> None:
    """Where the window was at the hub, reason and hub answer are kept; "wrong" has no label, nobody has a name."""
    asked = replace(CASE, hub_label="a", hub_confidence=0.7, hub_digest="sha256:9")
    kept = from_device(PRESS, replace(feedback(Judgement.WRONG, ""), given_by=""), asked, 11)
    assert (kept.said, kept.label, kept.given_by) == (Said.WRONG, None, NOBODY)
    assert (kept.reason, kept.hub_label, kept.hub_confidence) == ("low_confidence", "a", 0.7)
    assert (kept.hub_pack, kept.hub_digest) == ("full@1.0.0", "sha256:9")
