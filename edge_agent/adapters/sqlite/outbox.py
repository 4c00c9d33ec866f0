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
HUB_FEEDBACK = "hub:feedback"
ROW_OVERHEAD_BYTES = 200
"""What a row costs beside its payload: columns, indexes, page slack; counted against the bound."""

LAST_ROW = 2**63 - 1
"""No row has a larger number."""

_OLDEST_LIMIT = 64
_BROKERS = "mqtt:"


class Subject(StrEnum):
    """What a row carries."""

    PREDICTION = "prediction"
    REVISION = "revision"
    ESCALATION = "escalation"
    FEEDBACK = "feedback"


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
    seq: int
    subject: Subject
    state: RowState
    binding: BindingName
    prediction_id: PredictionId
    bytes: int


def broker_destination(broker: str) -> str:
    """How a broker is named as a destination."""
    return f"{_BROKERS}{broker}"


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
    tx.wakes_link = tx.wakes_link or row.destination == HUB
    tx.wakes_feedback = tx.wakes_feedback or row.destination == HUB_FEEDBACK
    tx.wakes_publisher = tx.wakes_publisher or row.destination.startswith(_BROKERS)


def delete(tx: Transaction, row: RowId) -> bool:
    """Remove a row; False when it was gone."""
    return tx.connection.execute("DELETE FROM outbox WHERE row = ?", (row,)).rowcount > 0


def delete_item(tx: Transaction, item_class: ItemClass, seq: int) -> bool:
    """Remove what was numbered (class, seq); False when it was gone."""
    return tx.connection.execute("DELETE FROM outbox WHERE class = ? AND seq = ?", (item_class, seq)).rowcount > 0


def usage_bytes(connection: sqlite3.Connection) -> dict[ItemClass, int]:
    """Bytes in use by class."""
    return {ItemClass(c): int(b) for c, b in connection.execute("SELECT class, bytes FROM usage")}


def stored(connection: sqlite3.Connection, where: str, parameters: Mapping[str, object], limit: int) -> list[StoredRow]:
    """Rows, oldest first, that a condition of this package's own picks."""
    found = connection.execute(
        "SELECT row, class, seq, subject, state, binding, prediction_id, bytes FROM outbox "  # noqa: S608 - own conditions
        f"WHERE {where} ORDER BY row LIMIT :limit",
        {**parameters, "limit": limit},
    )
    return [
        StoredRow(RowId(r), ItemClass(c), seq, Subject(s), RowState(st), BindingName(b), PredictionId(p), size)
        for r, c, seq, s, st, b, p, size in found
    ]


def oldest(connection: sqlite3.Connection, item_class: ItemClass) -> list[StoredRow]:
    """Some of the oldest rows of a class; those that only wait for a verdict come first, and alone."""
    parameters = {"class": item_class}
    # The class is kept from choosing the index: with it, a class without such a row would be read to its end.
    acked = "destination = 'hub' AND state = 'acked' AND +class = :class"
    found = [] if item_class is ItemClass.PREDICTION else stored(connection, acked, parameters, _OLDEST_LIMIT)
    return found or stored(connection, "class = :class AND state != 'acked'", parameters, _OLDEST_LIMIT)


def overdue(connection: sqlite3.Connection, now: Stamp, after: int, looked_at: int) -> tuple[list[StoredRow], int]:
    """Messages for brokers that are known to be older than their own expiry, among the next rows.

    Args:
        connection: Any.
        now: The present.
        after: Row after which to look.
        looked_at: Rows to look at.

    Returns:
        The messages, and where the next call goes on: 0 after the last row.
    """
    (last,) = connection.execute(
        "SELECT row FROM outbox WHERE row > ? ORDER BY row LIMIT 1 OFFSET ?", (after, looked_at - 1)
    ).fetchone() or (0,)
    found = stored(
        connection,
        "row > :after AND row <= :last AND destination LIKE 'mqtt:%' AND expiry_s IS NOT NULL "
        f"AND {OLDER.format(limit_s='expiry_s')}",
        {**now.parameters(), "after": after, "last": last or LAST_ROW},
        looked_at,
    )
    return found, int(last)
