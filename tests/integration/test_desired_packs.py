"""A hub says what a device should run, and the device gets there: real programs over real TLS, down to the answer."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.core.pack_slots import MIN_TRIAL_ANSWERS, FailureReason
from tests.simulators.brokers import Mosquitto
from tests.simulators.mqtt_probe import MqttProbe
from tests.simulators.packs import build_tiny
from tests.simulators.site import BINDING, DEADLINE_S, EDGE_PACK, SITE_NAME, Agent, Sensor, Site, command
from tests.simulators.waiting import wait_until

START_S = 1_790_000_000


@pytest.fixture
def site(mosquitto: Mosquitto, run_folder: Path) -> Iterator[Site]:
    """A running hub on mosquitto, without agents."""
    built = Site(run_folder, mosquitto)
    built.open()
    yield built
    built.close()


@pytest.fixture
def agent(site: Site) -> Agent:
    """A running agent with a short bake."""
    agent = site.agent("press-07")
    agent.config.write_text(agent.config.read_text() + "\n[packs]\nbake_s = 1.0\n")
    agent.start()
    return agent


def publish(site: Site, folder: Path, version: str, seed: int) -> str:
    """Build the next version of the student and publish it at the hub; its name."""
    (folder / version).mkdir()
    pack = build_tiny(folder / version, version=version, seed=seed)
    layout = str(folder / version / "layout")
    command("cloud-hub", "packs", "publish", layout, "--config", str(site.hub.config), cwd=folder)
    return str(pack.ref)


def assign(site: Site, folder: Path, agent: Agent, pack: str) -> None:
    """Say at the hub what the agent should run."""
    device = f"{SITE_NAME}/{agent.name}"
    arguments = [pack, "--device", device, "--binding", BINDING, "--config", str(site.hub.config)]
    command("cloud-hub", "packs", "assign", *arguments, cwd=folder)


def wait_for_report(site: Site, fact: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
    """Wait until the hub lists the device's slot as ``fact`` says; what the device reported of it."""

    def found() -> dict[str, Any] | None:
        (device,) = site.hub.devices()["devices"]
        slots = device["report"]["slots"] if device["report"] is not None else []
        return next((slot for slot in slots if fact(slot)), None)

    slot = wait_until(found, DEADLINE_S, what)
    assert slot is not None
    return slot


def test_what_the_hub_wants_is_installed_answered_with_and_reported(
    site: Site, agent: Agent, mosquitto: Mosquitto, run_folder: Path
) -> None:
    """Assigned by the hub's command; a damaged one after it is refused by name, and the good one goes on answering."""
    with MqttProbe(mosquitto, "collector", clean=False) as probe:
        probe.subscribe(agent.results)
        sensor = Sensor(probe, agent, start_s=START_S)

        def answered_by(pack: str) -> bool:
            sensor.send(1)
            return any(message.json()["models"][0]["pack"] == pack for message in probe.on(agent.results))

        wait_until(lambda: answered_by(EDGE_PACK), DEADLINE_S, "an answer of the factory pack")
        second = publish(site, run_folder, "2.0.0", seed=8)
        assign(site, run_folder, agent, second)
        wait_until(lambda: answered_by(second), DEADLINE_S, "an answer of the wanted pack")
        sensor.send(MIN_TRIAL_ANSWERS + 1)
        slot = wait_for_report(site, lambda s: s["pack"] == second and s["state"] == "committed", "the commit")
        assert slot["previous"] == EDGE_PACK

        third = publish(site, run_folder, "3.0.0", seed=9)
        graph = (run_folder / "3.0.0" / "sources" / "model.onnx").read_bytes()
        for blob in (site.hub.folder / "packs" / "blobs" / "sha256").iterdir():
            if blob.read_bytes() == graph:
                blob.write_bytes(graph[:-1] + bytes([graph[-1] ^ 1]))
        assign(site, run_folder, agent, third)
        slot = wait_for_report(site, lambda s: s["failure"] is not None, "the refusal")
        assert (slot["failure"]["pack"], slot["failure"]["reason"]) == (third, FailureReason.BAD_DIGEST)
        assert (slot["pack"], slot["state"]) == (second, "committed")

        layout = str(run_folder / "3.0.0" / "layout")
        command("cloud-hub", "packs", "publish", layout, "--config", str(site.hub.config), cwd=run_folder)
        assign(site, run_folder, agent, third)
        wait_until(lambda: answered_by(third), DEADLINE_S, "an answer of the healed pack")
    assert agent.audit()["holds"]
