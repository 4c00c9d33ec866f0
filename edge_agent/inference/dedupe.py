"""Owns which records were seen lately, per binding: the memory's twin of the store's `seen` table."""

from collections import OrderedDict
from collections.abc import Iterable

_FORGOTTEN_AT_ONCE = 4


class SeenKeys:
    """The newest dedupe keys, none much older than an age.

    What is too old goes as new keys come, a few with each, so that no commit has to forget a day's keys at once.

    Args:
        limit: How many are remembered.
        max_age_s: Older ones go.
        keys: As the store remembers them, oldest first; their age counts from `now_s`, since nobody kept it.
        now_s: Monotonic.
    """

    def __init__(self, limit: int, max_age_s: float, keys: Iterable[bytes] = (), now_s: float = 0.0) -> None:
        self._limit = limit
        self._max_age_s = max_age_s
        self._keys: OrderedDict[bytes, float] = OrderedDict.fromkeys(keys, now_s)

    def __contains__(self, key: bytes) -> bool:
        return key in self._keys

    def add(self, key: bytes, now_s: float) -> list[bytes]:
        """Remember a key.

        Args:
            key: One that is not in it.
            now_s: Monotonic.

        Returns:
            Keys that had to be forgotten.
        """
        keys = self._keys
        keys[key] = now_s
        forgotten = []
        while len(keys) > self._limit:
            forgotten.append(keys.popitem(last=False)[0])
        too_old_s = now_s - self._max_age_s
        while len(forgotten) < _FORGOTTEN_AT_ONCE and next(iter(keys.values())) < too_old_s:
            forgotten.append(keys.popitem(last=False)[0])
        return forgotten
