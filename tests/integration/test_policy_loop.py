"""A promise that the field breaks is withdrawn, and a new one is earned there: a real hub, a real agent, one broker."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cloud_hub.adapters.sql import database
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.config import HubConfig
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import EventKind, HubEvent
from cloud_hub.core.monitoring.response import AUTOMATIC
from cloud_hub.core.policies import PolicyDesire
from model_packs.certificate import certify
from model_packs.certificate.document import Certificate, Circumstances, certificate_of
from model_packs.digests import digest_of
from model_packs.process.exits import Exit
from model_packs.signing import SiteKey
from protos.link.signed_policy import PolicyPlace, signed
from protos.messages.fleet import DesiredPolicy, PolicyMode, PolicyReport, PolicyState
from tests.simulators.brokers import Mosquitto
from tests.simulators.mqtt_probe import MqttProbe
from tests.simulators.onnx_bytes import linear_graph
from tests.simulators.packs import CHANNELS, SAMPLES, weights
from tests.simulators.site import (
    BINDING,
    DEADLINE_S,
    HUB_PACK,
    SITE_NAME,
    Agent,
    Hub,
    Sensor,
    Site,
    command,
    found_hub,
    latest,
)
from tests.simulators.waiting import wait_until

DEVICE = "press-07"
KEY = DeviceKey("default", SITE_NAME, DEVICE)
AUDITS = "\n[binding.escalation]\naudit_rate = 0.8\n"
BROKEN, FORCED, GOOD, MORE = 60, 120, 300, 30  # forced ones alone are enough to recertify with
Windows = NDArray[np.float64]


def optimistic() -> Certificate:
    """What the student's pack promises: on other data than the field's it agreed wherever it was fairly sure."""
    scores = np.random.default_rng(1).permutation(np.linspace(0.5, 1.0, 1000))
    return certificate_of(
        certify(scores, scores >= 0.8, target=0.1, delta=0.05),
        Circumstances(
            risk="disagreement_with_hub",
            reference=HUB_PACK,
            population="a kinder field than this one",
            assumption="windows independent",
            cluster_unit=None,
            graph_digest=digest_of(linear_graph(weights(), samples=SAMPLES, channels=CHANNELS)),
            variant="fp32",
            provider="CPUExecutionProvider",
            precision="fp32",
            dataset_digest=digest_of(b"kinder"),
            temperature=1.0,
            issued_at="2026-01-01T00:00:00Z",
            valid_until=None,
        ),
    )


def answers(windows: Windows, seed: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """What the tiny pack of these weights says of windows: labels and confidences, [windows]."""
    logits = windows.reshape(len(windows), -1) @ weights(seed)
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    return chances.argmax(axis=1), chances.max(axis=1) / chances.sum(axis=1)


def field(count: int, *, agrees: bool, sure: tuple[float, float]) -> Windows:
    """Windows of a field in which the student is that sure, the teacher is sure, and they agree or do not."""
    drawn = np.random.default_rng(count).normal(size=(60_000, SAMPLES, CHANNELS)).round(3)
    (student, confidence), (teacher, teacher_sure) = answers(drawn, 7), answers(drawn, 11)
    is_wanted = ((student == teacher) == agrees) & (confidence >= sure[0]) & (confidence < sure[1])
    chosen: Windows = drawn[is_wanted & (teacher_sure >= 0.9)][:count]
    return chosen


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub whose student promises too much."""
    return found_hub(tmp_path_factory.mktemp("founded"), optimistic())


@pytest.fixture
def site(mosquitto: Mosquitto, run_folder: Path, founded: Path) -> Iterator[Site]:
    """Hub and agent, running."""
    built = Site(run_folder, mosquitto, founded)
    try:
        built.open()
        built.agent(DEVICE, AUDITS).start()
        yield built
    finally:
        built.close()


@pytest.fixture
def probe(mosquitto: Mosquitto) -> Iterator[MqttProbe]:
    """Listens to all answers."""
    with MqttProbe(mosquitto) as client:
        client.subscribe("plant/#")
        yield client


def with_records(hub: Hub, work: Callable[[SqlStore], Any]) -> Any:  # noqa: ANN401 - what `work` returns
    """Use the hub's records beside it, as its commands do."""

    async def opened() -> Any:  # noqa: ANN401 - as above
        store = SqlStore(database.make_engine(HubConfig(state_dir=hub.folder).database), time.time_ns)
        await store.open()
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(opened())


def events(hub: Hub, kind: EventKind) -> list[HubEvent]:
    """What the hub has told of the device, of one kind."""
    return [one for one in with_records(hub, lambda store: store.recent_events(1000, KEY)) if one.kind is kind]


def reported(hub: Hub, state: PolicyState) -> PolicyReport | None:
    """The policy in that state, by the device's latest heartbeat."""
    heartbeat = with_records(hub, lambda store: store.facts(KEY)).heartbeat
    return None if heartbeat is None else next((one for one in heartbeat.policies if one.state is state), None)


def certificate_state(hub: Hub) -> str:
    """By the device's latest heartbeat."""
    heartbeat = with_records(hub, lambda store: store.facts(KEY)).heartbeat
    return "" if heartbeat is None else str(heartbeat.bindings[0].certificate_state)


def wait_for_active(hub: Hub, version: int) -> PolicyReport:
    """Wait until the device has reported that this version decides."""

    def active() -> PolicyReport | None:
        found = reported(hub, PolicyState.ACTIVE)
        return found if found is not None and found.policy_version == version else None

    found = wait_until(active, DEADLINE_S, f"policy {version} in force")
    assert found is not None
    return found


def recertify(hub: Hub, exits: tuple[Exit, ...], *more: str) -> dict[str, Any]:
    """Ask for a new certificate on the field's own windows."""
    place = (f"{SITE_NAME}/{DEVICE}", "--binding", BINDING, "--config", str(hub.config))
    printed = command("cloud-hub", "recertify", *place, *more, "--json", cwd=hub.folder, exits=exits)
    document: dict[str, Any] = json.loads(printed)
    return document


def wait_for_answers(probe: MqttProbe, agent: Agent, count: int) -> list[dict[str, Any]]:
    """Wait for the answers to so many windows, none of them waiting for the hub; the latest of each, in their order."""

    def settled() -> list[dict[str, Any]] | None:
        found = sorted(latest(probe.on(agent.results)).values(), key=lambda event: str(event["window"]["start"]))
        return found if len(found) == count and all(one["status"] != "provisional" for one in found) else None

    found = wait_until(settled, DEADLINE_S, f"answers to {count} windows")
    assert found is not None
    return found


def test_a_broken_promise_is_withdrawn_and_a_new_one_is_earned_in_the_field(site: Site, probe: MqttProbe) -> None:
    """Audits refute it, everything is asked; no threshold qualifies, until the field is better: a signed lower one.

    The bad windows are among those that count, in front of the good ones; a larger target bears them.
    """
    hub, (agent,) = site.hub, site.agents
    sensor = Sensor(probe, agent, start_s=int(time.time()) - 5000)
    old = optimistic()
    assert old.threshold is not None
    wait_until(lambda: certificate_state(hub) == "certified", DEADLINE_S, "the first heartbeat")

    sensor.send_windows(field(BROKEN, agrees=False, sure=(0.82, 0.95)))
    wait_until(lambda: events(hub, EventKind.CERTIFICATE_VOID), DEADLINE_S, "certificate void")
    active = wait_for_active(hub, 1)
    assert (active.threshold, active.pack_digest) == (None, events(hub, EventKind.CERTIFICATE_VOID)[0].detail["digest"])
    wait_until(lambda: certificate_state(hub) == "void", DEADLINE_S, "the agent to call it void")
    (binding,) = agent.status()["bindings"]
    assert binding["model"]["threshold"] is None
    assert binding["model"]["certificate"] == {"digest": old.digest, "state": "void"}

    sensor.send_windows(field(FORCED, agrees=False, sure=(0.82, 0.95)))
    forced = wait_for_answers(probe, agent, BROKEN + FORCED)[BROKEN:]
    assert {one["escalation"]["reason"] for one in forced} == {"forced"}
    assert {one["escalation"]["policy_version"] for one in forced} == {1}
    refused = recertify(hub, (Exit.DATA,))
    assert (refused["threshold"], refused["policy"]) == (None, None)
    assert refused["windows"] >= FORCED  # and those of before that were decided after the order came

    sensor.send_windows(field(GOOD, agrees=True, sure=(0.55, 1.0)))
    wait_for_answers(probe, agent, BROKEN + FORCED + GOOD)
    assert recertify(hub, (Exit.DATA,))["threshold"] is None
    earned = recertify(hub, (Exit.OK, Exit.DATA), "--target", "0.7")
    good = GOOD
    if earned["threshold"] is None:  # one lot in a hundred leaves too few of the surest to test the first threshold on
        sensor.send_windows(field(GOOD + MORE, agrees=True, sure=(0.55, 1.0))[GOOD:])
        good += MORE
        wait_for_answers(probe, agent, BROKEN + FORCED + good)
        earned = recertify(hub, (Exit.OK,), "--target", "0.7")
    assert (earned["policy"], earned["windows"]) == (2, refused["windows"] + good)
    assert earned["threshold"] < old.threshold
    active = wait_for_active(hub, 2)
    assert active.threshold == earned["threshold"]
    wait_until(lambda: certificate_state(hub) == "certified", DEADLINE_S, "a certificate that holds")
    sensor.send_windows(field(10, agrees=True, sure=(earned["threshold"], old.threshold)))
    kept = wait_for_answers(probe, agent, BROKEN + FORCED + good + 10)[-10:]
    assert {one["revision"] for one in kept} == {0}
    assert [one["certificate"] for one in kept] == [{"digest": earned["certificate"], "state": "certified"}] * 10


def test_a_policy_that_was_tampered_with_is_refused_by_name(site: Site) -> None:
    """A signed threshold that was lowered afterwards changes nothing; the hub is told which version and why."""
    hub = site.hub
    before = wait_for_active(hub, 0)
    key = SiteKey.load(HubConfig(state_dir=hub.folder).folder.site_key)
    certificate = optimistic()
    assert certificate.threshold is not None

    def make(version: int) -> PolicyDesire:
        policy = DesiredPolicy(
            version,
            PolicyMode.SERVE,
            certificate.threshold,
            certificate=certificate.to_json(),
            pack_digest=before.pack_digest,
        )
        place = PolicyPlace(KEY.org_id, KEY.site_id, KEY.device_id, BINDING)
        return PolicyDesire(BINDING, replace(signed(key, place, policy), threshold=0.1), "", AUTOMATIC, 1)

    with_records(hub, lambda store: store.policies.desire(KEY, BINDING, make))
    refused = wait_until(lambda: reported(hub, PolicyState.REFUSED), DEADLINE_S, "the refusal")
    assert refused is not None
    assert (refused.policy_version, refused.threshold) == (1, 0.1)
    assert "policy 1 of motion is signed by no key that is trusted here" in refused.detail
    active = reported(hub, PolicyState.ACTIVE)
    assert active is not None
    assert (active.policy_version, active.threshold) == (0, certificate.threshold)
    assert certificate_state(hub) == "certified"
    (device,) = hub.devices()["devices"]
    (shown,) = device["policies"]
    assert (shown["version"], shown["certificate_state"]) == (0, "certified")
    assert (shown["desired"]["state"], shown["desired"]["detail"]) == ("refused", refused.detail)
