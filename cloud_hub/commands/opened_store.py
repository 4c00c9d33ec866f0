"""Owns opening the hub's database for one command, also beside a running hub."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cloud_hub.adapters.sql import database
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.config import HubConfig

ResultT = TypeVar("ResultT")


def with_store(config: HubConfig, work: Callable[[SqlStore], Awaitable[ResultT]]) -> ResultT:
    """Open the database, do one thing, close it.

    Args:
        config: Names the database.
        work: Gets the open store.

    Returns:
        What the work returned.

    Raises:
        StorageError: The database cannot be used, or refused the work.
    """

    async def opened() -> ResultT:
        store = SqlStore(database.make_engine(config.database), time.time_ns)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(store.close)
            await store.open()
            return await work(store)

    return asyncio.run(opened())
