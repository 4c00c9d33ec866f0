"""Owns when answers become an alarm, and what an alarm says: raised and cleared after so many answers in a row.

Which answers there are and where the message goes is the lane's. An alarm is about what the edge said itself: later
revisions of an answer raise and clear nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protos.topics import TopicTemplate

SCHEMA = "edge.alarm/1"


@dataclass(frozen=True, slots=True)
class AlarmSpec:
    """The rule of a binding.

    Attributes:
        labels: Answers with one of them speak for an alarm, all others against it.
        debounce: So many answers of a partition in a row, all speaking the same way, raise or clear it.
    """

    labels: frozenset[str]
    debounce: int


@dataclass(frozen=True, slots=True)
class AlarmSettings:
    """What a binding declares.

    Attributes:
        topic: Where alarms go; its captures are those of the result's topic.
        max_partitions: Partitions whose state is kept; the one that was silent longest gives way.
    """

    spec: AlarmSpec
    topic: TopicTemplate
    max_partitions: int


@dataclass(frozen=True, slots=True)
class AlarmState:
    """Of one partition; `run` counts the last answers that spoke against what holds."""

    is_raised: bool = False
    run: int = 0


def step(spec: AlarmSpec, state: AlarmState, label: str | None) -> AlarmState:
    """Take one more answer of a partition.

    Args:
        spec: The rule.
        state: Before it.
        label: Its label; None when there is none, which changes nothing.

    Returns:
        The state after it; `is_raised` differs when the alarm is to be told.
    """
    if label is None:
        return state
    if (label in spec.labels) is state.is_raised:
        return AlarmState(state.is_raised)
    run = state.run + 1
    return AlarmState(not state.is_raised) if run >= spec.debounce else AlarmState(state.is_raised, run)


def label_of(event: Mapping[str, Any]) -> str | None:
    """The label of a prediction event; None of an answer without one."""
    output = event["output"]
    return None if output is None else output.get("label")


def alarm_event(event: Mapping[str, Any], partition: str, state: AlarmState) -> dict[str, Any]:
    """Say that an alarm was raised or cleared.

    Args:
        event: The prediction whose answer did it.
        partition: Of it.
        state: After it.

    Returns:
        A JSON object, `edge.alarm/1`.
    """
    return {
        "schema": SCHEMA,
        "state": "raised" if state.is_raised else "cleared",
        "prediction": event["id"],
        "device": event["device"],
        "binding": event["binding"],
        "partition": partition,
        "ts": event["ts"],
        "clock": event["clock"],
        "label": label_of(event),
        "confidence": event["confidence"],
    }
