"""The goals: each holds or is missed for its own reason, and the JSON object has the documented shape."""

import json
from dataclasses import replace

import pytest

from deploy.demo.fleet import BRANCH, FLEET, LEFT, WRISTS, AgentName, Source, WindowKey
from deploy.demo.judge import Judge
from deploy.demo.questions import Asked, Question
from deploy.demo.report import (
    MENDED_WINDOWS,
    Audit,
    Faults,
    Login,
    Refusal,
    Report,
    Update,
    at_least,
    at_most,
    judge_run,
)
from tests.unit.deploy.demo_answers import (
    LEFT_GROUP,
    PROVISIONAL,
    REVISED,
    RIGHT_GROUP,
    V1,
    V2,
    asked,
    event,
    topic,
)

GOOD_FAULTS = Faults(answered_without_hub=3, outbox_peak=5, outbox_end=0, answered_by_others=9)
GOOD_AUDIT = Audit(equations=5, broken=(), document={"ok": True})
REFUSAL = Refusal("motion-band-edge@2.0.1", "bad_digest", "weights have other bytes")
GOOD_UPDATE = Update(tuple(member.name for member in WRISTS), REFUSAL, labels=5, human_revisions=5)
LOGIN = Login("http://127.0.0.1:20003/", "demo", "a secret word")
DIGITS = "form-digits-edge@1.0.0"


def right_wrists(judge: Judge, *, revised: bool, pack: str) -> None:
    """Ten windows an agent; the edge is wrong on the first, the hub on none; the first is escalated."""
    for member in WRISTS[:2]:
        for n in range(10):
            judge.sent(asked(member.name, n, edge="ROW" if n == 0 else "PEN", cluster=n), 100.0)
            changes = PROVISIONAL if n == 0 else {}
            judge.heard(topic(member), event(n, "ROW" if n == 0 else "PEN", pack=pack, **changes), 100.1)
        if revised:
            judge.heard(topic(member), event(0, "PEN", pack="motion-band-hub@1.0.0", **REVISED), 100.2)


def left_wrists(judge: Judge, *, is_mended: bool, mended: int) -> None:
    """On the right wrist all is well; on the left one every answer is wrong, asked and corrected, until v2 comes."""
    plan = [(RIGHT_GROUP, V1, True)] * 20 + [(LEFT_GROUP, V1, False)] * 40 + [(LEFT_GROUP, V2, is_mended)] * mended
    for n, (group, pack, is_right) in enumerate(plan):
        judge.sent(asked(LEFT.name, n, edge="PEN" if is_right else "ROW", group=group, is_compared=False), 100.0)
        changes = {} if is_right else PROVISIONAL
        judge.heard(topic(LEFT), event(n, "PEN" if is_right else "ROW", pack=pack, **changes), 100.1)
        if not is_right:
            judge.heard(topic(LEFT), event(n, "PEN", pack="motion-band-hub@1.0.0", **REVISED), 100.2)


def boxes(judge: Judge, label: str) -> None:
    """Ten boxes with a seven in each."""
    question = Question("7", "boxes", 1, {DIGITS: "7"}, "7")
    for n in range(10):
        judge.sent(Asked(WindowKey(BRANCH.name, Source(f"f1/{n}"), None), question, is_compared=False), 100.0)
        judge.heard(f"branch/f1/{n}/inference/digits", event(n, label, pack=DIGITS), 100.1)


def run_of(
    *,
    revised: bool = True,
    right_pack: str = V1,
    is_mended: bool = True,
    mended: int = MENDED_WINDOWS,
    digit: str = "7",
    faults: Faults = GOOD_FAULTS,
    audit: Audit = GOOD_AUDIT,
    update: Update = GOOD_UPDATE,
) -> Report:
    """A whole run, good unless said otherwise."""
    judge = Judge(FLEET, V1)
    right_wrists(judge, revised=revised, pack=right_pack)
    left_wrists(judge, is_mended=is_mended, mended=mended)
    boxes(judge, digit)
    audits = {member.name: audit for member in FLEET}
    return judge_run(judge, FLEET, audits, faults=faults, update=update, login=LOGIN, now_s=101.0, seed=1)


def missed(report: Report) -> set[str]:
    """The goals that do not hold, without the word in brackets."""
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


def test_a_comparison_that_another_pack_answered_is_none() -> None:
    """The certificate speaks about the first student only."""
    assert missed(run_of(right_pack=V2)) == {
        "right wrists: compared windows that another pack than the certified one answered"
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


def test_a_student_that_mends_nothing_misses_its_goals() -> None:
    """Installed is not enough: the row of the left wrists has to become right, and calm."""
    assert missed(run_of(is_mended=False)) == {
        "left: the student's own answers right under v2, %",
        "left: escalated under v2 less under v1, points",
        "left: answers that the hub disagrees with, under v2 less under v1, points",
    }


def test_a_few_windows_show_no_mending() -> None:
    """What v2 answered has to be enough to speak of."""
    assert missed(run_of(mended=MENDED_WINDOWS - 1)) == {"left: windows answered under v2"}


@pytest.mark.parametrize(
    ("update", "goal"),
    [
        (replace(GOOD_UPDATE, installed=GOOD_UPDATE.installed[:2]), "wrist agents that have installed v2"),
        (
            replace(GOOD_UPDATE, refusal=None),
            "the damaged motion-band-edge@2.0.1 refused, and reported to the hub as bad_digest",
        ),
        (
            replace(GOOD_UPDATE, refusal=replace(REFUSAL, reason="download_failed")),
            "the damaged motion-band-edge@2.0.1 refused, and reported to the hub as bad_digest",
        ),
        (replace(GOOD_UPDATE, human_revisions=4), "labels that came back as revisions"),
        (replace(GOOD_UPDATE, labels=0, human_revisions=0), "labels that came back as revisions"),
    ],
    ids=["not everywhere", "not refused", "for another reason", "a label lost", "no label"],
)
def test_an_update_that_went_otherwise_misses_its_goal(update: Update, goal: str) -> None:
    """Each fact has a goal of its own."""
    assert missed(run_of(update=update)) == {goal}


def test_a_branch_that_misreads_its_forms_misses_its_goal() -> None:
    """All boxes answered is not enough."""
    assert missed(run_of(digit="1")) == {"branch: boxes read right by edge and hub, %"}


def test_the_left_wrist_is_in_no_comparison() -> None:
    """The left wrist's row says what it is, and its errors are not in the compared windows."""
    document = run_of().to_json()
    population = {device["device"]: device["population"] for device in document["devices"]}
    assert population["left"] == population["branch"] == "outside the certificate's population"
    assert population["right-a"] == population["right-b"] == "the certificate's population"
    assert document["comparison"]["windows"] == 20


def test_the_json_object_says_what_was_measured() -> None:
    """The object can be written as strict JSON, every goal has its four keys, and no password is in it."""
    text = json.dumps(run_of().to_json(), allow_nan=False)
    document = json.loads(text)
    assert all(set(goal) == {"name", "value", "limit", "ok"} for goal in document["goals"])
    assert set(document["audit"]) == {member.name for member in FLEET}
    assert document["comparison"]["accuracy_percent"] == {"edge": 90.0, "hybrid": 100.0, "hub": 100.0}
    left = next(device for device in document["devices"] if device["device"] == "left")
    assert [(part["from"], part["pack"], part["accuracy_percent"]["edge"]) for part in left["parts"]] == [
        (LEFT_GROUP, V1, 0.0),
        (LEFT_GROUP, V2, 100.0),
        (RIGHT_GROUP, V1, 100.0),
    ]
    assert document["update"]["refusal"]["reason"] == "bad_digest"
    assert document["console"] == {"url": LOGIN.url, "name": "demo"}
    assert LOGIN.password not in text


def test_what_was_not_measured_misses_its_goal() -> None:
    """Nothing is neither at least nor at most anything."""
    assert not at_least("x", None, 0).ok
    assert not at_most("x", None, 0).ok


def test_a_run_without_answers_misses_and_does_not_fail() -> None:
    """A system that says nothing loses every window, and the report still comes."""
    judge = Judge(FLEET, V1)
    judge.sent(asked(AgentName("right-a"), 0), 1.0)
    update = Update((), None, 0, 0)
    report = judge_run(judge, FLEET, {}, faults=Faults(0, 0, 0, 0), update=update, login=LOGIN, now_s=1.0, seed=1)
    assert "windows without an answer" in missed(report)
    json.dumps(report.to_json(), allow_nan=False)
