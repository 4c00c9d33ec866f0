"""Owns writing together what comes together: the values of many callers in one job of the writer.

Where a job of its own would cost each caller several statements, a gathered job costs all of them the same few.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql.writer import Writer

ValueT = TypeVar("ValueT")
ResultT = TypeVar("ResultT")


@dataclass(slots=True, eq=False)
class _Batch(Generic[ValueT, ResultT]):
    values: list[ValueT] = field(default_factory=list)
    written: "asyncio.Future[Sequence[ResultT]] | None" = None


class Gathering(Generic[ValueT, ResultT]):
    """Gathers values until their job runs.

    Args:
        writer: Runs the job.
        job: Writes values, in the order in which they came, and returns one result for each.
        patience_s: How long the first value waits for others.
    """

    def __init__(
        self,
        writer: Writer,
        job: Callable[[AsyncConnection, Sequence[ValueT]], Awaitable[Sequence[ResultT]]],
        patience_s: float,
    ) -> None:
        self._writer = writer
        self._job = job
        self._patience_s = patience_s
        self._batch: _Batch[ValueT, ResultT] | None = None

    async def write(self, value: ValueT) -> ResultT:
        """Write a value with those that come meanwhile, and wait until it is durable.

        Args:
            value: What to write.

        Returns:
            Its result.

        Raises:
            StorageError: The database refused; nothing of the whole batch was stored.
        """
        batch = self._batch
        if batch is None or batch.written is None or batch.written.done():
            batch = self._batch = _Batch()
            batch.written = asyncio.ensure_future(self._write(batch))
        place = len(batch.values)
        batch.values.append(value)
        return (await asyncio.shield(batch.written))[place]

    async def _write(self, batch: _Batch[ValueT, ResultT]) -> Sequence[ResultT]:
        def end() -> None:
            self._batch = None  # what comes from now on is the next batch's

        async def run(connection: AsyncConnection) -> Sequence[ResultT]:
            return await self._job(connection, batch.values)

        return await self._writer.write(run, patience_s=self._patience_s, on_begin=end)
