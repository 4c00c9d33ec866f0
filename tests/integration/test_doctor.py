"""`edge-agent doctor` on real sites: a healthy one, and each thing broken once."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.simulators.brokers import Broker, Iotcore, Mosquitto
from tests.simulators.mqtt_probe import MqttProbe
from tests.simulators.processes import installed_program, run_to_end
from tests.simulators.site import Agent, Hub, found_hub

NUMBERS = itertools.count(1)
SCHEMA_PATH = Path(__file__).parents[2] / "edge_agent" / "schemas" / "edge.doctor.1.json"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """One running hub with the tiny packs."""
    made = Hub(tmp_path_factory.mktemp("hub"), found_hub(tmp_path_factory.mktemp("founded")))
    made.prepare()
    made.start()
    yield made
    made.process.kill()


@pytest.fixture
def running_hub(hub: Hub) -> Hub:
    """The hub, running, whatever the test before did to it."""
    if not hub.process.is_running:
        hub.start()
    return hub


def agent_of(hub: Hub, broker: Broker, folder: Path) -> Agent:
    """An agent's files; each test has a device name of its own."""
    return Agent(folder, f"press-{next(NUMBERS)}", broker, hub)


def doctor(agent: Agent, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit code and findings by name."""
    argv = [installed_program("edge-agent"), "doctor", "--json", "--config", str(agent.config), *options]
    done = run_to_end(argv, cwd=agent.folder)
    document = json.loads(done.stdout)
    jsonschema.validate(document, json.loads(SCHEMA_PATH.read_text()))
    return done.returncode, {check["name"]: check for check in document["checks"]}


def test_a_healthy_device_has_nothing_to_mend(running_hub: Hub, mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Nothing failed; every area is looked at; each warning names its mend."""
    agent = agent_of(running_hub, mosquitto, tmp_path)
    agent.enrol()
    code, found = doctor(agent)
    assert code == 0
    assert {check["state"] for check in found.values()} <= {"ok", "warning"}
    assert all(check["mend"] for check in found.values() if check["state"] == "warning")
    assert "MQTT 5" in found["broker site"]["message"]
    assert found["queue of broker site"]["state"] == "ok"
    assert "mutual TLS" in found["hub"]["message"]
    assert f"/device/{agent.name}" in found["identity"]["message"]
    for name in ("config", "disk space", "filesystem", "fsync", "outbox", "pack of motion", "clock"):
        assert name in found


def test_warnings_count_when_strict(running_hub: Hub, mosquitto: Mosquitto, tmp_path: Path) -> None:
    """The tiny pack has no certificate, which is a warning: exit code 1 with --strict."""
    agent = agent_of(running_hub, mosquitto, tmp_path)
    agent.enrol()
    code, found = doctor(agent, "--strict")
    assert code == 1
    assert found["inference of motion"]["state"] == "warning"
    assert "no certified threshold" in found["inference of motion"]["message"]


def test_a_device_that_is_not_enrolled_is_told_so(running_hub: Hub, mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Identity and pack both say that enrolment is missing."""
    code, found = doctor(agent_of(running_hub, mosquitto, tmp_path))
    assert code == 69
    assert "edge-agent enrol" in found["identity"]["mend"]
    assert "edge-agent enrol" in found["pack of motion"]["mend"]


def test_a_config_with_mistakes_ends_the_visit(running_hub: Hub, mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Every mistake is a finding; nothing is dialled."""
    agent = agent_of(running_hub, mosquitto, tmp_path)
    agent.config.write_text('[device]\nid = "a"\nstate_dri = "x"\n[engine]\nthreads = 0\n')
    argv = [installed_program("edge-agent"), "doctor", "--config", str(agent.config)]
    done = run_to_end(argv, cwd=agent.folder)
    assert done.returncode == 78
    assert "state_dri" in done.stdout
    assert "engine.threads" in done.stdout
    assert "broker" not in done.stdout


def test_a_broker_that_is_away_is_named(running_hub: Hub, mosquitto: Mosquitto, tmp_path: Path) -> None:
    """The other checks go on."""
    agent = agent_of(running_hub, mosquitto, tmp_path)
    agent.enrol()
    mosquitto.kill()
    code, found = doctor(agent)
    assert code == 69
    assert found["broker site"]["state"] == "failed"
    assert "start the broker" in found["broker site"]["mend"]
    assert found["hub"]["state"] == "ok"


def test_a_3_1_1_broker_is_no_problem(running_hub: Hub, iotcore: Iotcore, tmp_path: Path) -> None:
    """The doctor falls back as the agent does."""
    agent = agent_of(running_hub, iotcore, tmp_path)
    agent.enrol()
    code, found = doctor(agent)
    assert code == 0
    assert "MQTT 3.1.1" in found["broker site"]["message"]


def test_a_second_agent_under_our_name_is_named(running_hub: Hub, mosquitto: Mosquitto, tmp_path: Path) -> None:
    """The status topic says online, and no agent runs from this state folder."""
    agent = agent_of(running_hub, mosquitto, tmp_path)
    agent.enrol()
    with MqttProbe(mosquitto) as other:
        other.publish(f"edge/{agent.name}/status", "online", retain=True)
    code, found = doctor(agent)
    assert code == 69
    assert found["broker site"]["state"] == "failed"
    assert "device.id" in found["broker site"]["mend"]


def test_a_broker_that_drops_what_waits_is_named(running_hub: Hub, run_folder: Path, tmp_path: Path) -> None:
    """A default mosquitto acknowledges messages that it drops: nothing else would ever say so."""
    broker = Mosquitto(run_folder, config="")
    broker.start()
    try:
        agent = agent_of(running_hub, broker, tmp_path)
        agent.enrol()
        _, found = doctor(agent)
    finally:
        broker.kill()
    assert found["queue of broker site"]["state"] == "warning"
    assert "acknowledged 1300 messages and dropped 100 of them" in found["queue of broker site"]["message"]
    assert "max_queued_messages 0" in found["queue of broker site"]["mend"]


def test_a_hub_that_is_away_is_named(running_hub: Hub, mosquitto: Mosquitto, tmp_path: Path) -> None:
    """With its address and what to start; the broker is looked at all the same."""
    agent = agent_of(running_hub, mosquitto, tmp_path)
    agent.enrol()
    running_hub.process.kill()
    code, found = doctor(agent)
    assert code == 69
    assert f"nothing listens at hub 127.0.0.1:{running_hub.ports.grpc}" in found["hub"]["message"]
    assert found["broker site"]["state"] == "ok"


def test_a_corrupted_pack_is_named(running_hub: Hub, mosquitto: Mosquitto, tmp_path: Path) -> None:
    """One changed byte in one blob: the pack must not run, exit code 65."""
    agent = agent_of(running_hub, mosquitto, tmp_path)
    agent.enrol()
    blobs = agent.folder / "state" / "packs" / "blobs" / "sha256"
    blob = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    code, found = doctor(agent)
    assert code == 65
    assert found["pack of motion"]["state"] == "failed"
    assert blob.name in found["pack of motion"]["message"]
    assert f"`edge-agent enrol --config {agent.config}`" in found["pack of motion"]["mend"]
    agent.start()  # which fetches it again
    agent.process.kill()
    assert doctor(agent)[1]["pack of motion"]["state"] == "ok"


def test_a_running_agent_is_left_in_peace(running_hub: Hub, mosquitto: Mosquitto, tmp_path: Path) -> None:
    """The visit goes under another client id: the agent stays connected."""
    agent = agent_of(running_hub, mosquitto, tmp_path)
    agent.enrol()
    agent.start()
    try:
        with MqttProbe(mosquitto) as probe:
            probe.subscribe(f"edge/{agent.name}/status")
            probe.wait_for(lambda message: message.payload == b"online")
            code, found = doctor(agent)
            assert code == 0
            assert found["agent"]["message"] == "runs now"
            assert found["broker site"]["state"] == "ok"
            assert {message.payload for message in probe.on(f"edge/{agent.name}/status")} == {b"online"}
    finally:
        agent.process.kill()
