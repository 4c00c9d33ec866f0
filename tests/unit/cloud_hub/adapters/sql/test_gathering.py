"""Values that come together are written by one job; a failure reaches all of them and nobody after."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql import database
from cloud_hub.adapters.sql.gathering import Gathering
from cloud_hub.adapters.sql.transactions import transactions_of
from cloud_hub.adapters.sql.writer import Writer
from cloud_hub.errors import StorageError
from tests.simulators.loops import in_loop

_DEADLINE_S = 30.0


class Doubler:
    """A job that doubles numbers, and notes its batches; refused while `is_broken`, held until `may_end`."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.is_broken = False
        self.has_begun = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()

    async def __call__(self, connection: AsyncConnection, values: Sequence[int]) -> list[int]:
        """Write nothing, or what no database takes."""
        await connection.execute(text("SELECT nothing" if self.is_broken else "SELECT 1"))
        self.batches.append(list(values))
        self.has_begun.set()
        assert self.may_end.wait(_DEADLINE_S)
        return [2 * value for value in values]


@contextlib.asynccontextmanager
async def gathering(folder: Path, job: Doubler) -> AsyncIterator[Gathering[int, int]]:
    """A gathering on a real database."""
    engine = database.make_engine(f"sqlite+aiosqlite:///{folder / 'hub.db'}")
    transactions = transactions_of(engine)
    writer = Writer(transactions, lambda _took_s: None)
    writer.open()
    yield Gathering(writer, job, 0.05)
    await writer.close()
    transactions.close()
    await engine.dispose()


@in_loop
async def test_values_that_come_together_share_a_job(tmp_path: Path) -> None:
    """Each gets its own result; what comes later is another batch."""
    job = Doubler()
    async with gathering(tmp_path, job) as gathered:
        assert await asyncio.gather(*(gathered.write(n) for n in range(5))) == [0, 2, 4, 6, 8]
        assert await gathered.write(7) == 14
    assert job.batches == [[0, 1, 2, 3, 4], [7]]


@in_loop
async def test_what_comes_while_a_job_runs_is_the_next_batch(tmp_path: Path) -> None:
    """A job has seen its values when it begins."""
    job = Doubler()
    job.may_end.clear()
    async with gathering(tmp_path, job) as gathered:
        first = asyncio.ensure_future(gathered.write(1))
        assert await asyncio.to_thread(job.has_begun.wait, _DEADLINE_S)
        second = asyncio.ensure_future(gathered.write(2))
        await asyncio.sleep(0)
        job.may_end.set()
        assert (await first, await second) == (2, 4)
    assert job.batches == [[1], [2]]


@in_loop
async def test_a_failure_reaches_everybody_in_the_batch_and_nobody_after(tmp_path: Path) -> None:
    """The next batch is a new one, also when the failed one never reached its job: there was no database yet."""
    job = Doubler()
    job.is_broken = True
    folder = tmp_path / "later"
    async with gathering(folder, job) as gathered:
        with pytest.raises(StorageError, match="unable to open"):
            await gathered.write(0)
        folder.mkdir()
        failed = await asyncio.gather(gathered.write(1), gathered.write(2), return_exceptions=True)
        assert [type(one) for one in failed] == [StorageError, StorageError]
        job.is_broken = False
        assert await gathered.write(3) == 6
    assert job.batches == [[3]]


@in_loop
async def test_one_who_gives_up_does_not_take_the_others_along(tmp_path: Path) -> None:
    """A device whose session ends leaves its value to be written with the rest."""
    job = Doubler()
    async with gathering(tmp_path, job) as gathered:
        first, second = (asyncio.ensure_future(gathered.write(n)) for n in (1, 2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == 4
    assert job.batches == [[1, 2]]
