"""The goals: each holds or is missed for its own reason, and the JSON object has the documented shape."""

import json

import pytest

from deploy.demo.fleet import FLEET, AgentName, Person, WindowKey
from deploy.demo.judge import Judge, Question
from deploy.demo.report import Audit, Faults, Report, at_least, at_most, judge_run
from tests.unit.deploy.test_judge import PROVISIONAL, REVISED, T0, S, event

GOOD_FAULTS = Faults(answered_without_hub=3, outbox_peak=5, outbox_end=0, answered_by_others=9)
GOOD_AUDIT = Audit(equations=5, broken=(), document={"ok": True})


def run_of(
    *, revised: bool = True, label: str = "PEN", faults: Faults = GOOD_FAULTS, audit: Audit = GOOD_AUDIT
) -> Report:
    """Ten windows an agent; the edge is wrong on the first, the hub on none; the first is escalated."""
    keys = [WindowKey(member.name, Person("p01"), T0 + n * S) for member in FLEET for n in range(10)]
    questions = {
        key: Question("PEN", place, "ROW" if key.start_ns == T0 else "PEN", "PEN") for place, key in enumerate(keys)
    }
    judge = Judge(questions, FLEET)
    for key in keys:
        judge.sent(key, 100.0)
        second = (key.start_ns - T0) // S
        topic = f"demo/{key.agent}/p01/inference/motion"
        judge.heard(topic, event(second, "ROW", **PROVISIONAL) if second == 0 else event(second, label), 100.1)
        if second == 0 and revised:
            judge.heard(topic, event(0, "PEN", **REVISED), 100.2)
    audits = {member.name: audit for member in FLEET}
    return judge_run(judge, FLEET, audits, faults, now_s=101.0, seed=1)


def missed(report: Report) -> set[str]:
    """The first words of the goals that do not hold."""
    return {goal.name.split(" (")[0] for goal in report.goals if not goal.ok}


def test_a_good_run_keeps_every_goal() -> None:
    """Hybrid is right everywhere where the edge alone is wrong once in ten windows."""
    report = run_of()
    assert report.ok, missed(report)
    assert report.over_edge is not None
    assert report.over_hub is not None
    assert report.over_edge.points == pytest.approx(10.0)
    assert report.over_hub.points == 0.0


def test_a_provisional_answer_left_open_misses_its_goal() -> None:
    """Without revisions, hybrid gains nothing over the edge, loses to the hub, and the promise stays open."""
    assert missed(run_of(revised=False)) == {
        "right wrists: hybrid less edge alone, points",
        "right wrists: hybrid less hub alone, points",
        "provisional answers neither revised nor ended by name",
    }


def test_a_broken_equation_misses_its_goal() -> None:
    """An audit that names an equation fails the run, and so does an audit that checked nothing."""
    assert missed(run_of(audit=Audit(5, ("records",), {}))) == {"equations that do not hold"}
    assert missed(run_of(audit=Audit(0, (), {}))) == {"agents audited"}


def test_a_story_without_its_faults_misses_its_goals() -> None:
    """A demo whose hub was never missed proves nothing about doing without it."""
    assert missed(run_of(faults=Faults(0, 0, 2, 0))) == {
        "answers while the hub was down",
        "answers of the others while one agent was down",
        "items in the outboxes while the hub was down",
        "items in the outboxes at the end",
    }


def test_the_left_wrist_is_in_no_accuracy_goal() -> None:
    """The left wrist's row says what it is, and its errors change no goal."""
    devices = run_of().to_json()["devices"]
    population = {device["device"]: device["population"] for device in devices}
    assert population["left"] == "outside the certificate's population"
    assert population["right-a"] == population["right-b"] == "the certificate's population"


def test_the_json_object_has_goals_devices_and_audit() -> None:
    """The object can be written as strict JSON, and every goal has its four keys."""
    document = json.loads(json.dumps(run_of().to_json(), allow_nan=False))
    assert {"goals", "devices", "audit"} <= set(document)
    assert all(set(goal) == {"name", "value", "limit", "ok"} for goal in document["goals"])
    assert set(document["audit"]) == {member.name for member in FLEET}
    assert document["devices"][0]["accuracy_percent"] == {"edge": 90.0, "hybrid": 100.0, "hub": 100.0}


def test_what_was_not_measured_misses_its_goal() -> None:
    """Nothing is neither at least nor at most anything."""
    assert not at_least("x", None, 0).ok
    assert not at_most("x", None, 0).ok


def test_a_run_without_answers_misses_and_does_not_fail() -> None:
    """A system that says nothing loses every window, and the report still comes."""
    questions = {WindowKey(AgentName("left"), Person("p01"), T0): Question("PEN", 0, "PEN", "PEN")}
    report = judge_run(Judge(questions, FLEET), FLEET, {}, Faults(0, 0, 0, 0), now_s=1.0, seed=1)
    assert "windows without an answer" in missed(report)
    json.dumps(report.to_json(), allow_nan=False)
