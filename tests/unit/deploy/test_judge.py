"""The judge: joining answers to windows, counting what happened to them, and the intervals."""

import numpy as np
import pytest

from deploy.demo.events import EventError, read_event
from deploy.demo.fleet import BRANCH, AgentName, Source, Wearers, WindowKey
from deploy.demo.judge import Figures, Judge, Part, paired_interval
from deploy.demo.questions import Asked, Question
from model_packs.shipped.motion_band.dataset import Wrist
from tests.unit.deploy.demo_answers import (
    BY_A_PERSON,
    LEFT_GROUP,
    PROVISIONAL,
    REVISED,
    RIGHT_GROUP,
    V1,
    V2,
    asked,
    event,
)

AGENT = AgentName("right-x")
MEMBER = Wearers(AGENT, Wrist.RIGHT, (1,))
TOPIC = "demo/right-x/p01/inference/motion"


@pytest.fixture
def judge() -> Judge:
    """Four windows of PEN, all sent; the edge alone is right on the first two, the hub alone on all but the first."""
    made = Judge([MEMBER, BRANCH], V1)
    for n in range(4):
        edge, hub = "PEN" if n < 2 else "ROW", "ROW" if n == 0 else "PEN"
        made.sent(asked(AGENT, n, edge=edge, hub=hub, cluster=n // 2), 100.0)
    return made


def test_an_answer_is_joined_by_agent_person_and_window_start(judge: Judge) -> None:
    """The answer to the second window counts for that window, at the time when it came."""
    judge.heard(TOPIC, event(1, "PEN"), 100.5)
    tally = judge.tally(AGENT, 101.0)
    assert (tally.sent, tally.answered, tally.unreadable) == (4, 1, 0)
    assert (tally.figures.edge_accuracy, tally.figures.hybrid_accuracy, tally.figures.hub_accuracy) == (1.0, 1.0, 1.0)
    assert tally.recent.edge.p50_ms == pytest.approx(500)
    assert tally.recent.pack == V1


def test_a_revision_replaces_the_answer(judge: Judge) -> None:
    """Hybrid accuracy follows the last revision, and the time to it is counted from the first answer."""
    judge.heard(TOPIC, event(2, "ROW", **PROVISIONAL), 101.0)
    assert judge.tally(AGENT, 101.0).figures.hybrid_accuracy == 0.0
    judge.heard(TOPIC, event(2, "PEN", **REVISED), 103.0)
    tally = judge.tally(AGENT, 103.0)
    assert tally.figures.hybrid_accuracy == 1.0
    assert (tally.unlike_edge, tally.unlike_hub) == (0, 0)
    assert (tally.revised, tally.open, tally.escalated) == (1, 0, {"low_confidence": 1})
    assert tally.hub_run.p50_ms == pytest.approx(2000)


def test_an_earlier_answer_that_comes_late_changes_nothing(judge: Judge) -> None:
    """A provisional answer that is repeated after its revision is a repeat."""
    judge.heard(TOPIC, event(2, "ROW", **PROVISIONAL), 101.0)
    judge.heard(TOPIC, event(2, "PEN", **REVISED), 102.0)
    judge.heard(TOPIC, event(2, "ROW", **PROVISIONAL), 103.0)
    tally = judge.tally(AGENT, 103.0)
    assert (tally.figures.hybrid_accuracy, tally.repeats, tally.revised) == (1.0, 1, 1)


def test_an_answer_under_another_id_is_counted(judge: Judge) -> None:
    """The same window under a second id breaks the promise that a repeat carries the same id."""
    judge.heard(TOPIC, event(1, "PEN"), 101.0)
    judge.heard(TOPIC, event(1, "PEN", id="another"), 102.0)
    tally = judge.tally(AGENT, 102.0)
    assert (tally.other_ids, tally.repeats, tally.answered) == (1, 0, 1)


def test_a_provisional_answer_is_open_until_revised_or_ended_by_name(judge: Judge) -> None:
    """An escalation that ends without a verdict closes its answer only under a named outcome."""
    for second in (0, 1, 2, 3):
        judge.heard(TOPIC, event(second, "PEN", **PROVISIONAL), 101.0)
    judge.heard(
        TOPIC, event(0, "PEN", status="unrevised", escalation={"reason": "low_confidence", "outcome": "expired"}), 102.0
    )
    judge.heard(
        TOPIC, event(1, "PEN", status="unrevised", escalation={"reason": "low_confidence", "outcome": "sent"}), 102.0
    )
    judge.heard(TOPIC, event(2, "PEN", **REVISED), 102.0)
    tally = judge.tally(AGENT, 102.0)
    assert (tally.open, dict(tally.ended), tally.revised) == (2, {"expired": 1}, 1)
    assert judge.open_windows == 2


def test_a_final_answer_that_the_hub_corrects_counts_as_escalated(judge: Judge) -> None:
    """An audited answer is final at first, and its disagreeing verdict is a revision."""
    judge.heard(TOPIC, event(2, "ROW", escalation={"reason": "audit", "outcome": "queued"}), 101.0)
    assert judge.open_windows == 3
    judge.heard(TOPIC, event(2, "PEN", **REVISED), 102.0)
    tally = judge.tally(AGENT, 102.0)
    assert (tally.escalated, tally.figures.hybrid_accuracy, tally.revised) == ({}, 1.0, 0)


def test_what_was_suppressed_was_not_escalated(judge: Judge) -> None:
    """A window that the budget kept at the edge counts as local."""
    suppressed = {"reason": "low_confidence", "outcome": "suppressed_budget"}
    judge.heard(TOPIC, event(1, "PEN", escalation=suppressed), 101.0)
    assert judge.tally(AGENT, 101.0).figures.escalated_share == 0.0


@pytest.mark.parametrize(
    "payload",
    [
        b"no json",
        b"[]",
        b"{}",
        event(1, "PEN", schema="edge.prediction/2"),
        event(1, "PEN", status="maybe"),
        b"x" * 70_000,
    ],
)
def test_what_is_no_event_is_counted_and_nothing_else(judge: Judge, payload: bytes) -> None:
    """Unreadable messages raise for the reader of one event, and are counted by the judge."""
    with pytest.raises(EventError):
        read_event(payload)
    judge.heard(TOPIC, payload, 101.0)
    tally = judge.tally(AGENT, 101.0)
    assert (tally.unreadable, tally.answered) == (1, 0)


def test_an_answer_to_a_window_that_nobody_sent_is_counted(judge: Judge) -> None:
    """A window start off the plan, or another person, is no answer to anything."""
    judge.heard(TOPIC, event(9, "PEN"), 101.0)
    judge.heard("demo/right-x/p02/inference/motion", event(1, "PEN"), 101.0)
    judge.heard("demo/elsewhere/p01/inference/motion", event(1, "PEN"), 101.0)
    assert judge.tally(AGENT, 101.0).unreadable == 2


def test_answers_unlike_those_of_the_packs_alone_are_counted(judge: Judge) -> None:
    """The third window is ROW for the edge pack and PEN for the hub pack; here both say ABD."""
    judge.heard(TOPIC, event(2, "ABD", **PROVISIONAL), 101.0)
    judge.heard(TOPIC, event(2, "ABD", **REVISED), 102.0)
    tally = judge.tally(AGENT, 102.0)
    assert (tally.unlike_edge, tally.unlike_hub) == (1, 1)


def test_an_unscorable_answer_is_wrong_but_an_answer(judge: Judge) -> None:
    """No output is no label: answered, and not right."""
    judge.heard(TOPIC, event(1, None), 101.0)
    tally = judge.tally(AGENT, 101.0)
    assert (tally.answered, tally.figures.hybrid_accuracy) == (1, 0.0)


def test_scores_cover_every_compared_window_and_count_the_unanswered_as_wrong(judge: Judge) -> None:
    """With one right answer of four windows, hybrid is right once; edge and hub alone are judged on all four."""
    judge.heard(TOPIC, event(1, "PEN", **PROVISIONAL), 101.0)
    scores = judge.scores()
    assert [int(part.sum()) for part in (scores.edge, scores.hybrid, scores.hub)] == [2, 1, 3]
    assert scores.clusters.tolist() == [0, 0, 1, 1]
    assert (scores.escalated, scores.strays) == (1, 0)


def test_what_is_shown_again_or_answered_by_another_pack_is_no_part_of_the_comparison(judge: Judge) -> None:
    """A second showing counts nowhere in the scores; a compared window that another pack answered is a stray."""
    judge.sent(asked(AGENT, 8, is_compared=False), 100.0)
    judge.heard(TOPIC, event(8, "PEN", pack=V2, **PROVISIONAL), 101.0)
    judge.heard(TOPIC, event(1, "PEN", pack=V2), 101.0)
    scores = judge.scores()
    assert (len(scores.hybrid), scores.strays) == (4, 1)
    assert (judge.open_comparisons, judge.open_windows) == (3, 4)


def test_figures_are_given_by_group_and_by_the_pack_that_answered_first() -> None:
    """Before and after an update is what the answers say; a revision by the hub does not move a window."""
    judge = Judge([MEMBER], V1)
    for n, group in enumerate((RIGHT_GROUP, LEFT_GROUP, LEFT_GROUP)):
        judge.sent(asked(AGENT, n, edge="ROW", group=group), 100.0)
    judge.heard(TOPIC, event(0, "PEN"), 101.0)
    judge.heard(TOPIC, event(1, "ROW", **PROVISIONAL), 101.0)
    judge.heard(TOPIC, event(1, "PEN", pack="motion-band-hub@1.0.0", **REVISED), 102.0)
    judge.heard(TOPIC, event(2, "PEN", pack=V2), 102.0)
    assert judge.parts() == {
        Part(AGENT, LEFT_GROUP, V1): Figures(1, 1, 1, 0.0, 1.0, 1.0),
        Part(AGENT, LEFT_GROUP, V2): Figures(1, 0, 0, 1.0, 1.0, 1.0),
        Part(AGENT, RIGHT_GROUP, V1): Figures(1, 0, 0, 1.0, 1.0, 1.0),
    }
    assert judge.answered_in(Part(AGENT, LEFT_GROUP, V2)) == 1
    assert judge.tally(AGENT, 102.0).unlike_edge == 1, "the first window: alone the pack says ROW"


def test_recent_figures_leave_out_what_is_long_ago(judge: Judge) -> None:
    """A row mends as soon as the latest answers are right, whatever went before."""
    judge.heard(TOPIC, event(2, "ROW"), 101.0)
    judge.heard(TOPIC, event(1, "PEN", pack=V2), 130.0)
    recent = judge.tally(AGENT, 131.0).recent
    assert (recent.figures.answered, recent.figures.edge_accuracy, recent.pack) == (1, 1.0, V2)
    assert recent.per_s == pytest.approx(0.1)


def test_a_persons_answer_is_known_by_its_id_and_is_no_answer_of_the_hub(judge: Judge) -> None:
    """The label comes back as the last answer; what the hub had said still counts as its own."""
    judge.heard(TOPIC, event(0, "PEN", **PROVISIONAL), 101.0)
    judge.heard(TOPIC, event(0, "ROW", **REVISED), 102.0)
    assert not judge.is_answered_by_a_person("id0")
    judge.heard(TOPIC, event(0, "PEN", **BY_A_PERSON), 103.0)
    tally = judge.tally(AGENT, 103.0)
    assert judge.is_answered_by_a_person("id0")
    assert (tally.by_people, tally.unlike_hub, tally.figures.disagreed) == (1, 0, 1)
    assert tally.figures.hybrid_accuracy == 1.0


def test_the_truth_is_found_by_the_id_of_an_answer(judge: Judge) -> None:
    """Who labels knows what the person did; an id that was never heard has no truth."""
    judge.heard(TOPIC, event(2, "ROW"), 101.0)
    assert (judge.truth("id2"), judge.truth("id3")) == ("PEN", None)


def test_a_box_is_joined_by_form_and_box_whatever_its_time(judge: Judge) -> None:
    """An image has no place in event time: its window is the moment at which the agent got it."""
    question = Question("7", "boxes", 1, {"form-digits-edge@1.0.0": "7"}, "7")
    judge.sent(Asked(WindowKey(BRANCH.name, Source("f0001/3"), None), question, is_compared=False), 100.0)
    judge.heard("branch/f0001/3/inference/digits", event(1, "7", pack="form-digits-edge@1.0.0"), 101.0)
    tally = judge.tally(BRANCH.name, 101.0)
    assert (tally.answered, tally.figures.edge_accuracy, tally.unreadable) == (1, 1.0, 0)


def test_answers_are_counted_by_the_time_of_the_first(judge: Judge) -> None:
    """A repeat later on does not move an answer into another time span."""
    judge.heard(TOPIC, event(0, "PEN"), 101.0)
    judge.heard(TOPIC, event(1, "PEN"), 105.0)
    judge.heard(TOPIC, event(0, "PEN"), 105.5)
    assert judge.answered_between(AGENT, 104.0, 106.0) == 1


def test_the_interval_holds_the_difference_and_repeats_with_its_seed() -> None:
    """The point estimate is the plain difference in points; the interval brackets it and depends on the seed alone."""
    rng = np.random.default_rng(0)
    right = rng.random(500) < 0.9
    left = right | (rng.random(500) < 0.5)
    clusters = np.arange(500) // 8
    interval = paired_interval(left, right, clusters, seed=1)
    assert interval is not None
    assert interval.points == pytest.approx(100 * (left.mean() - right.mean()))
    assert 0 < interval.low < interval.points < interval.high
    assert interval == paired_interval(left, right, clusters, seed=1)


def test_the_interval_is_wider_when_errors_come_in_whole_recordings() -> None:
    """Forty gains in five recordings say less than forty gains all over the place."""
    right = np.zeros(400, dtype=np.bool_)
    clusters = np.arange(400) // 8
    clustered, spread = right.copy(), right.copy()
    clustered[:40] = True
    spread[::10] = True
    together = paired_interval(clustered, right, clusters, seed=1)
    apart = paired_interval(spread, right, clusters, seed=1)
    assert together is not None
    assert apart is not None
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_no_windows_give_no_interval() -> None:
    """Nothing measured is no number, not a zero."""
    none = np.zeros(0, dtype=np.bool_)
    assert paired_interval(none, none, np.zeros(0, dtype=np.int64), seed=1) is None
