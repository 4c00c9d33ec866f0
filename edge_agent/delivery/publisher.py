"""Owns the last mile: committed messages go to their brokers until each is acknowledged, then their rows are trimmed.

The pipeline publishes its own answers directly and marks them as in flight here; this loop publishes what is left
over from outages and earlier runs, and revisions. Rows, order and bounds are the store's.
"""

import logging
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from edge_agent.ports import Broker, Publish, RowId

_BATCH = 200
WAIT_S = 1.0
"""How long a turn waits when nothing wakes it."""

logger = logging.getLogger(__name__)


class PublishRows(Protocol):
    """The store as the publisher sees it."""

    def publishable(self, broker: str, limit: int, in_flight: Collection[RowId]) -> list[Publish]:
        """Committed messages for a broker, oldest first, without those in flight."""
        ...

    def published(self, rows: Sequence[RowId]) -> None:
        """Trim acknowledged rows; returns after the commit."""
        ...


class Publisher:
    """Publishes committed rows. `run_once` is its loop's body; the other methods may be called from any thread.

    Args:
        store: The rows.
        brokers: By name.
    """

    def __init__(self, store: PublishRows, brokers: Mapping[str, Broker]) -> None:
        self._store = store
        self._brokers = brokers
        self._changed = threading.Condition()
        self._is_due = True
        self._acknowledged: list[RowId] = []
        self._in_flight: dict[str, set[RowId]] = {name: set() for name in brokers}

    def publish_now(self, publish: Publish) -> bool:
        """Publish a message whose row is on its way to the store, if its broker can take it; else `run_once` will.

        Call `take` before the row is handed to the store, and this after it.
        """
        if self._brokers[publish.broker].publish(publish):
            return True
        self._give_back(publish)
        return False

    def take(self, publish: Publish) -> bool:
        """Mark a message as in flight, so that the loop leaves it alone; False when its broker is not connected."""
        if not self._brokers[publish.broker].connected:
            return False
        with self._changed:
            self._in_flight[publish.broker].add(publish.row)
        return True

    def wake(self) -> None:
        """Something was committed that is to be published."""
        with self._changed:
            self._is_due = True
            self._changed.notify_all()

    def acknowledged(self, rows: Sequence[RowId]) -> None:
        """A broker has these messages."""
        with self._changed:
            self._acknowledged += rows
            self._is_due = True
            self._changed.notify_all()

    def connection_changed(self, broker: str, *, is_up: bool) -> None:
        """A connection came or went; what was in flight on a lost one is published again on the next."""
        with self._changed:
            if not is_up:
                self._in_flight[broker].clear()
            self._is_due = True
            self._changed.notify_all()

    def run_once(self) -> None:
        """Wait until there is something to do, or for a second; trim what is acknowledged; publish what waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_due, WAIT_S)
            self._is_due = False
            done = tuple(self._acknowledged)
        if done:
            self._store.published([row for row in done if row])  # if it fails, they are still here for the next turn
            with self._changed:
                del self._acknowledged[: len(done)]
                for rows in self._in_flight.values():
                    rows.difference_update(done)
        for name, broker in self._brokers.items():
            if broker.connected:
                self._publish_waiting(name, broker)

    def _publish_waiting(self, name: str, broker: Broker) -> None:
        with self._changed:
            in_flight = frozenset(self._in_flight[name])
        waiting = self._store.publishable(name, _BATCH, in_flight)
        for publish in waiting:
            if not self.take(publish):
                return
            if not broker.publish(publish):
                self._give_back(publish)
                return
        if len(waiting) == _BATCH:
            self.wake()

    def _give_back(self, publish: Publish) -> None:
        with self._changed:
            self._in_flight[publish.broker].discard(publish.row)
