"""Packs from a real hub to a real agent, as people do it: publish, assign, and look where it went."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_packs.manifest import PackRef
from model_packs.store import PackStore
from tests.simulators.brokers import Mosquitto
from tests.simulators.mqtt_probe import MqttProbe
from tests.simulators.packs import build_tiny
from tests.simulators.site import BINDING, EDGE_PACK, SITE_NAME, Agent, Sensor, Site, command, wait_for_latest
from tests.simulators.waiting import wait_until

DEVICE = "press-07"
NEWER, DAMAGED = "tiny-edge@1.1.0", "tiny-edge@1.2.0"
DEADLINE_S = 60.0


@pytest.fixture
def site(mosquitto: Mosquitto, run_folder: Path) -> Iterator[Site]:
    """A running hub on mosquitto."""
    built = Site(run_folder, mosquitto)
    built.open()
    yield built
    built.close()


@pytest.fixture
def agent(site: Site) -> Agent:
    """A running agent that commits a new pack after a second."""
    agent = site.agent(DEVICE)
    agent.config.write_text(agent.config.read_text() + "\n[packs]\nbake_s = 1.0\n")
    agent.start()
    return agent


@pytest.fixture
def collector(mosquitto: Mosquitto) -> Iterator[MqttProbe]:
    """A subscriber of every answer."""
    with MqttProbe(mosquitto, "collector") as probe:
        probe.subscribe("plant/#")
        yield probe


def cloud_hub(site: Site, *arguments: str) -> str:
    """Run a command of the hub beside it."""
    return command("cloud-hub", *arguments, "--config", str(site.hub.config), cwd=site.hub.folder)


def publish(site: Site, folder: Path, pack: str, seed: int) -> None:
    """Build another version of the student and publish it."""
    sources = folder / pack
    sources.mkdir()
    build_tiny(sources, seed=seed, version=PackRef.parse(pack).version)
    cloud_hub(site, "packs", "publish", str(sources / "layout"))


def assign(site: Site, pack: str) -> None:
    """Say what the device should run."""
    cloud_hub(site, "packs", "assign", pack, "--device", f"{SITE_NAME}/{DEVICE}", "--binding", BINDING)


def wait_for_slot(site: Site, state: str) -> dict[str, Any]:
    """Wait until the hub shows the binding in a state; what it shows then."""

    def found() -> dict[str, Any] | None:
        (device,) = site.hub.devices()["devices"]
        slots: list[dict[str, Any]] = device["slots"]
        return slots[0] if slots and slots[0]["state"] == state else None

    slot = wait_until(found, DEADLINE_S, f"{DEVICE} in state {state}")
    assert slot is not None
    return slot


def test_an_assigned_pack_answers_and_a_damaged_one_is_refused_by_name(
    site: Site, agent: Agent, collector: MqttProbe, run_folder: Path
) -> None:
    """The newer pack is fetched, tried and answers; one with a damaged blob is refused, and the newer answers on."""
    sensor = Sensor(collector, agent, start_s=int(time.time()) - 100)
    sensor.send(3)
    wait_for_latest(collector, agent, 3, lambda event: event["tier"] == "hub", "the factory pack's answers")
    assert wait_for_slot(site, "in_sync")["reported"] == EDGE_PACK

    publish(site, run_folder, NEWER, seed=8)
    assign(site, NEWER)
    slot = wait_for_slot(site, "trial")
    assert (slot["desired"], slot["reported"]) == (NEWER, NEWER)
    sensor.send(3)
    wait_for_slot(site, "in_sync")
    wait_for_latest(collector, agent, 6, lambda event: event["tier"] == "hub", "the newer pack's answers")

    publish(site, run_folder, DAMAGED, seed=9)
    store = PackStore(site.hub.folder / "packs")
    weights = next(f for f in store.load(PackRef.parse(DAMAGED), None).manifest.files if f.role == "weights")
    blob = store.blob_path(weights.digest)
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    assign(site, DAMAGED)
    slot = wait_for_slot(site, "failed")
    assert (slot["desired"], slot["reported"], slot["reason"]) == (DAMAGED, NEWER, "bad_digest")
    sensor.send(3)
    wait_for_latest(collector, agent, 9, lambda event: event["tier"] == "hub", "answers after the refusal")
    first = [message.json() for message in collector.on(agent.results) if message.json()["revision"] == 0]
    assert [event["models"][0]["pack"] for event in first] == [EDGE_PACK] * 3 + [NEWER] * 6
