"""Owns telling callers who wait what became of their answers: an inbox for each of them, by prediction id.

The store tells of revisions after their commit; how long a caller waits, and who may, is its adapter's business.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, Protocol
from weakref import WeakValueDictionary

from edge_agent.core.local_call import CalledRow, is_open, revised_row
from edge_agent.ports import Event

_LOOK_EVERY_S: Final = 0.25


class Told(Protocol):
    """Where one caller hears of its predictions; any thread may tell."""

    def put(self, event: Event) -> None:
        """Hand in a changed event of one of its predictions."""
        ...

    def give_up(self) -> None:
        """The caller has to be answered now."""
        ...


class Inbox:
    """What a caller waits for that holds a thread meanwhile.

    Args:
        timeout_s: How long it waits at most.
        now_s: Monotonic.
        is_there: Whether it is still there, looked at a few times a second.
    """

    def __init__(
        self, timeout_s: float, now_s: Callable[[], float], is_there: Callable[[], bool] = lambda: True
    ) -> None:
        self._now_s = now_s
        self._is_there = is_there
        self._until_s = now_s() + timeout_s
        self._news: queue.SimpleQueue[Event | None] = queue.SimpleQueue()

    def put(self, event: Event) -> None:
        """Hand in a changed event of one of its predictions."""
        self._news.put(event)

    def give_up(self) -> None:
        """The caller has to be answered now."""
        self._news.put(None)

    def next(self) -> Event | None:
        """The next event; None when the time is over, or the caller left or gave up."""
        while True:
            left_s = max(0.0, self._until_s - self._now_s())
            try:
                return self._news.get(timeout=min(left_s, _LOOK_EVERY_S))
            except queue.Empty:
                if left_s <= _LOOK_EVERY_S or not self._is_there():
                    return None


class LoopInbox:
    """What a coroutine waits for, which holds no thread; made on its loop, told from any thread.

    Args:
        timeout_s: How long it waits at most.
    """

    def __init__(self, timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._until_s = self._loop.time() + timeout_s
        self._news: asyncio.Queue[Event | None] = asyncio.Queue()

    def put(self, event: Event) -> None:
        """Hand in a changed event of one of its predictions."""
        self._tell(event)

    def give_up(self) -> None:
        """The caller has to be answered now."""
        self._tell(None)

    async def next(self) -> Event | None:
        """The next event; None when the time is over, or the caller has to be answered."""
        try:
            async with asyncio.timeout_at(self._until_s):
                return await self._news.get()
        except TimeoutError:
            return None

    def _tell(self, event: Event | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits on it
            self._loop.call_soon_threadsafe(self._news.put_nowait, event)


class Revisions:
    """All inboxes of one process; who waits holds its own, and is forgotten with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: WeakValueDictionary[str, Told] = WeakValueDictionary()

    def expect(self, prediction_ids: Iterable[str], inbox: Told) -> None:
        """Let an inbox be told of these predictions; called before anybody can answer them."""
        with self._lock:
            self._waiting.update(dict.fromkeys(prediction_ids, inbox))

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


class OpenRows:
    """An answer's rows, some of which the hub may still change."""

    def __init__(self, rows: Sequence[CalledRow]) -> None:
        self.rows = list(rows)
        self.places = {row.prediction_id: place for place, row in enumerate(rows) if is_open(row)}
        self.names = tuple(self.places)

    def take(self, told: Event) -> None:
        """Hear of one row; what is said of another prediction, or said again, is passed over."""
        place = self.places.pop(told["id"], None)
        if place is not None:
            self.rows[place] = revised_row(self.rows[place], told)
