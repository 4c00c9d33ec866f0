"""Owns how a transaction or a query reaches the database: statement by statement, or whole in a thread.

A server's statements are awaited on the event loop. SQLite is a library: so asked, each statement would be handed to
the driver's thread and back several times, and the switches would cost more than the work. There a transaction runs
from its BEGIN to its COMMIT in one thread, and a query in another one; the loop hands it over once. Which statements
make a transaction is `store.py`; which jobs share one is `writer.py`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_hub.adapters.sql import database
from cloud_hub.adapters.sql.device_keys import AnyRow, AnySelect
from cloud_hub.errors import StorageError

ResultT = TypeVar("ResultT")
Work = Callable[[AsyncConnection], Coroutine[Any, Any, ResultT]]

READERS = 2
"""Threads that queries of a file run in."""


class Transactions(Protocol):
    """One database; its engine is another's to dispose of."""

    async def write(self, work: Work[ResultT]) -> ResultT:
        """Run work in one write transaction, one at a time, and return when that is durable.

        Raises:
            SQLAlchemyError: The database refused; nothing was stored.
            OSError: It cannot be reached.
        """

    async def read(self, *queries: AnySelect) -> Sequence[Sequence[AnyRow]]:
        """Read the rows of each query; each sees what is committed when it runs.

        Raises:
            StorageError: The database could not be read.
        """

    def close(self) -> None:
        """Let nothing more in; a second call does nothing."""


def transactions_of(engine: AsyncEngine) -> Transactions:
    """The way that suits a database.

    Args:
        engine: From `database.make_engine`.

    Returns:
        Threads for a file, the loop for a server.
    """
    return InThreads(engine) if engine.dialect.name == "sqlite" else OnTheLoop(engine)


class OnTheLoop:
    """A server's transactions.

    Args:
        engine: The database.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._readers = engine.execution_options(**{database.READER: True})

    async def write(self, work: Work[ResultT]) -> ResultT:
        """Await each statement."""
        async with self._engine.begin() as connection:
            return await work(connection)

    async def read(self, *queries: AnySelect) -> Sequence[Sequence[AnyRow]]:
        """Await each query."""
        try:
            async with self._readers.connect() as connection:
                return [(await connection.execute(query)).all() for query in queries]
        except (SQLAlchemyError, OSError) as error:
            raise _unreadable(error) from error

    def close(self) -> None:
        """Nothing is kept beside the engine."""


class InThreads:
    """A file's transactions: one thread writes, as one connection can; some read.

    Args:
        engine: The database, for what is done beside this (its migrations).
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._outer = engine
        self._engine = _beside(engine)
        self._readers = self._engine.execution_options(**{database.READER: True})
        self._writing = ThreadPoolExecutor(1, "sql-writer")
        self._reading = ThreadPoolExecutor(READERS, "sql-reader")
        self._is_closed = False

    async def write(self, work: Work[ResultT]) -> ResultT:
        """Run the whole in the writer's thread, where `work` may wait for nothing but its connection."""
        return await asyncio.get_running_loop().run_in_executor(self._writing, self._written, work)

    async def read(self, *queries: AnySelect) -> Sequence[Sequence[AnyRow]]:
        """Run all of them in one reader's thread."""
        if self._is_closed:
            raise StorageError("the hub is stopping: nothing more is read")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reading, self._read, queries)
        except (SQLAlchemyError, OSError) as error:
            raise _unreadable(error) from error

    def close(self) -> None:
        """End the threads and disconnect."""
        self._is_closed = True
        self._writing.shutdown()
        self._reading.shutdown()
        self._engine.dispose()

    def _written(self, work: Work[ResultT]) -> ResultT:
        with self._engine.begin() as connection:
            return _driven(work(_Direct(self._outer, connection)))

    def _read(self, queries: Sequence[AnySelect]) -> Sequence[Sequence[AnyRow]]:
        with self._readers.connect() as connection:
            return [connection.execute(query).all() for query in queries]


class _Direct(AsyncConnection):
    """A connection whose statements have run when `execute` returns: nothing is left to wait for."""

    async def execute(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> Any:  # noqa: ANN401 - the types are those of AsyncConnection, whose overloads they stand for
        """Run one statement in this thread."""
        return self._proxied.execute(statement, parameters, execution_options=execution_options)


def _beside(engine: AsyncEngine) -> Engine:
    """The same file through Python's own driver, which calls SQLite in the thread that asks."""
    beside = create_engine(engine.url.set(drivername="sqlite"))
    database.prepare_sqlite(beside)
    return beside


def _driven(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run a coroutine to its end in this thread; its connection never makes it wait."""
    try:
        work.send(None)
    except StopIteration as end:
        result: ResultT = end.value
        return result
    work.close()
    raise RuntimeError("a transaction on SQLite awaited something else than its connection")


def _unreadable(error: Exception) -> StorageError:
    return StorageError(f"the database could not be read: {getattr(error, 'orig', None) or error}")
