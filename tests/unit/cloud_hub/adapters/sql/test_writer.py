"""The one writer: jobs share transactions, failures stay with their job, patience shares commits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_hub.adapters.sql import database
from cloud_hub.adapters.sql.transactions import transactions_of
from cloud_hub.adapters.sql.writer import Writer
from cloud_hub.errors import StorageError, TokenUnknownError
from tests.simulators.loops import in_loop


@asynccontextmanager
async def writing(path: Path, commits: list[float]) -> AsyncIterator[tuple[Writer, AsyncEngine]]:
    """A writer on a database with one table."""
    engine = database.make_engine(f"sqlite+aiosqlite:///{path}")
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE note (id INTEGER PRIMARY KEY)"))
    transactions = transactions_of(engine)
    writer = Writer(transactions, commits.append)
    writer.open()
    try:
        yield writer, engine
    finally:
        await writer.close()
        transactions.close()
        await engine.dispose()


async def noted(engine: AsyncEngine) -> list[int]:
    """What is stored."""
    async with engine.connect() as connection:
        return [row[0] for row in await connection.execute(text("SELECT id FROM note ORDER BY id"))]


async def note(writer: Writer, number: int, patience_s: float = 0.0) -> None:
    """Store one number."""

    async def job(connection: AsyncConnection) -> None:
        await connection.execute(text("INSERT INTO note VALUES (:number)"), {"number": number})

    await writer.write(job, patience_s=patience_s)


@in_loop
async def test_jobs_that_come_together_share_one_commit(tmp_path: Path) -> None:
    """Ten jobs at once cost one transaction."""
    commits: list[float] = []
    async with writing(tmp_path / "x.db", commits) as (writer, engine):
        await asyncio.gather(*(note(writer, number) for number in range(10)))
        assert await noted(engine) == list(range(10))
        assert len(commits) == 1


@in_loop
async def test_a_failing_job_is_undone_alone(tmp_path: Path) -> None:
    """A refused job and one that the database refuses leave their neighbours' work in place."""
    async with writing(tmp_path / "x.db", []) as (writer, engine):

        async def refused(connection: AsyncConnection) -> None:
            await connection.execute(text("INSERT INTO note VALUES (5)"))
            raise TokenUnknownError

        outcomes = await asyncio.gather(
            note(writer, 1), writer.write(refused), note(writer, 1), note(writer, 2), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [type(None), TokenUnknownError, StorageError, type(None)]
        assert await noted(engine) == [1, 2]


@in_loop
async def test_an_unexpected_failure_reaches_the_caller_and_the_writer_goes_on(tmp_path: Path) -> None:
    """A bug in a job is raised where it was asked for; the next job is written."""
    async with writing(tmp_path / "x.db", []) as (writer, engine):

        async def broken(_connection: AsyncConnection) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await writer.write(broken)
        await note(writer, 3)
        assert await noted(engine) == [3]


@in_loop
async def test_a_patient_job_goes_along_with_an_urgent_one(tmp_path: Path) -> None:
    """It is written with the next commit, long before its own time."""
    commits: list[float] = []
    async with writing(tmp_path / "x.db", commits) as (writer, engine):
        patient = asyncio.create_task(note(writer, 1, patience_s=3600.0))
        await asyncio.sleep(0)
        await note(writer, 2)
        await patient
        assert await noted(engine) == [1, 2]
        assert len(commits) == 1


@in_loop
async def test_closing_writes_what_is_queued(tmp_path: Path) -> None:
    """A patient job is not lost at a clean stop."""
    async with writing(tmp_path / "x.db", []) as (writer, engine):
        patient = asyncio.create_task(note(writer, 1, patience_s=3600.0))
        await asyncio.sleep(0)
        await writer.close()
        await patient
        assert await noted(engine) == [1]
