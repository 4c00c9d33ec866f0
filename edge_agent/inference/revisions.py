"""Owns telling callers who wait what became of their answers: an inbox for each of them, by prediction id.

The store tells of revisions after their commit; how long a caller waits, and who may, is its adapter's business.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Sequence

from edge_agent.ports import Event


class Inbox:
    """What one caller waits for; `give_up` may be called from any thread.

    Args:
        timeout_s: How long it waits at most.
        now_s: Monotonic.
    """

    def __init__(self, timeout_s: float, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._until_s = now_s() + timeout_s
        self._news: queue.SimpleQueue[Event | None] = queue.SimpleQueue()

    def put(self, event: Event) -> None:
        """Hand in a changed event of one of its predictions."""
        self._news.put(event)

    def give_up(self) -> None:
        """The caller is gone, or has to be answered now."""
        self._news.put(None)

    def next(self) -> Event | None:
        """The next event; None when the time is over, or the caller gave up."""
        try:
            return self._news.get(timeout=max(0.0, self._until_s - self._now_s()))
        except queue.Empty:
            return None


class Revisions:
    """All inboxes of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, Inbox] = {}

    def expect(self, prediction_ids: Iterable[str], inbox: Inbox) -> None:
        """Let an inbox be told of these predictions; called before anybody can answer them."""
        with self._lock:
            self._waiting |= dict.fromkeys(prediction_ids, inbox)

    def forget(self, prediction_ids: Iterable[str]) -> None:
        """Nobody waits for these any more."""
        with self._lock:
            for one in prediction_ids:
                self._waiting.pop(one, None)

    def is_awaited(self, prediction_id: str) -> bool:
        """Whether somebody waits for this prediction."""
        return prediction_id in self._waiting

    def told(self, events: Sequence[Event]) -> None:
        """These events were committed; called from the store's thread."""
        with self._lock:
            found = [(self._waiting.get(event["id"]), event) for event in events] if self._waiting else []
        for inbox, event in found:
            if inbox is not None:
                inbox.put(event)

    def close(self) -> None:
        """Answer everybody who waits as it stands; may be called twice."""
        with self._lock:
            inboxes = list(self._waiting.values())
        for inbox in inboxes:
            inbox.give_up()
