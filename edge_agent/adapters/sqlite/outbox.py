"""Owns the rows of the outbox: what waits for the hub or for a broker, numbered by class, and the bytes in use.

What an insert, an eviction or a delivery means for a prediction is `fates.py`.
"""

import itertools
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from edge_agent.adapters.sqlite.age import OLDER, Stamp
from edge_agent.adapters.sqlite.transaction import EACH, Transaction, read_meta
from edge_agent.ports import BindingName, Publish, RowId
from protos.messages.escalation import ItemClass, PredictionId

HUB = "hub"
HUB_FEEDBACK = "hub:feedback"
ROW_OVERHEAD_BYTES = 200
"""What a row costs beside its payload: columns, indexes, page slack; counted against the bound."""

LAST_ROW = 2**63 - 1
"""No row has a larger number."""

UNSYNCED_BOOT = "unsynced_boot"
"""The boot in which units were committed without reaching the disk: a power cut may have taken their numbers back."""

_NUMBERS_PASSED_OVER = 1 << 20  # far more than fit into what of the log a checkpoint has not synced yet
_OLDEST_LIMIT = 64
_BROKERS = "mqtt:"
_IS_RETAINED = "destination = 'hub' AND state = 'acked'"


class Subject(StrEnum):
    """What a row carries."""

    PREDICTION = "prediction"
    REVISION = "revision"
    ESCALATION = "escalation"
    FEEDBACK = "feedback"
    ALARM = "alarm"


class RowState(StrEnum):
    """Where a row stands; the hub has what is `acked`: kept a while, in case a hub has to be told again."""

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
            ItemClass.ALARM if subject is Subject.ALARM else ItemClass.PREDICTION,
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


def next_seq(tx: Transaction, item_class: ItemClass, amount: int = 1) -> int:
    """Take the next numbers of a class, and tell the first; none is ever given out again, even if its row goes."""
    (last,) = tx.connection.execute(
        "INSERT INTO sequence VALUES (?, ?) ON CONFLICT DO UPDATE SET last = last + excluded.last RETURNING last",
        (item_class, amount),
    ).fetchone()
    return int(last) - amount + 1


def pass_over_lost_numbers(connection: sqlite3.Connection, boot_id: str) -> None:
    """Skip numbers that a power cut may have taken back: the hub may have applied items that had them.

    Args:
        connection: The write connection, before the writer has it.
        boot_id: Of the present boot.
    """
    if read_meta(connection, UNSYNCED_BOOT) in {None, boot_id}:
        return
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE sequence SET last = last + ?", (_NUMBERS_PASSED_OVER,))
    connection.execute("DELETE FROM meta WHERE name = ?", (UNSYNCED_BOOT,))
    connection.execute("COMMIT")


def insert(tx: Transaction, row: OutboxRow) -> None:
    """Write a row."""
    insert_all(tx, [row])


def insert_all(tx: Transaction, rows: Sequence[OutboxRow]) -> None:
    """Write rows; each without a number gets the next one of its class, in order."""
    now = tx.now
    unnumbered = Counter(row.item_class for row in rows if row.seq is None)
    seqs = {one: itertools.count(next_seq(tx, one, amount)) for one, amount in unnumbered.items()}
    tx.insert(
        "outbox",
        [
            (
                row.row, row.item_class, next(seqs[row.item_class]) if row.seq is None else row.seq, row.destination,
                RowState.QUEUED, row.subject, row.binding, row.prediction_id, row.topic, row.qos, row.retain,
                row.expiry_s, row.payload, row.bytes, now.wall_ns, now.monotonic_s, now.boot_id, now.synced,
            )
            for row in rows
        ],
    )  # fmt: skip
    destinations = {row.destination for row in rows}
    tx.wakes_link = tx.wakes_link or HUB in destinations
    tx.wakes_feedback = tx.wakes_feedback or HUB_FEEDBACK in destinations
    tx.wakes_publisher = tx.wakes_publisher or any(one.startswith(_BROKERS) for one in destinations)


def delete_all(tx: Transaction, rows: Iterable[RowId]) -> list[tuple[RowId, BindingName, Subject]]:
    """Remove rows; row, binding and subject of each that was there."""
    found = tx.connection.execute(
        f"DELETE FROM outbox WHERE row IN ({EACH}) RETURNING row, binding, subject",  # noqa: S608 - own text
        (json.dumps(list(rows)),),
    )
    return [(RowId(row), BindingName(binding), Subject(subject)) for row, binding, subject in found.fetchall()]


def delete(tx: Transaction, row: RowId) -> bool:
    """Remove a row; False when it was gone."""
    return tx.connection.execute("DELETE FROM outbox WHERE row = ?", (row,)).rowcount > 0


def delete_item(tx: Transaction, item_class: ItemClass, seq: int) -> bool:
    """Remove what was numbered (class, seq); False when it was gone."""
    return tx.connection.execute("DELETE FROM outbox WHERE class = ? AND seq = ?", (item_class, seq)).rowcount > 0


def set_state(tx: Transaction, item_class: ItemClass, seq: int, state: RowState) -> None:
    """Move what is numbered (class, seq), if it is still here; from an ack on it only is retained."""
    found = tx.connection.execute(
        "UPDATE outbox SET state = ? WHERE class = ? AND seq = ? RETURNING row, bytes", (state, item_class, seq)
    ).fetchone()
    if found is None:
        return
    tx.wakes_link = tx.wakes_link or state is RowState.QUEUED
    if state is RowState.ACKED:
        now = tx.now
        tx.connection.execute(
            "INSERT INTO retained VALUES (?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
            (found[0], item_class, found[1], now.wall_ns, now.monotonic_s, now.boot_id, now.synced),
        )


def release_retained(tx: Transaction, wanted_bytes: int) -> None:
    """Let go of what the hub has, the oldest first, until so many bytes are free or nothing of it is left."""
    while wanted_bytes > 0:
        victims = stored(tx.connection, _IS_RETAINED, {}, _OLDEST_LIMIT)
        if not victims:
            return
        for victim in victims:
            if wanted_bytes > 0:
                delete(tx, victim.row)
                wanted_bytes -= victim.bytes


def expire_retained(tx: Transaction, max_age_s: float, after: int, looked_at: int) -> int:
    """Let go of what the hub has had for so long, among the next rows.

    Args:
        tx: The transaction.
        max_age_s: Since the ack; 0 keeps nothing.
        after: Row after which to look.
        looked_at: Rows to look at.

    Returns:
        Where the next call goes on: 0 after the last row.
    """
    (last,) = tx.connection.execute(
        "SELECT row FROM retained WHERE row > ? ORDER BY row LIMIT 1 OFFSET ?", (after, looked_at - 1)
    ).fetchone() or (0,)
    old = tx.connection.execute(
        f"SELECT row FROM retained WHERE row > :after AND row <= :last AND {OLDER.format(limit_s=':max_age_s')}",  # noqa: S608 - own text
        {**tx.now.parameters(), "max_age_s": max_age_s, "after": after, "last": last or LAST_ROW},
    ).fetchall()
    for (row,) in old:
        delete(tx, row)
    return int(last)


def usage_bytes(connection: sqlite3.Connection) -> dict[ItemClass, int]:
    """Bytes in use by class."""
    return {ItemClass(c): int(b) for c, b in connection.execute("SELECT class, bytes FROM usage")}


def stored(
    connection: sqlite3.Connection, where: str, parameters: Mapping[str, object], limit: int, order: str = "ASC"
) -> list[StoredRow]:
    """Rows, oldest first, that a condition of this package's own picks."""
    found = connection.execute(
        "SELECT row, class, seq, subject, state, binding, prediction_id, bytes FROM outbox "  # noqa: S608 - own conditions
        f"WHERE {where} ORDER BY row {order} LIMIT :limit",
        {**parameters, "limit": limit},
    )
    return [
        StoredRow(RowId(r), ItemClass(c), seq, Subject(s), RowState(st), BindingName(b), PredictionId(p), size)
        for r, c, seq, s, st, b, p, size in found
    ]


def undelivered(
    connection: sqlite3.Connection, item_class: ItemClass, *, is_newest_first: bool = False
) -> list[StoredRow]:
    """Some of the oldest, or of the newest, rows of a class that were not delivered."""
    order = "DESC" if is_newest_first else "ASC"
    return stored(connection, "class = :class AND state != 'acked'", {"class": item_class}, _OLDEST_LIMIT, order)


def has_waiting(tx: Transaction, item_class: ItemClass, numbered: Mapping[ItemClass, int]) -> bool:
    """Whether anything of a class, of these numbers and smaller ones, is still to be delivered."""
    found = tx.connection.execute(
        "SELECT 1 FROM outbox WHERE class = ? AND seq <= ? AND state != 'acked' LIMIT 1",
        (item_class, numbered.get(item_class, 0)),
    )
    return found.fetchone() is not None


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
