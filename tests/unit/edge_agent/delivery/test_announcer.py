"""News on the agent's own topics: now and then its status, at once each dead letter."""

import json
from pathlib import Path

import jsonschema
import pytest

from edge_agent.core.accounting import DEVICE
from edge_agent.delivery import announcer as announcer_module
from edge_agent.delivery.announcer import STATS_EVERY_S, Announcer, OwnTopics
from edge_agent.errors import InputFault
from edge_agent.ports import BindingName, DeadLetter, Unit
from tests.unit.edge_agent.adapters.sqlite.builders import TestClock
from tests.unit.edge_agent.inference.pipeline_parts import BINDING, BROKER, RedeliveringBroker

SCHEMA = Path(announcer_module.__file__).parents[1] / "schemas" / "edge.dead.1.json"


def announcer(broker: RedeliveringBroker, clock: TestClock) -> Announcer:
    """On one broker."""
    return Announcer(
        "press-07",
        clock,
        lambda: {"schema": "edge.status/1"},
        brokers={BROKER: broker},
        topics={BROKER: OwnTopics.beside("edge/press-07/status")},
        broker_of={BINDING: BROKER},
    )


def test_the_status_is_said_now_and_then() -> None:
    """At the first turn, then every half minute; never retained, never in the outbox."""
    broker, clock = RedeliveringBroker(), TestClock()
    news = announcer(broker, clock)
    news.run_once()
    news.run_once()
    clock.pass_s(STATS_EVERY_S)
    news.run_once()
    assert [(p.topic, p.qos, p.retain, p.row) for p in broker.answers] == [("edge/press-07/stats", 0, False, 0)] * 2


def test_a_dead_letter_is_announced_without_its_payload() -> None:
    """Who watches the topic learns binding, topic, reason and size."""
    broker = RedeliveringBroker()
    news = announcer(broker, TestClock())
    letter = DeadLetter(BINDING, "plant/m1/raw", "malformed", "not JSON", 0, b"\xff" * 10)
    news.passed(Unit(dead_letters=(letter,)), 0.0)
    news.run_once()
    (dead,) = [json.loads(p.payload) for p in broker.answers if p.topic == "edge/press-07/dead"]
    assert dead == {
        "schema": "edge.dead/1",
        "device": "press-07",
        "binding": BINDING,
        "topic": "plant/m1/raw",
        "reason": "malformed",
        "detail": "not JSON",
        "received": "1970-01-01T00:00:00.000Z",
        "bytes": 10,
    }


def test_a_dead_letter_of_feedback_is_told_on_every_broker() -> None:
    """It belongs to no binding, so whoever may have sent it hears of it."""
    broker = RedeliveringBroker()
    telling = announcer(broker, TestClock())
    telling.run_once()
    broker.answers.clear()
    telling.died([DeadLetter(BindingName(DEVICE), "edge/press-07/feedback", "unknown_prediction", "gone", 5, b"{}")])
    telling.run_once()
    (said,) = [json.loads(publish.payload) for publish in broker.answers]
    assert (said["binding"], said["reason"], said["topic"]) == (None, "unknown_prediction", "edge/press-07/feedback")


@pytest.mark.parametrize("reason", InputFault)
def test_a_dead_letter_fits_its_schema_whatever_the_reason(reason: InputFault) -> None:
    """What the agent publishes validates."""
    broker = RedeliveringBroker()
    news = announcer(broker, TestClock())
    letter = DeadLetter(BINDING, "plant/m1/raw", reason.value, "samples[3]", 1_700_000_000_123_456_789, b"{}")
    news.passed(Unit(dead_letters=(letter,)), 0.0)
    news.run_once()
    (dead,) = [json.loads(p.payload) for p in broker.answers if p.topic == "edge/press-07/dead"]
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(dead)


def test_the_schema_of_dead_letters_names_no_reason_that_does_not_exist() -> None:
    """Both lists are the same."""
    schema = json.loads(SCHEMA.read_text())
    assert set(schema["properties"]["reason"]["enum"]) == set(InputFault)
