"""Owns which records were seen lately, per binding: the memory's twin of the store's `seen` table."""

from collections import OrderedDict
from collections.abc import Iterable


class SeenKeys:
    """The newest dedupe keys.

    Args:
        limit: How many are remembered.
        keys: As the store remembers them, oldest first.
    """

    def __init__(self, limit: int, keys: Iterable[bytes] = ()) -> None:
        self._limit = limit
        self._keys: OrderedDict[bytes, None] = OrderedDict.fromkeys(keys)

    def __contains__(self, key: bytes) -> bool:
        return key in self._keys

    def add(self, key: bytes) -> list[bytes]:
        """Remember a key.

        Args:
            key: One that is not in it.

        Returns:
            Keys that had to be forgotten.
        """
        self._keys[key] = None
        forgotten = []
        while len(self._keys) > self._limit:
            forgotten.append(self._keys.popitem(last=False)[0])
        return forgotten
