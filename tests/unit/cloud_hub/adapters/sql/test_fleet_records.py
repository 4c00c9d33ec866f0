"""The fleet's records on a real file: desires, what heartbeats tell anew, curves, the outbox of events, silence."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from cloud_hub.adapters.sql import event_bell
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import EventId, EventKind, Happening
from cloud_hub.core.liveness import Heard, Liveness, LivenessChange
from cloud_hub.core.twin import MAX_NEWS, MAX_VERSION
from protos.codec.fleet import MAX_SLOTS
from protos.messages.fleet import (
    BindingReport,
    DesiredSlot,
    FailureAction,
    Heartbeat,
    InstallPhase,
    PackFailure,
    SlotReport,
    SlotState,
)
from protos.messages.inference import ModelUse
from tests.simulators.loops import in_loop
from tests.unit.cloud_hub.adapters.sql.test_store import opened
from tests.unit.cloud_hub.escalations import PRESS, SAW

START = EventId(0)
MINUTE_NS = 60_000_000_000
V1, V2 = ("band@1.0.0", "sha256:1"), ("band@2.0.0", "sha256:2")
RUNS_V1 = SlotReport("band", *V1, SlotState.COMMITTED, None, is_pinned=False, phase=InstallPhase.IDLE)
ON_TRIAL = replace(RUNS_V1, pack=V2[0], digest=V2[1], state=SlotState.TRIAL)
FAILED = PackFailure(*V2, FailureAction.ROLLED_BACK, "engine_failures", "3 of 3", 9)


def beat(decided: int = 0, *, slot: SlotReport = RUNS_V1, version: int = 0) -> Heartbeat:
    """A heartbeat of one binding."""
    binding = BindingReport("band", ModelUse(slot.pack, slot.digest), decided, 0, 0, "certified", 1.5)
    return Heartbeat(1, 1, "ok", (), 0, 3, None, (binding,), version, (slot,))


async def told(store: SqlStore, device: DeviceKey | None = None) -> list[tuple[EventKind, str]]:
    """Every event so far."""
    return [(event.kind, event.subject) for event in await store.events(START, 100, device)]


@in_loop
async def test_a_desire_is_stored_with_its_event_and_survives(tmp_path: Path) -> None:
    """The version grows, other bindings keep theirs, the event says who wanted what; the registry has it, too."""
    async with opened(tmp_path) as store:
        await store.register_local(PRESS, 1)
        assert await store.desired(PRESS) is None
        await store.desire(PRESS, [DesiredSlot("band", *V1), DesiredSlot("door", *V1)], actor="ada", now_ns=5)
        twin = await store.desire(PRESS, [DesiredSlot("band", *V2)], actor="bob", now_ns=6)
    async with opened(tmp_path) as store:
        assert await store.desired(PRESS) == twin
        assert [(slot.binding, slot.pack, slot.set_by) for slot in twin.slots] == [
            ("band", V2[0], "bob"),
            ("door", V1[0], "ada"),
        ]
        facts = await store.facts(PRESS)
        assert facts is not None
        assert (facts.key, facts.desired) == (PRESS, twin)
        assert await store.devices() == (facts,)
        assert await store.facts(SAW) is None
        (event,) = await store.recent_events(1)
        assert (event.kind, event.device, event.actor, event.at_ns) == (EventKind.PACK_DESIRED, PRESS, "bob", 6)
        assert dict(event.detail) == {"binding": "band", "digest": V2[1], "version": "2"}


@in_loop
async def test_a_heartbeat_tells_what_has_changed_since_the_one_before(tmp_path: Path) -> None:
    """Trial, rollback with its reason, and nothing for what is the same; also over a restart of the hub."""
    async with opened(tmp_path) as store:
        await store.register_local(PRESS, 1)
        await store.save_heartbeat(PRESS, beat(), 10)
        await store.save_heartbeat(PRESS, beat(slot=ON_TRIAL), 20)
    async with opened(tmp_path) as store:
        for at_ns in (30, 40):
            await store.save_heartbeat(PRESS, beat(slot=replace(RUNS_V1, failure=FAILED)), at_ns)
        assert await told(store, PRESS) == [
            (EventKind.DEVICE_ENROLLED, ""),
            (EventKind.PACK_TRIAL, V2[0]),
            (EventKind.PACK_ROLLED_BACK, V2[0]),
        ]
        (rolled_back, *_) = await store.recent_events(1)
        assert rolled_back.detail["reason"] == "engine_failures"
        (facts,) = await store.devices()
        assert facts.heartbeat == beat(slot=replace(RUNS_V1, failure=FAILED))
        assert store.reports_stored == 2


@in_loop
async def test_a_heartbeat_from_before_slots_is_still_read(tmp_path: Path) -> None:
    """A database of an older hub keeps working: such a report has no slots and no desired version."""
    old = (
        '{"number": 1, "device_time_ns": 1, "state": "ok", "problems": [], "outbox_bytes": 0, "outbox_items": 0, '
        '"outbox_oldest_age_ms": null, "bindings": []}'
    )
    async with opened(tmp_path) as store:
        await store.register_local(PRESS, 1)
        await store.save_heartbeat(PRESS, beat(), 10)
        async with store._engine.begin() as connection:
            await connection.execute(text("UPDATE heartbeat SET report = :old"), {"old": old})
        (facts,) = await store.devices()
        assert facts.heartbeat is not None
        assert (facts.heartbeat.slots, facts.heartbeat.desired_version) == ((), 0)
        await store.save_heartbeat(PRESS, beat(), 20)
        assert len(await told(store, PRESS)) == 1


@in_loop
async def test_a_heartbeat_answers_with_the_twin_lifted_above_the_devices_floor(tmp_path: Path) -> None:
    """Nothing while nothing is desired; a floor from before a restore lifts the version once, with an event."""
    async with opened(tmp_path) as store:
        await store.register_local(PRESS, 1)
        assert await store.save_heartbeat(PRESS, beat(version=9), 10) is None
        first = await store.desire(PRESS, [DesiredSlot("band", *V2)], actor="ada", now_ns=11)
        assert first.version == 1
        lifted = await store.save_heartbeat(PRESS, beat(version=9), 20)
        assert lifted == replace(first, version=10)
        assert await store.save_heartbeat(PRESS, beat(version=10), 30) == lifted
        assert await store.save_heartbeat(PRESS, beat(version=2 * MAX_VERSION), 40) == lifted
        assert [kind for kind, _ in await told(store)] == [
            EventKind.DEVICE_ENROLLED,
            EventKind.PACK_DESIRED,
            EventKind.DESIRE_LIFTED,
        ]
        assert (await store.desire(PRESS, [DesiredSlot("band", *V1)], actor="ada", now_ns=50)).version == 11


@in_loop
async def test_heartbeats_make_a_curve_of_increments(tmp_path: Path) -> None:
    """A bucket holds its last totals; the difference to the bucket before is told, for one device or for all."""
    async with opened(tmp_path) as store:
        for device in (PRESS, SAW):
            await store.register_local(device, 1)
        for at_ns, decided in ((0, 100), (1, 110), (MINUTE_NS, 115), (MINUTE_NS + 5, 130), (3 * MINUTE_NS, 131)):
            await store.save_heartbeat(PRESS, beat(decided), at_ns)
        await store.save_heartbeat(SAW, beat(7), 0)
        await store.save_heartbeat(SAW, beat(9), MINUTE_NS)
        points = await store.trend(PRESS, 0)
        assert [(point.bucket_ns, point.decided, point.span_ns) for point in points] == [
            (MINUTE_NS, 20, MINUTE_NS),
            (3 * MINUTE_NS, 1, 2 * MINUTE_NS),
        ]
        assert (points[0].p95_ms, points[0].outbox_items, points[0].binding) == (1.5, 3, "band")
        assert [(p.device, p.decided) for p in await store.trend(None, 0)] == [(PRESS, 20), (SAW, 2), (PRESS, 1)]
        assert [point.bucket_ns for point in await store.trend(PRESS, 2 * MINUTE_NS)] == [3 * MINUTE_NS]
        assert [(p.device, p.decided) for p in await store.lately(0)] == [(SAW, 2), (PRESS, 21)]


@in_loop
async def test_buckets_of_a_clock_that_was_ahead_give_way_and_are_not_read(tmp_path: Path) -> None:
    """The next heartbeat replaces them, so the rate of now is true at once; of who is silent they are left out."""
    async with opened(tmp_path) as store:
        for device in (PRESS, SAW):
            await store.register_local(device, 1)
            await store.save_heartbeat(device, beat(1000), 0)
            await store.save_heartbeat(device, beat(1100), 1440 * MINUTE_NS)
        for minute in (1, 2, 3):
            await store.save_heartbeat(PRESS, beat(1100 + 100 * minute), minute * MINUTE_NS)
        (point,) = await store.lately(0, 3 * MINUTE_NS)
        assert (point.device, point.bucket_ns, point.decided) == (PRESS, 3 * MINUTE_NS, 400)
        assert [(p.bucket_ns, p.decided) for p in await store.trend(PRESS, 0)] == [
            (MINUTE_NS, 200),
            (2 * MINUTE_NS, 100),
            (3 * MINUTE_NS, 100),
        ]
        assert await store.trend(SAW, 0, 3 * MINUTE_NS) == ()


@in_loop
async def test_one_devices_heartbeat_does_not_flood_the_outbox(tmp_path: Path) -> None:
    """However many slots change at once, a heartbeat tells a bounded number of things."""
    async with opened(tmp_path) as store:
        await store.register_local(PRESS, 1)
        for turn in range(2):
            slots = tuple(replace(RUNS_V1, binding=f"b{n}", digest=f"sha256:{turn}") for n in range(MAX_SLOTS))
            await store.save_heartbeat(PRESS, replace(beat(), slots=slots), turn)
        assert (await store.event_span())[1] == 1 + MAX_NEWS


@in_loop
async def test_a_new_binding_joins_a_bucket_that_has_others(tmp_path: Path) -> None:
    """In one heartbeat, known bindings are changed and new ones added."""
    async with opened(tmp_path) as store:
        await store.register_local(PRESS, 1)
        one = beat(5)
        other = replace(one.bindings[0], binding="door", decided=1)
        await store.save_heartbeat(PRESS, one, 0)
        await store.save_heartbeat(PRESS, replace(one, bindings=(replace(one.bindings[0], decided=6), other)), 1)
        await store.save_heartbeat(
            PRESS, replace(one, bindings=(replace(one.bindings[0], decided=8), other)), MINUTE_NS
        )
        points = await store.trend(PRESS, 0)
        assert {(point.binding, point.decided) for point in points} == {("band", 2), ("door", 0)}


@in_loop
async def test_numbers_that_no_table_holds_cost_a_device_its_curve_only(tmp_path: Path) -> None:
    """An absurd heartbeat is stored and shown; it makes no point and breaks nothing."""
    async with opened(tmp_path) as store:
        await store.register_local(PRESS, 1)
        await store.save_heartbeat(PRESS, beat(2**64 - 1, version=2**64 - 1), 0)
        (facts,) = await store.devices()
        assert facts.heartbeat == beat(2**64 - 1, version=2**64 - 1)
        assert await store.trend(None, 0) == ()


@in_loop
async def test_the_outbox_is_read_from_a_cursor_and_from_its_end(tmp_path: Path) -> None:
    """Ids grow over restarts; pages follow each other; one device's events are told apart; texts are cut."""
    async with opened(tmp_path) as store:
        assert await store.event_span() == (0, 0)
        for device in (PRESS, None, SAW):
            happening = Happening(at_ns=3, kind=EventKind.SIGNED_IN, device=device, actor="a" * 99, subject="s" * 999)
            await store.record(replace(happening, detail={"k": "v"}))
    async with opened(tmp_path) as store:
        assert await store.event_span() == (1, 3)
        first, second = await store.events(START, 2)
        assert (first.device, second.device, first.event_id) == (PRESS, None, 1)
        assert (len(first.actor), len(first.subject), dict(first.detail)) == (64, 128, {"k": "v"})
        (third,) = await store.events(second.event_id, 9)
        assert [event.event_id for event in await store.recent_events(2)] == [3, 2]
        assert await store.recent_events(9, SAW) == (third,)
        assert await store.events(third.event_id, 9) == ()


@in_loop
async def test_old_events_and_points_are_pruned_and_ids_are_never_used_again(tmp_path: Path) -> None:
    """Age and count both bound the outbox; after all of it is gone, numbering goes on."""
    async with opened(tmp_path) as store:
        await store.prune(events_before_ns=0, max_events=1, trends_before_ns=0)
        await store.register_local(PRESS, 1)
        for at_ns in range(2, 8):
            await store.record(Happening(at_ns=at_ns, kind=EventKind.SIGNED_IN))
        for minute in range(4):
            await store.save_heartbeat(PRESS, beat(minute), minute * MINUTE_NS)
        await store.prune(events_before_ns=3, max_events=100, trends_before_ns=2 * MINUTE_NS)
        assert await store.event_span() == (3, 7)
        assert [point.bucket_ns for point in await store.trend(PRESS, 0)] == [3 * MINUTE_NS]
        await store.prune(events_before_ns=0, max_events=2, trends_before_ns=0)
        assert await store.event_span() == (6, 7)
        await store.prune(events_before_ns=100, max_events=2, trends_before_ns=0)
        assert await store.event_span() == (0, 0)
        await store.record(Happening(at_ns=200, kind=EventKind.SIGNED_IN))
        assert await store.event_span() == (8, 8)


@in_loop
async def test_one_who_waits_is_woken_by_this_process_and_by_another(tmp_path: Path) -> None:
    """A commit here rings; what another program writes is found within the poll; without events the time ends."""
    async with opened(tmp_path) as store, opened(tmp_path) as other:
        assert not await store.wait_for_event(START, 0.0)
        assert not await store.wait_for_event(START, 0.01)
        for writer in (store, other):
            last = (await store.event_span())[1]
            waiting = asyncio.create_task(store.wait_for_event(last, 30.0))
            await writer.record(Happening(at_ns=1, kind=EventKind.SIGNED_IN))
            assert await waiting
            assert await store.wait_for_event(last, 30.0)


@in_loop
async def test_news_wake_who_waits_without_a_poll(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bell rings for heartbeats that tell something, and for whatever else writes an event."""
    monkeypatch.setattr(event_bell, "POLL_S", 3600.0)
    async with opened(tmp_path) as store:
        await store.register_local(PRESS, 1)
        await store.save_heartbeat(PRESS, beat(), 1)
        last = (await store.event_span())[1]
        waiting = asyncio.create_task(store.wait_for_event(last, 3600.0))
        await store.save_heartbeat(PRESS, beat(slot=ON_TRIAL), 2)
        assert await waiting
        waiting = asyncio.create_task(store.wait_for_event(EventId(last + 1), 3600.0))
        await asyncio.sleep(0)
        await store.record(Happening(at_ns=1, kind=EventKind.SIGNED_IN))
        assert await waiting


@in_loop
async def test_what_was_told_of_silence_is_kept(tmp_path: Path) -> None:
    """Changes are noted with their events; devices that are no longer accepted are not watched."""
    async with opened(tmp_path) as store:
        for device in (PRESS, SAW):
            await store.register_local(device, 1)
        await store.save_heartbeat(PRESS, beat(), 10)
        assert await store.heard() == (Heard(PRESS, 10, None), Heard(SAW, None, None))
        await store.tell_liveness([LivenessChange(PRESS, None, Liveness.ONLINE)], 11)
    async with opened(tmp_path) as store:
        await store.tell_liveness([LivenessChange(PRESS, Liveness.ONLINE, Liveness.STALE)], 12)
        async with store._engine.begin() as connection:
            await connection.execute(text("UPDATE device SET is_removed = true WHERE device_id = 'saw-01'"))
        assert await store.heard() == (Heard(PRESS, 10, Liveness.STALE),)
        online, silent = (await store.events(START, 9, PRESS))[1:]
        assert (online.kind, dict(online.detail)) == (EventKind.DEVICE_ONLINE, {"liveness": "online"})
        assert (silent.kind, dict(silent.detail)) == (EventKind.DEVICE_SILENT, {"liveness": "stale"})


@in_loop
async def test_heartbeats_of_many_devices_share_a_commit(tmp_path: Path) -> None:
    """Those that come together are written together, trends and events included."""
    commits: list[float] = []
    async with opened(tmp_path) as store:
        keys = [DeviceKey("o", "s", f"d{n}") for n in range(40)]
        for key in keys:
            await store.register_local(key, 1)
        store._writer._on_commit = commits.append
        await asyncio.gather(*(store.save_heartbeat(key, beat(1), 10) for key in keys))
        assert len(commits) == 1


@in_loop
async def test_two_heartbeats_of_one_device_in_a_batch_are_told_in_order(tmp_path: Path) -> None:
    """What changes between them is news though both share a commit; the later one stays."""
    async with opened(tmp_path) as store:
        for device in (PRESS, SAW):
            await store.register_local(device, 1)
        installed = replace(ON_TRIAL, state=SlotState.COMMITTED)
        story = [(PRESS, RUNS_V1), (SAW, RUNS_V1), (PRESS, ON_TRIAL), (PRESS, installed), (SAW, ON_TRIAL)]
        await asyncio.gather(
            *(store.save_heartbeat(key, beat(slot=slot), at_ns) for at_ns, (key, slot) in enumerate(story, 10))
        )
        assert (await told(store, PRESS))[1:] == [(EventKind.PACK_TRIAL, V2[0]), (EventKind.PACK_INSTALLED, V2[0])]
        assert (await told(store, SAW))[1:] == [(EventKind.PACK_TRIAL, V2[0])]
        facts = await store.facts(PRESS)
        assert facts is not None
        assert (facts.heartbeat, facts.last_heartbeat_at_ns) == (beat(slot=installed), 13)


@in_loop
async def test_a_device_that_was_just_enrolled_has_a_curve_from_its_first_report_on(tmp_path: Path) -> None:
    """Its first totals count from nothing; not for one that was heard before, nor for one without a certificate."""
    async with opened(tmp_path) as store:
        for device in (PRESS, SAW):
            await store.register_local(device, 20 * MINUTE_NS)
        await store.save_heartbeat(SAW, beat(5), MINUTE_NS)
        for device in (PRESS, SAW):
            await store.save_heartbeat(device, beat(7), 21 * MINUTE_NS)
        assert await store.lately(2 * MINUTE_NS) == ()
        async with store._engine.begin() as connection:
            await connection.execute(text("UPDATE device SET public_key_digest = 'k'"))
        points = await store.lately(2 * MINUTE_NS)
        assert [(point.device, point.decided, point.span_ns) for point in points] == [(PRESS, 7, MINUTE_NS)]
        assert await store.trend(PRESS, 0) == points
        assert await store.lately(20 * MINUTE_NS + 1) == ()
