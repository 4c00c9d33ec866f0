"""A real agent under a stream of sensor messages: packs come, answer, fail and go, and no window is lost or renamed."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import jsonschema
import pytest

from edge_agent import config
from edge_agent.core.pack_slots import FailureReason
from model_packs.signing import SiteKey
from model_packs.store import PackStore
from protos.messages.fleet import DesiredSlot, FailureAction, SlotState
from tests.integration.agent_alone import DEADLINE_S, RESULTS, LoneAgent, events, message
from tests.simulators.brokers import Mosquitto
from tests.simulators.fleet_hub import FleetHub
from tests.simulators.mqtt_probe import MqttProbe
from tests.simulators.onnx_bytes import Fault
from tests.simulators.packs import build_tiny
from tests.simulators.waiting import wait_until

V1, V2 = "tiny-edge@1.0.0", "tiny-edge@2.0.0"
BINDING = "motion"
SCHEMAS = Path(config.__file__).parent / "schemas"


class Stream:
    """A sensor that sends a second of samples a few times a second, until it is stopped."""

    def __init__(self, probe: MqttProbe) -> None:
        self._probe = probe
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._send, name="sensor")
        self.sent = 0

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *ending: object) -> None:
        """End."""
        self._stopping.set()
        self._thread.join()

    def _send(self) -> None:
        while not self._stopping.wait(0.05):
            self._probe.publish("plant/m1/raw", message(self.sent))
            self.sent += 1


@pytest.fixture
def hub(run_folder: Path) -> Iterator[FleetHub]:
    """A hub without packs; heartbeats only every minute, so that what it learns sooner was told at once."""
    store = PackStore(run_folder / "hub")
    store.open()
    with FleetHub(store, heartbeat_interval_s=60.0) as hub:
        yield hub


@pytest.fixture
def agent(run_folder: Path, mosquitto: Mosquitto, hub: FleetHub) -> Iterator[LoneAgent]:
    """An agent of that hub, with a short bake."""
    alone = LoneAgent(run_folder, mosquitto.port, hub_port=hub.port, bake_s=1.0)
    yield alone
    alone.kill()


@pytest.fixture
def watcher(mosquitto: Mosquitto) -> Iterator[MqttProbe]:
    """A subscriber of answers."""
    with MqttProbe(mosquitto, "watcher", clean=False) as probe:
        probe.subscribe(RESULTS)
        yield probe


def publish(folder: Path, key: SiteKey, version: str, *, seed: int = 8, fault: Fault | None = None) -> DesiredSlot:
    """Build a pack and put it on the hub's shelf; what to desire."""
    (folder / version).mkdir()
    pack = build_tiny(folder / version, sign=key, version=version, seed=seed, fault=fault)
    PackStore(folder / "hub").import_layout(folder / version / "layout")
    return DesiredSlot(BINDING, str(pack.ref), pack.digest)


def first_answers(watcher: MqttProbe) -> list[dict[str, Any]]:
    """The first event of each prediction."""
    return [event for event in events(watcher) if event["revision"] == 0]


def answered_by(watcher: MqttProbe) -> Counter[str]:
    """How many windows each pack has answered."""
    return Counter(event["models"][0]["pack"] for event in first_answers(watcher))


def wait_for_answer_of(watcher: MqttProbe, pack: str, more_than: int = 0) -> None:
    """Wait until a pack has answered."""
    wait_until(lambda: answered_by(watcher)[pack] > more_than, DEADLINE_S, f"an answer of {pack}")


def assert_every_window_answered_once(watcher: MqttProbe, sent: int) -> None:
    """One prediction for each second that was sent, none lost, none under two ids, in the order of the seconds."""
    wait_until(lambda: len(first_answers(watcher)) >= sent, DEADLINE_S, f"{sent} answers")
    found = first_answers(watcher)
    assert len(found) == sent
    assert len({event["id"] for event in found}) == sent
    starts = [event["window"]["start"] for event in found]
    assert len(set(starts)) == sent
    assert starts == sorted(starts)


def test_a_pack_is_swapped_under_a_stream_without_losing_a_window(
    agent: LoneAgent, hub: FleetHub, watcher: MqttProbe, run_folder: Path
) -> None:
    """Desired, installed, tried, committed, reported at once; then rolled back by hand and pinned; it answers on."""
    agent.start_connected()
    wanted = publish(run_folder, agent.key, "2.0.0")
    with Stream(watcher) as stream:
        wait_for_answer_of(watcher, V1)
        hub.desire(1, wanted)
        hub.wait_for_slot(BINDING, lambda slot: slot.state is SlotState.TRIAL, "the trial")
        wait_for_answer_of(watcher, V2)
        slot = hub.wait_for_slot(
            BINDING, lambda slot: slot.pack == V2 and slot.state is SlotState.COMMITTED, "the commit"
        )
        assert (slot.previous_pack, slot.failure) == (V1, None)
        assert hub.hello is not None
        assert hub.hello.capabilities == ("desired", "policy")
        beat = hub.heartbeats[-1]
        assert (beat.desired_version, beat.bindings[0].model.pack) == (1, V2)
        assert beat.bindings[0].answer_p95_ms is not None

        before = answered_by(watcher)[V1]
        document = agent.packs("rollback", BINDING)
        jsonschema.validate(document, json.loads((SCHEMAS / "edge.packs.1.json").read_text()))
        wait_for_answer_of(watcher, V1, more_than=before)
        slot = hub.wait_for_slot(BINDING, lambda slot: slot.pack == V1, "the rollback")
        assert slot.failure is not None
        assert (slot.failure.action, slot.failure.reason) == (FailureAction.ROLLED_BACK, FailureReason.BY_HAND)
        status = agent.status()
        jsonschema.validate(status, json.loads((SCHEMAS / "edge.status.1.json").read_text()))
        assert status["bindings"][0]["slot"]["failure"]["reason"] == "by_hand"
        assert status["bindings"][0]["slot"]["desired"]["pack"] == V2

        before = answered_by(watcher)[V2]
        agent.packs("pin", BINDING, V2)
        wait_for_answer_of(watcher, V2, more_than=before)
        hub.wait_for_slot(BINDING, lambda slot: slot.is_pinned and slot.state is SlotState.COMMITTED, "the pin")
    assert_every_window_answered_once(watcher, stream.sent)
    assert agent.stop() == 0
    assert agent.audit()[0] == 0


def test_bad_packs_never_reach_the_stream(
    agent: LoneAgent, hub: FleetHub, watcher: MqttProbe, run_folder: Path
) -> None:
    """One whose blob the hub has damaged, one that hangs until the probe's end, one that kills its process."""
    agent.config.write_text(agent.config.read_text().replace("bake_s", "probe_timeout_s = 8.0\nbake_s"))
    agent.start_connected()
    damaged = publish(run_folder, agent.key, "2.0.0")
    graph = (run_folder / "2.0.0" / "sources" / "model.onnx").read_bytes()
    for blob in (run_folder / "hub" / "blobs" / "sha256").iterdir():
        if blob.read_bytes() == graph:
            blob.write_bytes(graph[:-1] + bytes([graph[-1] ^ 1]))
    bad = {
        FailureReason.BAD_DIGEST: damaged,
        FailureReason.PROBE_TIMEOUT: publish(run_folder, agent.key, "3.0.0", fault=Fault.HANGS),
        FailureReason.PROBE_CRASHED: publish(run_folder, agent.key, "4.0.0", fault=Fault.CRASHES),
    }
    with Stream(watcher) as stream:
        for version, (reason, wanted) in enumerate(bad.items(), start=1):
            before = answered_by(watcher)[V1]
            hub.desire(version, wanted)
            slot = hub.wait_for_slot(
                BINDING,
                lambda slot, wanted=wanted: slot.failure is not None and slot.failure.pack == wanted.pack,  # type: ignore[misc] # bound now
                f"the refusal of {wanted.pack}",
            )
            assert slot.failure is not None
            assert (slot.failure.reason, slot.failure.action) == (reason, FailureAction.REFUSED)
            assert (slot.pack, slot.state) == (V1, SlotState.COMMITTED)
            wait_for_answer_of(watcher, V1, more_than=before)
    assert_every_window_answered_once(watcher, stream.sent)
    assert set(answered_by(watcher)) == {V1}


def test_a_killed_agent_goes_on_with_its_trial_and_its_desire(
    agent: LoneAgent, hub: FleetHub, watcher: MqttProbe, run_folder: Path
) -> None:
    """What is durable survives SIGKILL: the desire, the trial and the windows in flight."""
    agent.config.write_text(agent.config.read_text().replace("bake_s = 1.0", "bake_s = 600.0"))
    agent.start_connected()
    wanted = publish(run_folder, agent.key, "2.0.0")
    with Stream(watcher) as stream:
        wait_for_answer_of(watcher, V1)
        hub.desire(1, wanted)
        wait_for_answer_of(watcher, V2)
        agent.kill()
        assert agent.packs("list")["desired_version"] == 1
        agent.config.write_text(agent.config.read_text().replace("bake_s = 600.0", "bake_s = 1.0"))
        agent.start_connected()
        hub.wait_for_slot(BINDING, lambda slot: slot.pack == V2 and slot.state is SlotState.COMMITTED, "the commit")
    wait_until(lambda: len({event["id"] for event in first_answers(watcher)}) >= stream.sent, DEADLINE_S, "all answers")
    assert len({event["id"] for event in first_answers(watcher)}) == stream.sent
    assert agent.audit()[0] == 0
