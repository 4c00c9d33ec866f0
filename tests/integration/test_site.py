"""A whole site of real processes keeps its promises: windows are answered, revised, and none is lost by a kill."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.simulators.brokers import Broker, Mosquitto
from tests.simulators.mqtt_probe import MqttProbe
from tests.simulators.site import EDGE_PACK, HUB_PACK, Agent, Sensor, Site, found_hub, wait_for_latest
from tests.simulators.waiting import wait_until

REPOSITORY = Path(__file__).parents[2]
WINDOWS = 12


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
    """A subscriber with a session of its own, so that a broker's restart does not make it forget what it listens to."""
    with MqttProbe(mosquitto, "collector", clean=False) as probe:
        probe.subscribe("plant/#")
        probe.subscribe("edge/#")
        yield probe


def sensor(probe: MqttProbe, agent: Agent) -> Sensor:
    """A sensor whose windows end in the present."""
    return Sensor(probe, agent, start_s=int(time.time()) - 10 * WINDOWS)


def is_revised(event: dict[str, Any]) -> bool:
    """True for a verdict of the hub."""
    return (event["status"], event["tier"]) == ("revised", "hub")


def assert_nothing_is_lost(agent: Agent) -> None:
    """Every equation of the agent's audit holds."""
    audit = agent.audit()
    assert audit["holds"], [equation for equation in audit["equations"] if not equation["holds"]]


def pending(agent: Agent, equation_name: str) -> int:
    """How many of them still wait, by the agent's audit."""
    equations = agent.audit()["equations"]
    terms = next(equation["terms"] for equation in equations if equation["name"] == equation_name)
    return sum(term["value"] for term in terms if "pending" in term["name"])


def starts_s(events: dict[Any, dict[str, Any]]) -> list[str]:
    """The window starts of the events, sorted."""
    return sorted(event["window"]["start"] for event in events.values())


def test_each_window_is_answered_at_once_and_revised_later(
    broker: Broker, probe: MqttProbe, run_folder: Path, founded: Path
) -> None:
    """On each broker revision 0 is the student's, the next is the teacher's, with the same id."""
    site = Site(run_folder, broker, founded)
    try:
        site.open()
        agent = site.agent("press-07")
        probe.subscribe("plant/#")
        agent.start()
        sensor(probe, agent).send(WINDOWS)
        events = wait_for_latest(probe, agent, WINDOWS, is_revised, "a revision of each window")
        first = [m.json() for m in probe.on(agent.results) if m.json()["revision"] == 0]
        assert {event["id"] for event in first} >= set(events)
        assert {event["status"] for event in first} == {"provisional"}
        assert {event["models"][0]["pack"] for event in first} == {EDGE_PACK}
        assert {event["models"][0]["pack"] for event in events.values()} == {HUB_PACK}
        assert_nothing_is_lost(agent)
    finally:
        site.close()


def test_answers_go_on_without_the_hub_and_are_revised_when_it_is_back(site: Site, collector: MqttProbe) -> None:
    """A killed hub stops no answer; what waited in the outbox is answered after the hub's restart, and all adds up."""
    agent = site.agent("press-07")
    agent.start()
    watch = sensor(collector, agent)
    watch.send(3)
    wait_for_latest(collector, agent, 3, is_revised, "revisions before the kill")
    site.hub.process.kill()
    watch.send(WINDOWS)
    wait_for_latest(collector, agent, WINDOWS + 3, lambda _: True, "answers without the hub")
    site.hub.start()
    wait_for_latest(collector, agent, WINDOWS + 3, is_revised, "revisions after the hub's restart")
    assert_nothing_is_lost(agent)


def test_a_killed_agent_loses_no_window_and_repeats_the_same_ids(site: Site, collector: MqttProbe) -> None:
    """After SIGKILL the agent gets the unacknowledged records again: each window has one id, and none is missing."""
    agent = site.agent("press-07")
    agent.start()
    watch = sensor(collector, agent)
    watch.send(WINDOWS)
    agent.process.kill()
    watch.send(WINDOWS)
    agent.start()
    events = wait_for_latest(collector, agent, 2 * WINDOWS, is_revised, "a revision of each window")
    assert len(set(starts_s(events))) == len(events) == 2 * WINDOWS
    assert_nothing_is_lost(agent)


def test_an_agent_that_is_cut_off_since_boot_answers_from_cold(site: Site, collector: MqttProbe) -> None:
    """With the hub gone before it starts, an agent runs the pack on its disk and answers."""
    agent = site.agent("press-07")
    site.hub.process.kill()
    agent.start()
    sensor(collector, agent).send(WINDOWS)
    events = wait_for_latest(collector, agent, WINDOWS, lambda _: True, "answers from cold")
    assert {event["status"] for event in events.values()} == {"provisional"}
    assert_nothing_is_lost(agent)


def test_revisions_wait_in_the_outbox_while_the_broker_is_down(
    site: Site, collector: MqttProbe, mosquitto: Mosquitto
) -> None:
    """Verdicts that come while the broker is killed are published when it is back; none is lost, and all adds up."""
    agent = site.agent("press-07")
    site.hub.process.kill()
    agent.start()
    sensor(collector, agent).send(WINDOWS)
    wait_for_latest(collector, agent, WINDOWS, lambda _: True, "answers without the hub")
    mosquitto.kill()
    site.hub.start()
    wait_until(lambda: pending(agent, "revisions") >= WINDOWS, 30.0, "revisions in the outbox")
    mosquitto.start()
    wait_for_latest(collector, agent, WINDOWS, is_revised, "a revision of each window")
    wait_until(lambda: pending(agent, "revisions") == 0, 10.0, "an empty outbox")
    assert_nothing_is_lost(agent)


def test_the_status_topic_tells_whether_the_agent_lives(site: Site, collector: MqttProbe) -> None:
    """Retained: ``online`` after a connect, ``offline`` after a kill, ``stopped`` after a clean stop."""
    agent = site.agent("press-07")

    def said(word: str) -> None:
        wait_until(
            lambda: [m for m in collector.on(f"edge/{agent.name}/status") if word in m.payload.decode()],
            20.0,
            f"{word} on the status topic",
        )

    agent.start()
    said("online")
    agent.process.kill()
    said("offline")
    agent.start()
    assert agent.process.terminate() == 0
    said("stopped")


def test_malformed_payloads_are_dead_letters_and_stop_nothing(site: Site, collector: MqttProbe) -> None:
    """Garbage is counted as dead-lettered; the windows around it are answered as ever."""
    agent = site.agent("press-07")
    agent.start()
    watch = sensor(collector, agent)
    watch.send(2)
    for garbage in (
        b"",
        b"\xff\x00",
        b"[]",
        b'{"t0": 1}',
        b'{"t0": "2026-01-01T00:00:00Z", "seq": 1, "samples": [[1]]}',
    ):
        collector.publish(watch.topic, garbage)
    watch.send(WINDOWS)
    wait_for_latest(collector, agent, WINDOWS + 2, is_revised, "a revision of each window")
    assert_nothing_is_lost(agent)
    records = next(equation for equation in agent.audit()["equations"] if equation["name"] == "records")
    dead = sum(term["value"] for term in records["terms"] if term["name"].startswith("records_dead_lettered"))
    assert dead == 5


def test_documents_are_as_their_schemas_say(site: Site, collector: MqttProbe) -> None:
    """Events, ``status``, ``audit`` and ``devices list`` keep the JSON Schemas that the packages ship."""
    agent = site.agent("press-07")
    agent.start()
    sensor(collector, agent).send(3)
    wait_for_latest(collector, agent, 3, is_revised, "revisions")

    def listed() -> dict[str, Any] | None:
        document = site.hub.devices()
        online = [each for each in document["devices"] if (each["device"], each["liveness"]) == (agent.name, "online")]
        return document if online else None

    devices = wait_until(listed, 20.0, "the device online in the hub's list")
    for message in collector.on(agent.results):
        validate(message.json(), "edge_agent/schemas/edge.prediction.1.json")
    validate(agent.status(), "edge_agent/schemas/edge.status.1.json")
    validate(agent.audit(), "edge_agent/schemas/edge.audit.1.json")
    validate(devices, "cloud_hub/schemas/devices.schema.json")


def validate(document: object, schema: str) -> None:
    """Check a document against a schema of the repository."""
    jsonschema.validate(document, json.loads((REPOSITORY / schema).read_text()))
