"""When answers become an alarm."""

import pytest

from edge_agent.core.alarm import AlarmSpec, AlarmState, alarm_event, label_of, step

FALL = frozenset({"fall"})
EVENT = {
    "id": "abc",
    "device": "press-07",
    "binding": "motion",
    "ts": "2026-11-21T08:00:00.250Z",
    "clock": "synced",
    "output": {"task": "classification", "label": "fall"},
    "confidence": 0.9,
}


@pytest.mark.parametrize(
    ("debounce", "labels", "changes"),
    [
        (1, ["ok", "fall", "fall", "ok"], [1, 3]),
        (2, ["fall", "ok", "fall", "fall", "ok", "fall", "ok", "ok"], [3, 7]),
        (2, ["fall", None, "fall", None], [2]),
    ],
)
def test_an_alarm_is_told_when_so_many_answers_in_a_row_agree(
    debounce: int, labels: list[str | None], changes: list[int]
) -> None:
    """One answer to the contrary starts the count anew; no answer changes nothing."""
    spec, state, told = AlarmSpec(FALL, debounce), AlarmState(), []
    for number, label in enumerate(labels):
        after = step(spec, state, label)
        if after.is_raised is not state.is_raised:
            told.append(number)
        state = after
    assert told == changes


def test_an_alarm_names_the_answer_that_raised_it() -> None:
    """Who reads it finds the answer by its id."""
    said = alarm_event(EVENT, "press-1", AlarmState(is_raised=True))
    assert (said["state"], said["prediction"], said["label"]) == ("raised", "abc", "fall")
    assert alarm_event(EVENT, "press-1", AlarmState())["state"] == "cleared"


def test_an_answer_without_a_label_has_none() -> None:
    """What could not be scored, and tasks without labels, neither raise nor clear."""
    assert label_of({"output": None}) is None
    assert label_of({"output": {"task": "regression", "values": [1.0]}}) is None
