"""Keys that are asked for together are read by one query, which begins after each of them was asked for."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from cloud_hub.adapters.sql.lookup import MOST, Lookup
from cloud_hub.errors import StorageError
from tests.simulators.loops import in_loop


class Table:
    """What is known, and what was asked of it; a read takes until `may_end`, and fails while `is_broken`."""

    def __init__(self) -> None:
        self.rows: dict[int, str] = {}
        self.reads: list[tuple[int, ...]] = []
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.has_begun = asyncio.Event()
        self.is_broken = False

    async def read(self, keys: Sequence[int]) -> Mapping[int, str]:
        """The rows as they are when the read begins."""
        self.reads.append(tuple(keys))
        self.has_begun.set()
        found = {key: self.rows[key] for key in keys if key in self.rows}
        await self.may_end.wait()
        if self.is_broken:
            raise StorageError("the disk is gone")
        return found


@in_loop
async def test_keys_that_are_asked_for_together_share_a_read() -> None:
    """Each gets its own row, or nothing; a key that two ask for is read once."""
    table = Table()
    table.rows = {1: "one", 2: "two"}
    lookup = Lookup(table.read)
    assert await asyncio.gather(*(lookup.find(key) for key in (1, 2, 3, 1))) == ["one", "two", None, "one"]
    assert table.reads == [(1, 2, 3)]


@in_loop
async def test_what_is_asked_during_a_read_is_seen_by_the_next() -> None:
    """A row that was written since the read began is found."""
    table = Table()
    table.may_end.clear()
    lookup = Lookup(table.read)
    first = asyncio.create_task(lookup.find(1))
    await table.has_begun.wait()
    table.rows[1] = "one"
    second = asyncio.create_task(lookup.find(1))
    third = asyncio.create_task(lookup.find(2))
    await asyncio.sleep(0)
    table.may_end.set()
    assert (await first, await second, await third) == (None, "one", None)
    assert table.reads == [(1,), (1, 2)]


@in_loop
async def test_a_failure_reaches_all_of_a_read_and_nobody_after() -> None:
    """The next read is another one."""
    table = Table()
    table.rows = {1: "one"}
    table.is_broken = True
    lookup = Lookup(table.read)
    failed = await asyncio.gather(lookup.find(1), lookup.find(2), return_exceptions=True)
    assert [type(one) for one in failed] == [StorageError, StorageError]
    table.is_broken = False
    assert await lookup.find(1) == "one"


@in_loop
async def test_one_who_no_longer_waits_takes_nobody_along() -> None:
    """A call that its device gave up is cancelled; the read goes on for the others."""
    table = Table()
    table.rows = {1: "one", 2: "two"}
    table.may_end.clear()
    lookup = Lookup(table.read)
    gone, stays = asyncio.create_task(lookup.find(1)), asyncio.create_task(lookup.find(2))
    await asyncio.sleep(0)
    gone.cancel()
    table.may_end.set()
    assert await stays == "two"
    with pytest.raises(asyncio.CancelledError):
        await gone


@in_loop
async def test_a_read_has_a_bounded_number_of_keys() -> None:
    """A database takes so many parameters in a statement."""
    table = Table()
    lookup = Lookup(table.read)
    await asyncio.gather(*(lookup.find(key) for key in range(2 * MOST + 1)))
    assert [len(keys) for keys in table.reads] == [MOST, MOST, 1]
