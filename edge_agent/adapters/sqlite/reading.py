"""Owns reading edge.db: one connection that cannot write, and snapshots that are each one transaction.

Works while the agent runs, after it died, and from another process. What the figures mean together is
`core/accounting.py`; how a person sees them is the commands'.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.adapters.sqlite.age import Stamp
from edge_agent.adapters.sqlite.errors import primary, translated
from edge_agent.adapters.sqlite.schema import open_reader, refuse_older
from edge_agent.ports import BindingName, CounterKey, JournalRow, Remembered, RowId
from protos.messages.escalation import ItemClass

Read = Callable[..., list[tuple[Any, ...]]]
"""`read(sql, *parameters)` or `read(sql, name=parameter)` inside one read transaction."""


@dataclass(frozen=True, slots=True)
class ClassUse:
    """What waits in one class of the outbox; `oldest_age_s` is None when its age is not known."""

    item_class: ItemClass
    items: int
    bytes: int
    oldest_age_s: float | None


@dataclass(frozen=True, slots=True)
class LastPrediction:
    """The newest prediction of a binding; `age_s` is None when the age is not known."""

    binding: BindingName
    prediction_id: str
    status: str
    age_s: float | None


class Reader:
    """One read-only connection; threads take turns.

    Args:
        path: edge.db.
        is_marking: Whether damage is noted for the next start: only the agent's own readers do that.
    """

    def __init__(self, path: Path, *, is_marking: bool = False) -> None:
        self._path = path
        self._is_marking = is_marking
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Connect.

        Raises:
            StoreError: There is no file, it cannot be read, or a newer major version wrote it.
        """
        self._connection = open_reader(self._path, is_marking=self._is_marking)

    def close(self) -> None:
        """Disconnect; may be called twice."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def transaction(self) -> Iterator[Read]:
        """Several reads that see one commit.

        Raises:
            StoreUpgradeError: What is read came with a version that did not open the file yet.
            StoreError: The file cannot be read.
        """
        with self._lock, translated(self._path, is_marking=self._is_marking):
            connection = self._connection
            if connection is None:
                raise sqlite3.ProgrammingError("the store is closed")

            def read(sql: str, *parameters: object, **named: object) -> list[tuple[Any, ...]]:
                return connection.execute(sql, named or parameters).fetchall()

            connection.execute("BEGIN")
            try:
                yield read
            except sqlite3.OperationalError as error:
                if primary(error) == sqlite3.SQLITE_ERROR:  # no such table, or column
                    refuse_older(connection, self._path)
                raise
            finally:
                connection.execute("ROLLBACK")

    def figures(self) -> dict[CounterKey, int]:
        """Every counter, and what rows say is pending, at one commit."""
        with self.transaction() as read:
            figures: dict[CounterKey, int] = {
                (BindingName(b), str(n)): int(v) for b, n, v in read("SELECT binding, name, value FROM counter")
            }
            pending = (
                *read("SELECT binding, 'samples_pending', sum(pending) FROM journal GROUP BY binding"),
                *read(
                    "SELECT binding, subject || 's_pending_publish', count(*) FROM outbox "
                    "WHERE destination >= 'mqtt:' AND destination < 'mqtt;' GROUP BY binding, subject"
                ),
                *read("SELECT '', 'feedback_pending', count(*) FROM outbox WHERE destination = 'hub:feedback'"),
                *read(
                    "SELECT binding, iif(class = 4, 'audits', 'escalations') || '_pending{' || state || '}', count(*) "
                    "FROM escalation WHERE state IN ('queued', 'sent', 'acked') GROUP BY binding, class, state"
                ),
            )
            figures.update({(BindingName(b), str(n)): int(v) for b, n, v in pending})
            return figures

    def remembered(self, binding: BindingName) -> Remembered:
        """What the last commit left of a binding."""
        with self.transaction() as read:
            rows = read(
                "SELECT row, binding, partition, received_ns, times_ns, vectors, pending FROM journal "
                "WHERE binding = ? ORDER BY row",
                binding,
            )
            return Remembered(
                states=dict(read("SELECT partition, state FROM partition_state WHERE binding = ?", binding)),
                journal=tuple(JournalRow(RowId(row[0]), *row[1:]) for row in rows),
                seen=tuple(key for (key,) in read("SELECT key FROM seen WHERE binding = ? ORDER BY number", binding)),
            )

    def outbox(self, now: Stamp) -> tuple[ClassUse, ...]:
        """What waits in the outbox, by class; what the hub has and is only retained does not."""
        with self.transaction() as read:
            uses = []
            for item_class, items, used in read(
                "SELECT u.class, u.items - coalesce(r.items, 0) AS waiting, u.bytes - coalesce(r.bytes, 0) "
                "FROM usage AS u LEFT JOIN retained_usage AS r ON r.class = u.class WHERE waiting > 0"
            ):
                oldest = read(
                    "SELECT wall_ns, monotonic_s, boot_id, synced FROM outbox "
                    "WHERE class = ? AND state != 'acked' ORDER BY seq LIMIT 1",
                    item_class,
                )
                uses.append(ClassUse(ItemClass(item_class), items, used, _age_s(oldest[0], now)))
            return tuple(uses)

    def last_predictions(self, now: Stamp) -> tuple[LastPrediction, ...]:
        """The newest prediction of each binding."""
        with self.transaction() as read:
            rows = read(
                "SELECT binding, id, status, wall_ns, monotonic_s, boot_id, synced FROM prediction "
                "WHERE number IN (SELECT max(number) FROM prediction GROUP BY binding)"
            )
            return tuple(LastPrediction(b, i, status, _age_s(tuple(stamp), now)) for b, i, status, *stamp in rows)


def _age_s(stamp: tuple[Any, ...], now: Stamp) -> float | None:
    wall_ns, monotonic_s, boot_id, synced = stamp
    return Stamp(wall_ns, monotonic_s, boot_id, bool(synced)).age_s(now)
