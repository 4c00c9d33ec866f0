"""Owns the rows of the outbox: what waits for the hub or for a broker, numbered by class, and the bytes in use.

What an insert, an eviction or a delivery means for a prediction is `fates.py`.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from edge_agent.adapters.sqlite.age import OLDER, Stamp
from edge_agent.adapters.sqlite.transaction import Transaction
from edge_agent.ports import BindingName, Publish, RowId
from protos.messages.escalation import ItemClass, PredictionId

HUB = "hub"
ROW_OVERHEAD_BYTES = 200
"""What a row costs beside its payload: columns, indexes, page slack; counted against the bound."""

_OLDEST_LIMIT = 500


class Subject(StrEnum):
    """What a row carries."""

    PREDICTION = "prediction"
    REVISION = "revision"
    ESCALATION = "escalation"


class RowState(StrEnum):
    """Where a row stands; `acked` rows wait for their verdict, in case the hub has to be told again."""

    QUEUED = "queued"
    SENT = "sent"
    ACKED = "acked"


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One thing to deliver; without `seq` it gets the next number of its class."""

    row: RowId
    item_class: ItemClass
    destination: str
    subject: Subject
    binding: BindingName
    prediction_id: PredictionId
    payload: bytes
    topic: str = ""
    qos: int = 1
    retain: bool = False
    expiry_s: int | None = None
    seq: int | None = None

    @classmethod
    def of_publish(cls, publish: Publish, subject: Subject, binding: BindingName, prediction_id: PredictionId) -> Self:
        """The row of a message for a broker."""
        return cls(
            publish.row,
            ItemClass.PREDICTION,
            broker_destination(publish.broker),
            subject,
            binding,
            prediction_id,
            publish.payload,
            publish.topic,
            publish.qos,
            publish.retain,
            publish.expiry_s,
        )

    @property
    def bytes(self) -> int:
        """What it counts against the bound."""
        return len(self.payload) + len(self.topic) + ROW_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row of the outbox without its payload."""

    row: RowId
    item_class: ItemClass
    subject: Subject
    state: RowState
    binding: BindingName
    prediction_id: PredictionId
    bytes: int


def broker_destination(broker: str) -> str:
    """How a broker is named as a destination."""
    return f"mqtt:{broker}"


def next_seq(tx: Transaction, item_class: ItemClass) -> int:
    """Take the next number of a class; it is never given out again, even if the row goes."""
    found = tx.connection.execute(
        "INSERT INTO sequence VALUES (?, 1) ON CONFLICT DO UPDATE SET last = last + 1 RETURNING last", (item_class,)
    ).fetchone()
    return int(found[0])


def insert(tx: Transaction, row: OutboxRow) -> None:
    """Write a row."""
    now = tx.now
    seq = next_seq(tx, row.item_class) if row.seq is None else row.seq
    tx.connection.execute(
        "INSERT INTO outbox VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            row.row, row.item_class, seq, row.destination, RowState.QUEUED, row.subject, row.binding,
            row.prediction_id, row.topic, row.qos, row.retain, row.expiry_s, row.payload, row.bytes,
            now.wall_ns, now.monotonic_s, now.boot_id, now.synced,
        ),
    )  # fmt: skip
    if row.destination == HUB:
        tx.wakes_link = True
    else:
        tx.wakes_publisher = True


def delete(tx: Transaction, row: RowId) -> bool:
    """Remove a row; False when it was gone."""
    return tx.connection.execute("DELETE FROM outbox WHERE row = ?", (row,)).rowcount > 0


def delete_item(tx: Transaction, item_class: ItemClass, seq: int) -> None:
    """Remove what was numbered (class, seq), if it is still there."""
    tx.connection.execute("DELETE FROM outbox WHERE class = ? AND seq = ?", (item_class, seq))


def usage_bytes(connection: sqlite3.Connection) -> dict[ItemClass, int]:
    """Bytes in use by class."""
    return {ItemClass(c): int(b) for c, b in connection.execute("SELECT class, bytes FROM usage")}


def stored(connection: sqlite3.Connection, where: str, parameters: Mapping[str, object], limit: int) -> list[StoredRow]:
    """Rows, oldest first, that a condition of this package's own picks."""
    found = connection.execute(
        "SELECT row, class, subject, state, binding, prediction_id, bytes FROM outbox "  # noqa: S608 - own conditions
        f"WHERE {where} ORDER BY row LIMIT :limit",
        {**parameters, "limit": limit},
    )
    return [
        StoredRow(RowId(r), ItemClass(c), Subject(s), RowState(st), BindingName(b), PredictionId(p), size)
        for r, c, s, st, b, p, size in found
    ]


def oldest(connection: sqlite3.Connection, item_class: ItemClass) -> list[StoredRow]:
    """The oldest rows of a class, a thousand or so; those that only wait for a verdict come first."""
    found: list[StoredRow] = []
    for condition in ("class = :class AND state = 'acked'", "class = :class AND state != 'acked'"):
        found += stored(connection, condition, {"class": item_class}, _OLDEST_LIMIT)
    return found


def overdue(connection: sqlite3.Connection, now: Stamp, limit: int) -> list[StoredRow]:
    """Messages for brokers that are known to be older than their own expiry."""
    return stored(
        connection,
        f"destination != 'hub' AND expiry_s IS NOT NULL AND {OLDER.format(limit_s='expiry_s')}",
        now.parameters(),
        limit,
    )
