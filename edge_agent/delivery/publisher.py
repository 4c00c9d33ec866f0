"""Owns the last mile: committed messages go to their brokers until each is acknowledged, then their rows are trimmed.

The pipeline publishes its own answers directly and marks them as in flight here; this loop publishes what is left
over from outages and earlier runs, and revisions. It takes a part of the broker's window only, so that live answers do
not stand behind a backlog. What a broker refuses leaves its window and is tried again later; it holds up nothing else.
Rows, order and bounds are the store's.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from edge_agent.ports import Broker, Publish, RowId

BACKLOG_IN_FLIGHT = 50
"""How many of the loop's own messages may be unacknowledged at a broker: half of the agent's window."""

REFUSED_S = 30.0
"""How long a message waits that its broker refused."""

_MOST_REFUSED = 1000
WAIT_S = 1.0
"""How long a turn waits when nothing wakes it."""

TRIM_S = 0.1
"""How long acknowledged messages wait for others, to be trimmed with them."""

logger = logging.getLogger(__name__)


class PublishRows(Protocol):
    """The store as the publisher sees it."""

    def publishable(self, broker: str, limit: int, in_flight: Collection[RowId]) -> list[Publish]:
        """Committed messages for a broker, in the order of sending, without those in flight."""
        ...

    def delivered(self, rows: Sequence[RowId]) -> None:
        """These are about to be trimmed: those that are not committed yet need not be written; never waits."""
        ...

    def published(self, rows: Sequence[RowId]) -> None:
        """Trim acknowledged rows; returns after the commit."""
        ...


class Publisher:
    """Publishes committed rows. `run_once` is its loop's body; the other methods may be called from any thread.

    Args:
        store: The rows.
        brokers: By name.
        is_held: Whether the store takes nothing new: then nothing is published before it is committed.
        monotonic_s: For how long a refused message waits.
    """

    def __init__(
        self,
        store: PublishRows,
        brokers: Mapping[str, Broker],
        *,
        is_held: Callable[[], bool] = lambda: False,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._brokers = brokers
        self._is_held = is_held
        self._monotonic_s = monotonic_s
        self._changed = threading.Condition()
        self._is_due = True
        self._acknowledged: list[RowId] = []
        self._in_flight: dict[str, set[RowId]] = {name: set() for name in brokers}
        self._backlog: dict[str, set[RowId]] = {name: set() for name in brokers}  # of these, what the loop published
        self._refused_until_s: dict[str, dict[RowId, float]] = {name: {} for name in brokers}

    def publish_now(self, publishes: Sequence[Publish]) -> None:
        """Publish messages whose rows are about to be handed to the store; what no broker can take, `run_once` will.

        They are marked as in flight first, so that the loop leaves them alone. A broker's acknowledgement may overtake
        the row; the store knows what to make of that (`delivered`).
        """
        if self._is_held():
            return
        by_broker: dict[str, list[Publish]] = {}
        for publish in publishes:
            by_broker.setdefault(publish.broker, []).append(publish)
        for name, own in by_broker.items():
            broker = self._brokers[name]
            if not broker.connected:
                continue
            with self._changed:
                self._in_flight[name].update([publish.row for publish in own])
            left = broker.publish(own)
            if left:
                self._give_back(name, left)

    def wake(self) -> None:
        """Something was committed that is to be published."""
        with self._changed:
            self._is_due = True
            self._changed.notify_all()

    def acknowledged(self, rows: Sequence[RowId]) -> None:
        """A broker has these messages."""
        self._store.delivered(rows)
        with self._changed:
            is_first = not self._acknowledged
            self._acknowledged += rows
            # What the loop has published itself makes room for more of it; the rest is only to be trimmed, some time.
            if any(not own.isdisjoint(rows) for own in self._backlog.values() if own):
                self._is_due = True
            if is_first or self._is_due:
                self._changed.notify_all()

    def refused(self, broker: str, rows: Sequence[RowId]) -> None:
        """A broker has answered these messages with an error: they are handed to it again after a while."""
        until_s = self._monotonic_s() + REFUSED_S
        with self._changed:
            self._forget(broker, rows)
            self._refused_until_s[broker].update((row, until_s) for row in rows if row)
            self._is_due = True
            self._changed.notify_all()

    def connection_changed(self, broker: str, *, is_up: bool) -> None:
        """A connection came or went; what was in flight on a lost one is published again on the next."""
        with self._changed:
            if not is_up:
                self._in_flight[broker].clear()
                self._backlog[broker].clear()
                self._refused_until_s[broker].clear()
            self._is_due = True
            self._changed.notify_all()

    def run_once(self) -> None:
        """Wait until there is something to do, or for a second; trim what is acknowledged; publish what waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_due or bool(self._acknowledged), WAIT_S)
            self._changed.wait_for(lambda: self._is_due, TRIM_S if self._acknowledged else 0.0)
            self._is_due = False
            done = tuple(self._acknowledged)
        if done:
            self._store.published([row for row in done if row])  # if it fails, they are still here for the next turn
            with self._changed:
                del self._acknowledged[: len(done)]
                for name in self._brokers:
                    self._forget(name, done)
        for name, broker in self._brokers.items():
            if broker.connected:
                self._publish_waiting(name, broker)

    def _publish_waiting(self, name: str, broker: Broker) -> None:
        now_s = self._monotonic_s()
        with self._changed:
            refused = {row: until_s for row, until_s in self._refused_until_s[name].items() if until_s > now_s}
            self._refused_until_s[name] = dict(refused)
            in_flight = frozenset((*self._in_flight[name], *refused))
            room = BACKLOG_IN_FLIGHT - len(self._backlog[name])
        if room <= 0 or len(refused) >= _MOST_REFUSED:
            return
        waiting = self._store.publishable(name, room, in_flight)
        rows = [publish.row for publish in waiting]
        with self._changed:
            self._in_flight[name].update(rows)
            self._backlog[name].update(rows)
        left = broker.publish(waiting) if waiting else []
        if left:
            self._give_back(name, left)

    def _give_back(self, broker: str, publishes: Sequence[Publish]) -> None:
        with self._changed:
            self._forget(broker, [publish.row for publish in publishes])

    def _forget(self, broker: str, rows: Iterable[RowId]) -> None:
        """Take rows out of what is in flight; the caller holds the lock."""
        gone = tuple(rows)
        self._in_flight[broker].difference_update(gone)
        self._backlog[broker].difference_update(gone)
