"""Shows that the agent needs nobody: it starts and answers with neither hub nor broker, and loses nothing by a kill."""

import ctypes
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from tests.integration.agent_alone import DEADLINE_S, RESULTS, LoneAgent, events, send, wait_for_ids
from tests.simulators.brokers import Mosquitto
from tests.simulators.mqtt_probe import MqttProbe
from tests.simulators.processes import installed_program, run_to_end
from tests.simulators.waiting import wait_until

SCHEMAS = Path(__file__).parents[2] / "edge_agent" / "schemas"


@pytest.fixture
def agent(run_folder: Path, mosquitto: Mosquitto) -> Iterator[LoneAgent]:
    """An agent whose hub is configured and away."""
    alone = LoneAgent(run_folder, mosquitto.port)
    yield alone
    alone.kill()


@pytest.fixture
def watcher(mosquitto: Mosquitto) -> Iterator[MqttProbe]:
    """A subscriber of answers and of the agent's own topics, present from the beginning."""
    with MqttProbe(mosquitto, "watcher", clean=False) as probe:
        probe.subscribe(RESULTS)
        probe.subscribe("edge/press-07/#")
        yield probe


def test_an_agent_that_never_met_its_hub_answers_from_cold(agent: LoneAgent, watcher: MqttProbe) -> None:
    """Cut off since boot: every window is answered at once, provisionally, and its question waits in the outbox."""
    agent.start_connected()
    send(watcher, range(20))
    assert len(wait_for_ids(watcher, 20)) == 20
    assert {event["status"] for event in events(watcher)} == {"provisional"}
    assert all(event["durable"] for event in events(watcher))
    status, document = agent.audit()
    assert status == 0
    assert document["holds"]
    assert agent.count("escalations_pending{queued}") == 20


def test_an_agent_without_a_hub_gives_final_answers(run_folder: Path, mosquitto: Mosquitto, watcher: MqttProbe) -> None:
    """With no hub configured nobody is waited for: the answers are final and nothing is asked."""
    alone = LoneAgent(run_folder, mosquitto.port, has_hub=False)
    try:
        alone.start_connected()
        send(watcher, range(5))
        wait_for_ids(watcher, 5)
        assert {event["status"] for event in events(watcher)} == {"final"}
        assert alone.count("escalations_wanted") == 0
        assert alone.audit()[0] == 0
    finally:
        alone.kill()


def test_an_agent_starts_without_its_broker_and_answers_when_it_comes(run_folder: Path, mosquitto: Mosquitto) -> None:
    """The broker may be down at boot; the agent is ready all the same and subscribes as soon as it is there."""
    mosquitto.stop()
    alone = LoneAgent(run_folder, mosquitto.port)
    try:
        alone.start()
        assert alone.status()["running"]
        mosquitto.start()
        with MqttProbe(mosquitto) as probe:
            probe.subscribe(RESULTS)
            wait_until(alone.is_connected, DEADLINE_S, "the agent has subscribed")
            send(probe, range(3))
            wait_for_ids(probe, 3)
    finally:
        alone.kill()


def test_a_kill_loses_nothing_and_repeats_the_same_ids(agent: LoneAgent, watcher: MqttProbe) -> None:
    """SIGKILL in the middle of a stream, twice: each window is answered, ids repeat, and every equation holds."""
    agent.start_connected()
    send(watcher, range(30))
    agent.kill()
    assert agent.audit()[0] == 0
    send(watcher, range(30, 60))
    agent.start_connected()
    send(watcher, range(60, 80))
    agent.kill()
    agent.start_connected()
    send(watcher, range(80, 100))
    ids = wait_for_ids(watcher, 100)
    wait_until(lambda: agent.count("predictions_pending_publish") == 0, DEADLINE_S, "every answer is acknowledged")
    assert len(ids) == 100
    windows = {(event["window"]["start"], event["id"]) for event in events(watcher)}
    assert len(windows) == 100
    status, document = agent.audit()
    assert status == 0, json.dumps(document, indent=1)
    assert agent.count("predictions_decided") == 100


def test_an_answer_made_while_the_broker_is_away_reaches_it_later(
    agent: LoneAgent, watcher: MqttProbe, mosquitto: Mosquitto
) -> None:
    """What was decided just before an outage is published after it."""
    agent.start_connected()
    send(watcher, range(10))
    # A killed mosquitto may lose what it has acknowledged and not delivered yet: that is not what is asked here.
    wait_until(lambda: agent.count("predictions_decided") == 10, DEADLINE_S, "every message has its answer")
    mosquitto.kill()
    wait_until(lambda: "site" in " ".join(agent.status()["problems"]), DEADLINE_S, "the outage is told")
    mosquitto.start()
    wait_for_ids(watcher, 10)
    wait_until(lambda: agent.count("predictions_pending_publish") == 0, DEADLINE_S, "every answer is acknowledged")
    assert agent.audit()[0] == 0


def test_a_second_agent_on_the_same_state_is_refused_and_harms_nothing(agent: LoneAgent, run_folder: Path) -> None:
    """It ends with the mend; the first one goes on and is still found by the status command."""
    agent.start()
    second = run_to_end([installed_program("edge-agent"), "run", "--config", str(agent.config)], cwd=run_folder)
    assert second.returncode == 69
    assert "mend: stop the other agent" in second.stderr
    assert agent.status()["running"]


def test_a_stop_is_clean_and_said(agent: LoneAgent, watcher: MqttProbe) -> None:
    """SIGTERM: exit 0, `stopped` is retained, and the status command still tells what is left."""
    agent.start_connected()
    send(watcher, range(3))
    wait_for_ids(watcher, 3)
    assert agent.stop() == 0
    watcher.wait_for(lambda m: m.payload == b"stopped", DEADLINE_S, "stopped")
    left = agent.status()
    assert (left["running"], left["state"]) == (False, "stopped")
    assert left["bindings"][0]["decided"] == 3
    assert agent.audit()[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_ends_the_agent_whichever_thread_has_it(agent: LoneAgent, number: signal.Signals) -> None:
    """A signal is the process's, and the system chooses the thread: mostly the first, which waits, but not always."""
    agent.start_connected()
    pid = agent.process.pid
    others = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir() if int(task.name) != pid]
    tgkill = ctypes.CDLL(None).tgkill
    assert any(tgkill(pid, other, int(number)) == 0 for other in others)  # one may have ended meanwhile
    assert agent.process.wait(DEADLINE_S) == 0


def test_the_status_documents_keep_their_schema(agent: LoneAgent, watcher: MqttProbe) -> None:
    """Before the first start, while running and after the end; the agent also publishes it."""
    schema = json.loads((SCHEMAS / "edge.status.1.json").read_text())
    jsonschema.validate(agent.status(), schema)
    agent.start_connected()
    send(watcher, range(2))
    wait_for_ids(watcher, 2)
    running = agent.status()
    jsonschema.validate(running, schema)
    assert running["running"]
    assert running["state"] == "degraded"
    assert any(problem.startswith("hub:") for problem in running["problems"])
    published = watcher.wait_for(lambda m: m.topic == "edge/press-07/stats", DEADLINE_S, "the status on its topic")
    jsonschema.validate(published.json(), schema)
    agent.stop()
    jsonschema.validate(agent.status(), schema)


def test_a_bad_message_is_dead_lettered_and_the_flow_goes_on(agent: LoneAgent, watcher: MqttProbe) -> None:
    """Each kind of broken message is counted, announced, acknowledged, and costs no other message anything."""
    agent.start_connected()
    for payload in (b"\xff\xfe", b"[]", b'{"t0": 5}', b'{"t0":"2026-01-01T00:00:00Z","seq":1,"samples":[[1,2,3]]}'):
        watcher.publish("plant/m1/raw", payload)
    send(watcher, range(3))
    wait_for_ids(watcher, 3)
    watcher.wait_for_count("edge/press-07/dead", 4, DEADLINE_S)
    status = agent.status()
    assert status["bindings"][0]["dead_lettered"] == 4
    assert agent.audit()[0] == 0


def test_a_full_outbox_stays_within_its_bound_and_names_every_loss(
    run_folder: Path, mosquitto: Mosquitto, watcher: MqttProbe
) -> None:
    """With the hub away for longer than the outbox is large: the oldest questions end as evicted, and it is said."""
    max_bytes = 64 << 10
    alone = LoneAgent(run_folder, mosquitto.port, max_bytes=max_bytes)
    try:
        alone.start_connected()
        for first in range(0, 200, 20):  # in pieces, so that the answers themselves always fit
            send(watcher, range(first, first + 20))
            wait_for_ids(watcher, first + 20)
        assert alone.status()["outbox"]["bytes"] <= max_bytes
        assert alone.audit()[0] == 0
        evicted = alone.count("escalations_evicted{drop_oldest}")
        assert evicted > 0
        assert alone.count("escalations_pending{queued}") == 200 - evicted
        assert alone.count("revisions_made") == evicted
        told = wait_until(
            lambda: [event for event in events(watcher) if event["status"] == "unrevised"], DEADLINE_S, "it is said"
        )
        assert {event["escalation"]["outcome"] for event in told} == {"evicted"}
        assert {event["certificate"] for event in told} == {None}
    finally:
        alone.kill()
