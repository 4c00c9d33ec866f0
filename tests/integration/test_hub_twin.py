"""The hub states what a device should run, over real gRPC; the device's reports become states, events and silence."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from cloud_hub.adapters.grpc.gate import LOCAL_SITE
from cloud_hub.adapters.sql import database
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import EventId, EventKind
from cloud_hub.core.twin import DESIRED_CAPABILITY
from model_packs.store import PackStore
from protos.messages.fleet import (
    BindingReport,
    Desired,
    DesiredSlot,
    DeviceHello,
    FailureAction,
    FleetWelcome,
    Heartbeat,
    HeartbeatAck,
    InstallPhase,
    PackFailure,
    SlotReport,
    SlotState,
)
from protos.messages.inference import ModelUse
from tests.simulators.hub_device import STORE, HandReports, device_metadata, plain_channel
from tests.simulators.hubs import EDGE_PACK, HubSite
from tests.simulators.loops import in_loop

DEVICE = "press-07"
KEY = DeviceKey("default", LOCAL_SITE, DEVICE)
HELLO = DeviceHello("1.2.3", STORE, (DESIRED_CAPABILITY,))
OLD = ("factory@0.9.0", "sha256:" + "0" * 64)
RUNS_OLD = SlotReport("band", *OLD, SlotState.COMMITTED, None, is_pinned=False, phase=InstallPhase.IDLE)
DEADLINE_S = 40.0


def beat(slot: SlotReport = RUNS_OLD, *, version: int = 0) -> Heartbeat:
    """A heartbeat of one binding."""
    report = BindingReport("band", ModelUse(slot.pack, slot.digest), 1, 0, 0, "certified")
    return Heartbeat(1, 1, "ok", (), 0, 0, None, (report,), version, (slot,))


@pytest.fixture
def site(tmp_path: Path) -> HubSite:
    """A hub with an edge pack published."""
    return HubSite.found(tmp_path / "hub", EDGE_PACK)


def digest(site: HubSite) -> str:
    """The edge pack's."""
    (stored,) = PackStore(site.config.folder.packs).list()
    return stored.digest


async def assign(site: HubSite) -> None:
    """Assign the edge pack from the command line, beside the running hub."""
    arguments = ("packs", "assign", EDGE_PACK, "--device", f"{LOCAL_SITE}/{DEVICE}", "--binding", "band")
    assert await asyncio.to_thread(site.command, *arguments) == 0


@contextlib.asynccontextmanager
async def records(site: HubSite) -> AsyncIterator[SqlStore]:
    """The hub's records, read as another process would."""
    store = SqlStore(database.make_engine(site.config.database), time.time_ns)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


@contextlib.asynccontextmanager
async def session(port: int, hello: DeviceHello = HELLO) -> AsyncIterator[HandReports]:
    """A fleet session whose welcome was heard."""
    async with plain_channel(port) as channel:
        talk = HandReports(channel, device_metadata(DEVICE))
        await talk.say(hello)
        assert isinstance(await talk.hear(), FleetWelcome)
        yield talk
        with contextlib.suppress(grpc.aio.AioRpcError):
            await talk.call.done_writing()


async def acked(talk: HandReports, heartbeat: Heartbeat) -> None:
    """Send a heartbeat and hear that it is stored."""
    await talk.say(heartbeat)
    assert isinstance(await talk.hear(), HeartbeatAck)


async def shown(site: HubSite, capsys: pytest.CaptureFixture[str]) -> Any:  # noqa: ANN401 - JSON
    """The one binding's status in the registry."""
    capsys.readouterr()
    await asyncio.to_thread(site.command, "devices", "list", "--json")
    (device,) = json.loads(capsys.readouterr().out)["devices"]
    (slot,) = device["slots"]
    return slot


@in_loop
async def test_an_assigned_pack_reaches_the_device_and_its_way_is_told(
    site: HubSite, capsys: pytest.CaptureFixture[str]
) -> None:
    """Desired with the next heartbeat, repeated until the device holds it; trial and install become events."""
    new = (EDGE_PACK, digest(site))
    async with site.running(is_insecure=True) as listening, session(listening.grpc_port) as talk:
        await acked(talk, beat())
        await assign(site)
        wanted = Desired(1, (DesiredSlot("band", *new),))
        for _ in range(2):
            await acked(talk, beat())
            assert await talk.hear() == wanted
        assert (await shown(site, capsys))["state"] == "pending"
        loading = replace(RUNS_OLD, phase=InstallPhase.DOWNLOADING, done_bytes=1, total_bytes=4)
        await acked(talk, beat(loading, version=1))
        assert (await shown(site, capsys))["detail"] == "downloading, 25 %"
        trial = SlotReport("band", *new, SlotState.TRIAL, OLD[0], is_pinned=False, phase=InstallPhase.BAKING)
        await acked(talk, beat(trial, version=1))
        assert (await shown(site, capsys))["state"] == "trial"
        await acked(talk, beat(replace(trial, state=SlotState.COMMITTED, phase=InstallPhase.IDLE), version=1))
        slot = await shown(site, capsys)
        assert (slot["state"], slot["desired"], slot["reported"]) == ("in_sync", EDGE_PACK, EDGE_PACK)
        assert await talk.hear_rest() == []
        async with records(site) as store:
            events = await store.events(EventId(0), 100, KEY)
    kinds = [event.kind for event in events if event.kind is not EventKind.DEVICE_ONLINE]
    assert kinds == [
        EventKind.DEVICE_ENROLLED,
        EventKind.PACK_DESIRED,
        EventKind.PACK_TRIAL,
        EventKind.PACK_INSTALLED,
    ]
    assert {event.subject for event in events if "pack" in event.kind.value} == {EDGE_PACK}


@in_loop
async def test_a_refused_pack_is_shown_with_the_devices_reason(
    site: HubSite, capsys: pytest.CaptureFixture[str]
) -> None:
    """The old pack runs on; state, reason and sentence are the device's own, in the registry and as an event."""
    failure = PackFailure(EDGE_PACK, digest(site), FailureAction.REFUSED, "bad_digest", "blob 3 holds other bytes", 7)
    async with site.running(is_insecure=True) as listening, session(listening.grpc_port) as talk:
        await acked(talk, beat())
        await assign(site)
        await acked(talk, beat(replace(RUNS_OLD, failure=failure)))
        assert isinstance(await talk.hear(), Desired)
        await acked(talk, beat(replace(RUNS_OLD, failure=failure), version=1))
        slot = await shown(site, capsys)
        assert (slot["state"], slot["reason"], slot["reported"]) == ("failed", "bad_digest", OLD[0])
        assert slot["detail"] == "blob 3 holds other bytes"
        async with records(site) as store:
            refused = [e for e in await store.recent_events(100, KEY) if e.kind is EventKind.PACK_REFUSED]
    (event,) = refused
    assert (event.subject, event.detail["reason"]) == (EDGE_PACK, "bad_digest")


@in_loop
async def test_a_session_begins_with_what_is_desired_for_agents_that_take_it(site: HubSite) -> None:
    """Right after the welcome, also over a restart of the hub; an agent without the capability is left alone."""
    async with site.running(is_insecure=True) as listening, session(listening.grpc_port) as talk:
        await acked(talk, beat())
        await assign(site)
    async with site.running(is_insecure=True) as listening:
        async with session(listening.grpc_port) as talk:
            desired = await talk.hear()
            assert isinstance(desired, Desired)
            assert [slot.pack for slot in desired.slots] == [EDGE_PACK]
        async with session(listening.grpc_port, replace(HELLO, capabilities=())) as talk:
            await talk.say(beat())
            (ack,) = await talk.hear_rest()
            assert isinstance(ack, HeartbeatAck)


@in_loop
async def test_a_restored_hub_counts_on_above_the_devices_floor(site: HubSite) -> None:
    """A device that holds version 7 gets the hub's desire under version 8, once it has said so."""
    async with site.running(is_insecure=True) as listening, session(listening.grpc_port) as talk:
        await acked(talk, beat(version=7))
        await assign(site)
        await acked(talk, beat(version=7))
        desired = await talk.hear()
        assert isinstance(desired, Desired)
        assert desired.version == 8
        await talk.say(beat(version=8))
        (ack,) = await talk.hear_rest()
        assert isinstance(ack, HeartbeatAck)


async def liveness_told(store: SqlStore) -> list[tuple[EventKind, str]]:
    """What was told of who is heard."""
    events = await store.events(EventId(0), 100)
    return [(event.kind, event.detail["liveness"]) for event in events if "liveness" in event.detail]


@in_loop
async def test_a_device_that_falls_silent_is_told_by_the_running_hub(tmp_path: Path) -> None:
    """Online while it reports, silent when it stops, offline in the end; another process sees the events."""
    site = await asyncio.to_thread(HubSite.found, tmp_path / "quick", heartbeat_interval_s=0.5)
    async with site.running(is_insecure=True) as listening, records(site) as store:
        async with session(listening.grpc_port) as talk:
            while (EventKind.DEVICE_ONLINE, "online") not in await liveness_told(store):
                await acked(talk, beat())
        newest = EventId(0)
        while (EventKind.DEVICE_SILENT, "offline") not in await liveness_told(store):
            assert await store.wait_for_event(newest, DEADLINE_S)
            newest = (await store.events(newest, 100))[-1].event_id
