"""Owns the order of PUBACKs on one connection (MQTT 5, section 4.6: in the order in which the messages came).

Pure and single-threaded: the caller holds the lock and sends.
"""

from collections import deque
from collections.abc import Iterable


class AckOrder:
    """Messages of one connection that wait for their acknowledgement, in the order of their arrival."""

    def __init__(self) -> None:
        self._waiting: deque[int] = deque()
        self._open: set[int] = set()
        self._done: set[int] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def arrived(self, message_id: int) -> None:
        """A message came that will have to be acknowledged."""
        self._waiting.append(message_id)
        self._open.add(message_id)

    def acknowledge(self, message_ids: Iterable[int]) -> list[int]:
        """Note that these may be acknowledged; one that does not wait (any more) is passed over: its id comes again.

        Returns:
            The ids to send now: the longest run, from the oldest on, that may all be acknowledged.
        """
        self._done.update(self._open.intersection(message_ids))
        ready = []
        while self._waiting and self._waiting[0] in self._done:
            message_id = self._waiting.popleft()
            self._done.discard(message_id)
            self._open.discard(message_id)
            ready.append(message_id)
        return ready
