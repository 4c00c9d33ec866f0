"""What people say at the device reaches the hub and comes back: over kills and outages, for every kind of answer."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_site import assert_nothing_is_lost, is_revised, pending, sensor, validate
from tests.simulators.brokers import Mosquitto
from tests.simulators.mqtt_probe import MqttProbe
from tests.simulators.packs import LABELS
from tests.simulators.site import DEADLINE_S, Agent, PredictionId, Site, found_hub, latest, wait_for_latest
from tests.simulators.waiting import wait_until

NAME = "press-07"
FEEDBACK, DEAD = f"edge/{NAME}/feedback", f"edge/{NAME}/dead"

KEPT = """
[[binding]]
name = "kept"
broker = "site"
pack = "tiny-edge@1.0.0"
topic = "kept/{machine}/raw"
partition = ["machine"]
egress = "never"
payload = { rate_hz = 5, key = ["seq"] }
window = { size_s = 1.0, hop_s = 1.0 }
result = { topic = "kept/{machine}/inference" }
"""


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A founded hub that each test copies."""
    return found_hub(tmp_path_factory.mktemp("founded"))


@pytest.fixture
def site(mosquitto: Mosquitto, run_folder: Path, founded: Path) -> Iterator[Site]:
    """A running hub on mosquitto, without agents."""
    built = Site(run_folder, mosquitto, founded)
    built.open()
    yield built
    built.close()


@pytest.fixture
def collector(mosquitto: Mosquitto) -> Iterator[MqttProbe]:
    """A subscriber with a session of its own."""
    with MqttProbe(mosquitto, "collector", clean=False) as probe:
        for topic in ("plant/#", "kept/#", "edge/#"):
            probe.subscribe(topic)
        yield probe


def say(probe: MqttProbe, **words: object) -> None:
    """Publish one judgement, acknowledged by the broker."""
    probe.publish(FEEDBACK, json.dumps(words))


def counted(agent: Agent) -> dict[str, int]:
    """Every number of the device's own equations."""
    own = [one for one in agent.audit()["equations"] if one["binding"] is None]
    return {term["name"]: term["value"] for one in own for term in (one["left"], *one["terms"])}


def wait_for_count(agent: Agent, name: str, value: int) -> None:
    """Wait until the audit says so."""
    wait_until(lambda: counted(agent).get(name) == value, DEADLINE_S, f"{name} = {value}")


def wait_for_human(probe: MqttProbe, pattern: str, name: PredictionId) -> dict[str, Any]:
    """Wait for the human revision of one answer."""

    def reached() -> dict[str, Any] | None:
        event = latest(probe.on(pattern)).get(name)
        return event if event is not None and event["tier"] == "human" else None

    found = wait_until(reached, DEADLINE_S, "a human revision")
    assert found is not None
    return found


def test_a_label_from_the_machine_comes_back_as_a_human_revision(site: Site, collector: MqttProbe) -> None:
    """An escalated answer, already revised by the hub, is corrected by a person; the event keeps its schema."""
    agent = site.agent(NAME)
    agent.start()
    sensor(collector, agent).send(3)
    events = wait_for_latest(collector, agent, 3, is_revised, "revisions of the hub")
    name, event = next(iter(events.items()))
    label = next(label for label in LABELS if label != event["output"]["label"])
    say(collector, id=name, label=label, by="anna", note="seen with my own eyes")
    human = wait_for_human(collector, agent.results, name)
    assert (human["status"], human["output"]["label"], human["certificate"]) == ("revised", label, None)
    assert human["revision"] > event["revision"]
    validate(human, "edge_agent/schemas/edge.prediction.1.json")
    wait_for_count(agent, "feedback_delivered", 1)
    status = agent.status()
    validate(status, "edge_agent/schemas/edge.status.1.json")
    assert (status["feedback"]["received"], status["feedback"]["delivered"]) == (1, 1)
    assert_nothing_is_lost(agent)


def test_an_answer_that_never_left_the_device_is_corrected_too(site: Site, collector: MqttProbe) -> None:
    """Nothing of its window was ever at the hub, so the verdict names no input; the answer is revised all the same."""
    agent = site.agent(NAME, KEPT)
    agent.start()
    watch = sensor(collector, agent)
    watch.topic = "kept/m1/raw"
    watch.send(2)
    wait_until(lambda: len(latest(collector.on("kept/+/inference"))) >= 2, DEADLINE_S, "final answers")
    (name, event), (other, _) = latest(collector.on("kept/+/inference")).items()
    assert (event["status"], event["escalation"]["outcome"]) == ("final", "none")
    say(collector, id=name, right=True)
    human = wait_for_human(collector, "kept/+/inference", name)
    assert (human["output"]["label"], human["revision"], human["escalation"]["outcome"]) == (
        event["output"]["label"],
        1,
        "none",
    )
    say(collector, id=other, right=False)
    wait_for_count(agent, "feedback_delivered", 2)
    assert latest(collector.on("kept/+/inference"))[other]["tier"] == "edge"
    assert_nothing_is_lost(agent)


def test_feedback_outlives_a_kill_and_an_absent_hub_and_arrives_once(site: Site, collector: MqttProbe) -> None:
    """Given while the hub is dead, then the agent is killed: all of it is delivered after both are back."""
    agent = site.agent(NAME)
    agent.start()
    sensor(collector, agent).send(6)
    names = list(wait_for_latest(collector, agent, 6, is_revised, "revisions of the hub"))
    site.hub.process.kill()
    for name in names[:3]:
        say(collector, id=name, label=LABELS[0])
    wait_for_count(agent, "feedback_pending", 3)
    agent.process.kill()
    for name in names[3:]:
        say(collector, id=name, label=LABELS[1])
    say(collector, id=names[5], label=LABELS[1])
    agent.start()
    wait_for_count(agent, "feedback_duplicate", 1)
    site.hub.start()
    for number, name in enumerate(names):
        human = wait_for_human(collector, agent.results, name)
        assert human["output"]["label"] == LABELS[0 if number < 3 else 1]
    wait_for_count(agent, "feedback_delivered", 6)
    assert counted(agent)["feedback_pending"] == 0
    assert_nothing_is_lost(agent)


def test_feedback_and_its_question_may_reach_the_hub_in_any_order(site: Site, collector: MqttProbe) -> None:
    """Both waited for the hub: whichever is first, the person's word stands and no question stays open."""
    agent = site.agent(NAME)
    agent.start()
    site.hub.process.kill()
    sensor(collector, agent).send(8)
    names = list(wait_for_latest(collector, agent, 8, lambda _: True, "answers without the hub"))
    for name in names:
        say(collector, id=name, label=LABELS[2])
    wait_for_count(agent, "feedback_pending", 8)
    site.hub.start()
    for name in names:
        assert wait_for_human(collector, agent.results, name)["output"]["label"] == LABELS[2]
    wait_until(lambda: pending(agent, "escalations created") == 0, DEADLINE_S, "every question has ended")
    assert {event["tier"] for event in latest(collector.on(agent.results)).values()} == {"human"}
    assert_nothing_is_lost(agent)


def test_feedback_about_nothing_is_dead_lettered_by_name(site: Site, collector: MqttProbe) -> None:
    """Each with its reason, announced, counted and acknowledged; what is good goes on."""
    agent = site.agent(NAME)
    agent.start()
    sensor(collector, agent).send(1)
    (name,) = wait_for_latest(collector, agent, 1, is_revised, "a revision")
    collector.publish(FEEDBACK, b"right")
    say(collector, id="nobody", right=True)
    say(collector, id=name, label="flying")
    say(collector, id=name)
    say(collector, id=name, label=LABELS[2])
    wait_for_human(collector, agent.results, name)
    collector.wait_for_count(DEAD, 4, DEADLINE_S)
    letters = [message.json() for message in collector.on(DEAD)]
    assert sorted(letter["reason"] for letter in letters) == [
        "malformed",
        "malformed",
        "unknown_label",
        "unknown_prediction",
    ]
    for letter in letters:
        validate(letter, "edge_agent/schemas/edge.dead.1.json")
        assert (letter["binding"], letter["topic"]) == (None, FEEDBACK)
    wait_for_count(agent, "feedback_delivered", 1)
    assert agent.status()["feedback"]["dead_lettered"] == 4
    assert_nothing_is_lost(agent)
