"""After an outage all devices greet at once: their sessions begin together, in a few statements, each with its own."""

import asyncio
from dataclasses import replace
from pathlib import Path

from sqlalchemy import event

from cloud_hub.core.devices import DeviceKey
from protos.messages.escalation import StoreId
from tests.simulators.loops import in_loop
from tests.unit.cloud_hub.adapters.sql.test_store import STORE, delivered, hello, opened
from tests.unit.cloud_hub.escalations import PRESS

DEVICES = tuple(DeviceKey("acme", f"site-{number % 2}", f"d{number}") for number in range(50))
STATEMENTS = 25


@in_loop
async def test_hellos_that_come_together_share_their_statements(tmp_path: Path) -> None:
    """The first runs alone, all others are one batch, whether their devices were here before or not."""
    async with opened(tmp_path) as store:
        for expected in (1, 2):
            asked: list[str] = []
            event.listen(store._engine.sync_engine, "before_cursor_execute", lambda *told, to=asked: to.append(told[2]))
            found = await asyncio.gather(*(store.open_session(device, hello(), 1) for device in DEVICES))
            assert [one.epoch for one in found] == [expected] * len(DEVICES)
            assert len(asked) < STATEMENTS


@in_loop
async def test_two_hellos_of_one_device_are_two_sessions(tmp_path: Path) -> None:
    """The second comes after the first, in the same batch."""
    async with opened(tmp_path) as store:
        greeted = (DEVICES[0], PRESS, PRESS, DEVICES[1], PRESS)
        found = await asyncio.gather(*(store.open_session(device, hello(), 1) for device in greeted))
        assert [one.epoch for one in found] == [1, 1, 2, 1, 3]


@in_loop
async def test_each_outbox_is_told_what_was_applied_of_it(tmp_path: Path) -> None:
    """And nothing of another outbox of the same device, nor of another device's."""
    other = StoreId("another")
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        await store.apply(PRESS, [delivered(7, "p7")], 2)
        greetings = ((PRESS, STORE), (DEVICES[0], STORE), (PRESS, other))
        found = await asyncio.gather(*(store.open_session(device, hello(store=said), 3) for device, said in greetings))
        assert [[seq for _, seq in one.applied] for one in found] == [[7], [], []]


@in_loop
async def test_a_restored_database_is_told_to_those_who_greet_with_it(tmp_path: Path) -> None:
    """One device has seen more than there is: whoever comes after it in the batch hears of the new incarnation."""
    async with opened(tmp_path) as store:
        await asyncio.gather(*(store.open_session(device, hello(), 1) for device in DEVICES[:3]))
        before = store.incarnation
        ahead = replace(hello(cursor=9), hub_incarnation=before)
        greetings = (hello(), ahead, hello())
        found = await asyncio.gather(
            *(store.open_session(device, said, 2) for device, said in zip(DEVICES, greetings, strict=False))
        )
        assert [one.is_restored for one in found] == [False, True, False]
        assert [one.incarnation == before for one in found] == [True, False, False]
        assert store.incarnation != before
