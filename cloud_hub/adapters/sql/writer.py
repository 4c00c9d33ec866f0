"""Owns the only way to write: one task, one connection, one transaction for all that is queued.

What is written is in the jobs (`store.py`). A job that fails is undone alone (savepoint); a commit that fails fails
all of its jobs. A patient job waits a little for company; an urgent one takes it along.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql.transactions import Transactions
from cloud_hub.errors import StorageError

ResultT = TypeVar("ResultT")
Job = Callable[[AsyncConnection], Awaitable[ResultT]]
"""Awaits nothing but its connection; on SQLite it runs in a thread of its own, beside the event loop."""

MAX_JOBS = 256


def _nothing() -> None:
    """What most jobs want done before they begin."""


@dataclass(frozen=True, slots=True, eq=False)
class _Queued:
    job: Job[Any]
    due_at_s: float
    result: asyncio.Future[Any]
    on_begin: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Outcome:
    value: Any = None
    failure: Exception | None = None


class Writer:
    """Runs write jobs in batches.

    Args:
        transactions: Runs each transaction.
        on_commit: Told how many seconds each transaction took.
    """

    def __init__(self, transactions: Transactions, on_commit: Callable[[float], None]) -> None:
        self._transactions = transactions
        self._on_commit = on_commit
        self._queue: list[_Queued] = []
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False

    def open(self) -> None:
        """Start the task; needs a running loop."""
        self._task = asyncio.create_task(self._loop(), name="sql-writer")

    async def close(self) -> None:
        """Commit what is queued and stop; a second call does nothing."""
        self._is_closing = True
        self._changed.set()
        if self._task is not None:
            await self._task
            self._task = None

    async def write(
        self, job: Job[ResultT], *, patience_s: float = 0.0, on_begin: Callable[[], None] = _nothing
    ) -> ResultT:
        """Run a job inside the next transaction and wait until that is durable.

        Args:
            job: Gets the connection; must not commit.
            patience_s: How long it may wait for others.
            on_begin: Called on the event loop right before its transaction begins.

        Returns:
            What the job returned.

        Raises:
            StorageError: The database refused; nothing of the job was stored. Also after `close`.
        """
        if self._is_closing or self._task is None:
            raise StorageError("the hub is stopping: nothing more is stored")
        loop = asyncio.get_running_loop()
        queued = _Queued(job, loop.time() + patience_s, loop.create_future(), on_begin)
        self._queue.append(queued)
        self._changed.set()
        return cast("ResultT", await queued.result)

    async def _loop(self) -> None:
        while True:
            await self._wait_until_due()
            if not self._queue:
                return
            batch, self._queue = self._queue[:MAX_JOBS], self._queue[MAX_JOBS:]
            await self._commit(batch)

    async def _wait_until_due(self) -> None:
        """Return when a job is due, or when closing."""
        loop = asyncio.get_running_loop()
        while not self._is_closing:
            self._changed.clear()
            wait_s = min((queued.due_at_s for queued in self._queue), default=None)
            if wait_s is not None and wait_s <= loop.time():
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(wait_s):
                    await self._changed.wait()

    async def _commit(self, batch: list[_Queued]) -> None:
        async def work(connection: AsyncConnection) -> list[_Outcome]:
            if len(batch) == 1:
                return [_Outcome(value=await batch[0].job(connection))]
            return [await _run(connection, queued) for queued in batch]

        began_s = time.perf_counter()
        try:
            for queued in batch:
                queued.on_begin()
            outcomes = await self._transactions.write(work)
        except (SQLAlchemyError, OSError) as error:
            _fail(batch, _storage_error("the database did not commit", error))
            return
        except Exception as error:  # noqa: BLE001 - the only job of its transaction: who waits for it gets it
            _fail(batch, error)
            return
        self._on_commit(time.perf_counter() - began_s)
        for queued, outcome in zip(batch, outcomes, strict=True):
            if queued.result.done():
                continue
            if outcome.failure is None:
                queued.result.set_result(outcome.value)
            else:
                queued.result.set_exception(outcome.failure)


async def _run(connection: AsyncConnection, queued: _Queued) -> _Outcome:
    """Run one job; a failure undoes this job only, and is raised where the job was asked for."""
    try:
        async with connection.begin_nested():
            return _Outcome(value=await queued.job(connection))
    except SQLAlchemyError as error:
        return _Outcome(failure=_storage_error("the database refused a write", error))
    except Exception as error:  # noqa: BLE001 - nothing is swallowed: who waits for the job gets it
        return _Outcome(failure=error)


def _fail(batch: list[_Queued], error: Exception) -> None:
    for queued in batch:
        if not queued.result.done():
            queued.result.set_exception(error)


def _storage_error(what: str, error: Exception) -> StorageError:
    failure = StorageError(f"{what}: {getattr(error, 'orig', None) or error}")
    failure.__cause__ = error
    return failure
