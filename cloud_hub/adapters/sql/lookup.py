"""Owns reading together what is asked together: the keys of many callers in one query.

After an outage a whole fleet knocks at once, and each device is looked up for each of its streams. One by one, every
lookup is a query to build and a thread to wake.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
FoundT = TypeVar("FoundT")

MOST = 1000
"""Keys in one read."""


@dataclass(slots=True, eq=False)
class _Batch(Generic[KeyT, FoundT]):
    keys: dict[KeyT, None] = field(default_factory=dict)
    found: "asyncio.Future[Mapping[KeyT, FoundT]] | None" = None


class Lookup(Generic[KeyT, FoundT]):
    """Looks up keys; what is asked while a read runs is in the next one, so that each sees what was committed before.

    Args:
        read: Reads what is known of some keys.
    """

    def __init__(self, read: Callable[[Sequence[KeyT]], Awaitable[Mapping[KeyT, FoundT]]]) -> None:
        self._read = read
        self._reading = asyncio.Lock()
        self._batch: _Batch[KeyT, FoundT] | None = None

    async def find(self, key: KeyT) -> FoundT | None:
        """Look one up, with those that are asked for meanwhile.

        Args:
            key: Whose.

        Returns:
            What is known of it; None when nothing is.

        Raises:
            StorageError: The database could not be read.
        """
        batch = self._batch
        if batch is None or batch.found is None or len(batch.keys) >= MOST:
            batch = self._batch = _Batch()
            batch.found = asyncio.ensure_future(self._find(batch))
        batch.keys[key] = None
        return (await asyncio.shield(batch.found)).get(key)

    async def _find(self, batch: _Batch[KeyT, FoundT]) -> Mapping[KeyT, FoundT]:
        async with self._reading:
            if self._batch is batch:
                self._batch = None
            return await self._read(tuple(batch.keys))
