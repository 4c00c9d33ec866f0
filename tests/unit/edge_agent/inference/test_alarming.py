"""Alarms of a binding in a pass: a state for each partition, a message when one changes."""

import itertools
import json
from importlib import resources

import jsonschema

from edge_agent.core.alarm import AlarmSettings, AlarmSpec
from edge_agent.inference.alarming import Alarms
from edge_agent.ports import BindingName, Decided, Publish, RowId
from protos.messages.escalation import ItemClass, PredictionId
from protos.topics import TopicTemplate

SCHEMA = json.loads((resources.files("edge_agent") / "schemas" / "edge.alarm.1.json").read_text())


def alarms(max_partitions: int = 10) -> Alarms:
    """A binding whose alarm is a fall."""
    rows = map(RowId, itertools.count(100))
    settings = AlarmSettings(AlarmSpec(frozenset({"fall"}), 1), TopicTemplate("alarm/{person}"), max_partitions)
    return Alarms(settings, lambda: next(rows))


def answer(label: str, partition: str = "ann") -> Decided:
    """An answer of a partition."""
    event = {
        "id": f"{partition}-{label}",
        "device": "d",
        "binding": "motion",
        "ts": "2026-11-21T08:00:00.000Z",
        "clock": "synced",
        "output": {"task": "classification", "label": label},
        "confidence": 0.5,
    }
    publish = Publish(RowId(1), "site", "answers", json.dumps(event).encode(), 1)
    name = PredictionId(f"{partition}-{label}")
    return Decided(name, BindingName("motion"), partition, "final", publish, None, ItemClass.ESCALATION)


def test_an_alarm_travels_with_the_answer_that_changed_it() -> None:
    """It is a message of its own, to the same broker, in a row of its own, and fits its schema."""
    own = alarms()
    assert own.judged(answer("walk"), "alarm/ann").alarm is None
    alarm = own.judged(answer("fall"), "alarm/ann").alarm
    assert alarm is not None
    assert (alarm.row, alarm.broker, alarm.topic, alarm.qos) == (100, "site", "alarm/ann", 1)
    jsonschema.validate(json.loads(alarm.payload), SCHEMA)
    assert own.judged(answer("fall"), "alarm/ann").alarm is None
    cleared = own.judged(answer("walk"), "alarm/ann").alarm
    assert cleared is not None
    assert json.loads(cleared.payload)["state"] == "cleared"


def test_partitions_have_alarms_of_their_own_and_the_most_silent_is_forgotten() -> None:
    """Memory is bounded; what was forgotten is raised anew."""
    own = alarms(max_partitions=1)
    assert own.judged(answer("fall", "ann"), "alarm/ann").alarm is not None
    assert own.judged(answer("fall", "bob"), "alarm/bob").alarm is not None
    assert own.judged(answer("fall", "ann"), "alarm/ann").alarm is not None


def test_what_was_not_committed_is_told_again() -> None:
    """After a pass that failed nothing is known, so an alarm that holds is raised once more."""
    own = alarms()
    own.judged(answer("fall"), "alarm/ann")
    own.restore()
    assert own.judged(answer("fall"), "alarm/ann").alarm is not None
