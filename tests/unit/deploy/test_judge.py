"""The judge: joining answers to windows, counting what happened to them, and the intervals."""

import json
from typing import Any

import numpy as np
import pytest

from deploy.demo.fleet import AgentName, Member, Person, WindowKey
from deploy.demo.judge import EventError, Judge, Question, paired_interval, read_event
from model_packs.shipped.motion_band.dataset import Wrist

S = 1_000_000_000
T0 = 1_800_000_000 * S
AGENT = AgentName("right-x")
MEMBER = Member(AGENT, Wrist.RIGHT, (1,))
TOPIC = "demo/right-x/p01/inference/motion"


def key(second: int) -> WindowKey:
    """The window that starts so many seconds after T0."""
    return WindowKey(AGENT, Person("p01"), T0 + second * S)


def event(second: int, label: str | None, **changes: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """A final answer of the edge to the window at `second`, with changes."""
    body = {
        "schema": "edge.prediction/1",
        "id": f"id{second}",
        "window": {"start": f"2027-01-15T08:00:{second:02d}.000Z"},
        "status": "final",
        "revision": 0,
        "output": None if label is None else {"task": "classification", "label": label, "scores": {label: 1.0}},
        "escalation": {"reason": None, "outcome": "none"},
        **changes,
    }
    return json.dumps(body).encode()


PROVISIONAL = {"status": "provisional", "escalation": {"reason": "low_confidence", "outcome": "queued"}}
REVISED = {"status": "revised", "revision": 1, "escalation": {"reason": "low_confidence", "outcome": "answered"}}


@pytest.fixture
def judge() -> Judge:
    """Four windows of PEN, all sent; the edge alone is right on the first two, the hub alone on all but the first."""
    questions = {
        key(n): Question("PEN", n // 2, "PEN" if n < 2 else "ROW", "ROW" if n == 0 else "PEN") for n in range(4)
    }
    made = Judge(questions, [MEMBER])
    for each in questions:
        made.sent(each, 100.0)
    return made


def test_an_answer_is_joined_by_agent_person_and_window_start(judge: Judge) -> None:
    """The answer to the second window counts for that window, at the time when it came."""
    judge.heard(TOPIC, event(1, "PEN"), 100.5)
    tally = judge.tally(AGENT, 101.0)
    assert (tally.sent, tally.answered, tally.unreadable) == (4, 1, 0)
    assert (tally.edge_accuracy, tally.hybrid_accuracy, tally.hub_accuracy) == (1.0, 1.0, 1.0)
    assert tally.edge.p50_ms == pytest.approx(500)


def test_a_revision_replaces_the_answer(judge: Judge) -> None:
    """Hybrid accuracy follows the last revision, and the time to it is counted from the first answer."""
    judge.heard(TOPIC, event(2, "ROW", **PROVISIONAL), 101.0)
    assert judge.tally(AGENT, 101.0).hybrid_accuracy == 0.0
    judge.heard(TOPIC, event(2, "PEN", **REVISED), 103.0)
    tally = judge.tally(AGENT, 103.0)
    assert tally.hybrid_accuracy == 1.0
    assert (tally.unlike_edge, tally.unlike_hub) == (0, 0)
    assert (tally.revised, tally.open, tally.escalated) == (1, 0, {"low_confidence": 1})
    assert tally.hub_run.p50_ms == pytest.approx(2000)


def test_an_earlier_answer_that_comes_late_changes_nothing(judge: Judge) -> None:
    """A provisional answer that is repeated after its revision is a repeat."""
    judge.heard(TOPIC, event(2, "ROW", **PROVISIONAL), 101.0)
    judge.heard(TOPIC, event(2, "PEN", **REVISED), 102.0)
    judge.heard(TOPIC, event(2, "ROW", **PROVISIONAL), 103.0)
    tally = judge.tally(AGENT, 103.0)
    assert (tally.hybrid_accuracy, tally.repeats, tally.revised) == (1.0, 1, 1)


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
    assert (tally.escalated, tally.hybrid_accuracy, tally.revised) == ({"audit": 1}, 1.0, 0)


def test_what_was_suppressed_was_not_escalated(judge: Judge) -> None:
    """A window that the budget kept at the edge counts as local."""
    suppressed = {"reason": "low_confidence", "outcome": "suppressed_budget"}
    judge.heard(TOPIC, event(1, "PEN", escalation=suppressed), 101.0)
    assert judge.tally(AGENT, 101.0).escalated_share == 0.0


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
    assert (tally.answered, tally.hybrid_accuracy) == (1, 0.0)


def test_scores_cover_every_window_and_count_the_unanswered_as_wrong(judge: Judge) -> None:
    """With one right answer of four windows, hybrid is right once; edge and hub alone are judged on all four."""
    judge.heard(TOPIC, event(1, "PEN"), 101.0)
    scores = judge.scores([AGENT])
    assert [int(part.sum()) for part in (scores.edge, scores.hybrid, scores.hub)] == [2, 1, 3]
    assert scores.recordings.tolist() == [0, 0, 1, 1]


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
    recordings = np.arange(500) // 8
    interval = paired_interval(left, right, recordings, seed=1)
    assert interval is not None
    assert interval.points == pytest.approx(100 * (left.mean() - right.mean()))
    assert 0 < interval.low < interval.points < interval.high
    assert interval == paired_interval(left, right, recordings, seed=1)


def test_the_interval_is_wider_when_errors_come_in_whole_recordings() -> None:
    """Forty gains in five recordings say less than forty gains all over the place."""
    right = np.zeros(400, dtype=np.bool_)
    recordings = np.arange(400) // 8
    clustered, spread = right.copy(), right.copy()
    clustered[:40] = True
    spread[::10] = True
    together = paired_interval(clustered, right, recordings, seed=1)
    apart = paired_interval(spread, right, recordings, seed=1)
    assert together is not None
    assert apart is not None
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_no_windows_give_no_interval() -> None:
    """Nothing measured is no number, not a zero."""
    none = np.zeros(0, dtype=np.bool_)
    assert paired_interval(none, none, np.zeros(0, dtype=np.int64), seed=1) is None
