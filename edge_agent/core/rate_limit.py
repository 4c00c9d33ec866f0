"""Owns a rate limit for each of many keys, in memory and of bounded size. Pure: the caller's clock goes in."""

from collections import OrderedDict

from edge_agent.core.budget import Bucket, BucketSpec, lease, refilled

MAX_KEYS = 1000


class RateLimit:
    """At most so many a second for each key, and a first burst.

    Args:
        spec: Each key's bucket.
    """

    def __init__(self, spec: BucketSpec) -> None:
        self._spec = spec
        self._buckets: OrderedDict[str, tuple[Bucket, float]] = OrderedDict()

    def takes(self, key: str, now_s: float) -> bool:
        """Let one pass, if its key's bucket allows it.

        Args:
            key: Whose.
            now_s: Monotonic.

        Returns:
            Whether it passes. A key that was forgotten, since so many others came after it, begins with a full bucket.
        """
        bucket, since_s = self._buckets.pop(key, (Bucket(self._spec.capacity), now_s))
        bucket, granted = lease(refilled(bucket, self._spec, now_s - since_s), 1.0, 1.0)
        self._buckets[key] = (Bucket(bucket.level), max(now_s, since_s))
        while len(self._buckets) > MAX_KEYS:
            self._buckets.popitem(last=False)
        return granted > 0
