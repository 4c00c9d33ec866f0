"""On SQLite a transaction runs whole in the writer's thread, and a query in a reader's."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql import database
from cloud_hub.adapters.sql.schema import hub
from cloud_hub.adapters.sql.transactions import InThreads, Transactions, transactions_of
from cloud_hub.errors import StorageError
from tests.simulators.loops import in_loop

_ROW = {"id": 1, "hub_incarnation": "i", "created_at_ns": 1}


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Transactions]:
    """A hub's database in a file."""
    engine = database.make_engine(f"sqlite+aiosqlite:///{folder / 'hub.db'}")
    await database.upgrade(engine)
    transactions = transactions_of(engine)
    try:
        yield transactions
    finally:
        transactions.close()
        await engine.dispose()


@in_loop
async def test_a_transaction_leaves_the_loop_alone_and_what_it_wrote_can_be_read(tmp_path: Path) -> None:
    """It runs in another thread than the loop's, and is there for the next query."""
    async with opened(tmp_path) as transactions:
        threads: list[int] = []

        async def work(connection: AsyncConnection) -> str:
            threads.append(threading.get_ident())
            await connection.execute(insert(hub).values(**_ROW))
            return "done"

        assert await transactions.write(work) == "done"
        assert threads != [threading.get_ident()]
        (rows, again) = await transactions.read(select(hub.c.hub_incarnation), select(hub.c.id))
        assert ([tuple(row) for row in rows], [tuple(row) for row in again]) == ([("i",)], [(1,)])


@in_loop
async def test_a_transaction_that_waits_for_something_else_is_undone_and_named(tmp_path: Path) -> None:
    """Its thread has no event loop that could wake it; nothing of it is stored."""
    async with opened(tmp_path) as transactions:

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(insert(hub).values(**_ROW))
            await asyncio.sleep(0)

        with pytest.raises(RuntimeError, match="something else than its connection"):
            await transactions.write(work)
        (rows,) = await transactions.read(select(hub))
        assert rows == []


@in_loop
async def test_nothing_is_read_after_the_end(tmp_path: Path) -> None:
    """Who still asks is told why."""
    async with opened(tmp_path) as transactions:
        transactions.close()
        transactions.close()
        with pytest.raises(StorageError, match="stopping"):
            await transactions.read(select(hub))
        assert isinstance(transactions, InThreads)
