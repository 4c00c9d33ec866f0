"""Owns reading what is stored of a prediction and of its question to the hub. What becomes of either is `fates.py`."""

import json
from dataclasses import dataclass

from edge_agent.adapters.sqlite.age import OLDER
from edge_agent.adapters.sqlite.outbox import LAST_ROW
from edge_agent.adapters.sqlite.transaction import Transaction
from edge_agent.core.escalation import Outcome
from edge_agent.ports import BindingName, Event
from protos.messages.escalation import ItemClass, PredictionId
from protos.messages.inference import Tier


@dataclass(frozen=True, slots=True)
class StoredEscalation:
    """One escalation as the store holds it."""

    prediction_id: PredictionId
    binding: BindingName
    item_class: ItemClass
    seq: int
    state: Outcome
    input_digest: str


def read_escalation(tx: Transaction, prediction_id: PredictionId) -> StoredEscalation | None:
    """The escalation of a prediction; None when there was none, or both are forgotten."""
    return _read_escalation(tx, "prediction_id = ?", (prediction_id,))


def read_numbered(tx: Transaction, item_class: ItemClass, seq: int) -> StoredEscalation | None:
    """The escalation under a number of the outbox; None for an item of another kind."""
    return _read_escalation(tx, "class = ? AND seq = ?", (item_class, seq))


def _read_escalation(tx: Transaction, where: str, parameters: tuple[object, ...]) -> StoredEscalation | None:
    found = tx.connection.execute(
        f"SELECT prediction_id, binding, class, seq, state, input_digest FROM escalation WHERE {where}",  # noqa: S608 - own text
        parameters,
    ).fetchone()
    if found is None:
        return None
    prediction_id, binding, item_class, seq, state, digest = found
    return StoredEscalation(prediction_id, binding, ItemClass(item_class), seq, Outcome(state), digest)


def read_edge_event(tx: Transaction, prediction_id: PredictionId) -> Event | None:
    """What the edge itself said; None when the prediction is forgotten."""
    found = tx.connection.execute(
        "SELECT coalesce(edge_event, event) FROM prediction JOIN provenance ON prediction_id = id WHERE id = ?",
        (prediction_id,),
    ).fetchone()
    event: Event | None = None if found is None else json.loads(found[0])
    return event


def is_judged(tx: Transaction, prediction_id: PredictionId) -> bool:
    """Whether the last word on a prediction is a person's."""
    event = read_event(tx, prediction_id)
    return event is not None and event["tier"] == Tier.HUMAN


def read_event(tx: Transaction, prediction_id: PredictionId) -> Event | None:
    """The event last made; None when the prediction is forgotten."""
    found = tx.connection.execute("SELECT event FROM prediction WHERE id = ?", (prediction_id,)).fetchone()
    event: Event | None = None if found is None else json.loads(found[0])
    return event


def old_escalations(tx: Transaction, max_age_s: float, after: int, limit: int) -> tuple[list[PredictionId], int]:
    """Open ones among so many next rows that are too old, and where the next call goes on: 0 after the last row."""
    (last,) = tx.connection.execute(
        "SELECT rowid FROM escalation WHERE rowid > ? ORDER BY rowid LIMIT 1 OFFSET ?", (after, limit - 1)
    ).fetchone() or (0,)
    found = tx.connection.execute(
        "SELECT prediction_id FROM escalation WHERE rowid > :after AND rowid <= :last "  # noqa: S608 - own text
        f"AND +state IN ('queued', 'sent', 'acked') AND {OLDER.format(limit_s=':max_age_s')}",
        {**tx.now.parameters(), "max_age_s": max_age_s, "after": after, "last": last or LAST_ROW},
    )
    return [PredictionId(row[0]) for row in found], int(last)
