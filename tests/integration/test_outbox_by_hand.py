"""What a person does to the outbox of a real agent: every caller is told, every sum holds, running or killed."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.reporting.run_file import FILE_NAME, Running
from tests.integration.agent_alone import DEADLINE_S, RESULTS, LoneAgent, events, send, wait_for_ids
from tests.simulators.brokers import Mosquitto
from tests.simulators.mqtt_probe import MqttProbe
from tests.simulators.waiting import wait_until


@pytest.fixture
def agent(run_folder: Path, mosquitto: Mosquitto) -> Iterator[LoneAgent]:
    """An agent whose hub is configured and away."""
    alone = LoneAgent(run_folder, mosquitto.port)
    yield alone
    alone.kill()


def test_purged_questions_are_told_beside_a_running_agent_and_after_its_end(
    agent: LoneAgent, mosquitto: Mosquitto
) -> None:
    """The running agent purges one and says so over MQTT and the watch API; the rest are purged after a kill."""
    with MqttProbe(mosquitto, "watcher", clean=False) as probe:
        probe.subscribe(RESULTS)
        agent.start_connected()
        send(probe, range(4))
        first, *others = sorted(wait_for_ids(probe, 4))
        assert agent.outbox("retry", "--class", "escalation")["changed"]["escalation"] == 4
        (state_dir,) = (path.parent for path in agent.folder.rglob(FILE_NAME))
        running = Running.read(state_dir / FILE_NAME)
        assert running is not None
        watching = http.client.HTTPConnection(running.http_host, running.http_port, timeout=DEADLINE_S)
        watching.request("GET", "/v1/predictions/stream")
        stream = watching.getresponse()

        assert agent.outbox("purge", first, "--class", "escalation", "--yes")["changed"]["escalation"] == 1
        line = b""
        while not line.startswith(b"data: "):
            line = stream.readline()
            assert line, "the stream ended"
        told = json.loads(line.removeprefix(b"data: "))
        assert (told["id"], told["status"], told["escalation"]["outcome"]) == (first, "unrevised", "purged")
        watching.close()
        wait_until(
            lambda: any((event["id"], event["status"]) == (first, "unrevised") for event in events(probe)),
            DEADLINE_S,
            "the broker has the end of it",
        )
        assert agent.outbox("show", first)["escalation"]["state"] == "purged"
        assert agent.audit()[0] == 0

        agent.kill()
        assert agent.outbox("purge", "--class", "escalation", "--yes")["changed"]["escalation"] == len(others)
        assert agent.audit()[0] == 0
        agent.start_connected()
        wait_until(
            lambda: {event["id"] for event in events(probe) if event["status"] == "unrevised"} == {first, *others},
            DEADLINE_S,
            "the ends that were made without an agent are published by the next one",
        )
        assert agent.count("escalations_purged") == 4
        assert agent.audit()[0] == 0
