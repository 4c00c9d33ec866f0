"""Owns what is told of the outbox item by item: what waits, what ended, and the whole story of one.

Reads only, beside a running agent or after it. How it is printed is the command's (`commands/outbox.py`).
"""

import json
from dataclasses import dataclass
from typing import Any

from edge_agent.adapters.sqlite.age import OLDER, Stamp
from edge_agent.adapters.sqlite.outbox import HUB, Subject
from edge_agent.adapters.sqlite.reading import Read, Reader
from edge_agent.adapters.sqlite.selection import FATE, Selection
from edge_agent.core.escalation import Outcome
from edge_agent.ports import BindingName, Event, RowId
from protos.messages.escalation import ItemClass, PredictionId

_STAMP = "wall_ns, monotonic_s, boot_id, synced"
_WAITING = (
    f"SELECT row, class, seq, destination, subject, {FATE}, binding, prediction_id, bytes, "  # noqa: S608 - own text
    "(SELECT e.reason FROM escalation AS e WHERE e.prediction_id = outbox.prediction_id AND subject = 'escalation'), "
    f"{_STAMP} FROM outbox"
)
_ENDED = (
    "SELECT NULL, class, seq, 'hub', 'escalation', state, binding, prediction_id, 0, reason, "  # noqa: S608 - own text
    f"{_STAMP} FROM escalation"
)


@dataclass(frozen=True, slots=True)
class Item:
    """One item; `row` is None once nothing of it is kept, `age_s` is None when the age is not known.

    Attributes:
        destination: `hub`, `hub:feedback` or `mqtt:` and the broker's name.
        reason: Why the hub is asked; None of anything else.
    """

    row: RowId | None
    item_class: ItemClass
    seq: int
    destination: str
    subject: Subject
    state: Outcome
    binding: BindingName
    prediction_id: PredictionId
    bytes: int
    reason: str | None
    age_s: float | None


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why the hub would not have an escalation, in its own words; `status` is a name of `protos.status`."""

    status: str
    message: str


@dataclass(frozen=True, slots=True)
class Asked:
    """The escalation of a prediction: why it was made and how it stands since when (ns, Unix epoch, UTC).

    Attributes:
        rejection: None when the hub did not reject it, or an older program did not note why.
    """

    reason: str
    propensity: float
    item_class: ItemClass
    seq: int
    state: Outcome
    created_ns: int
    changed_ns: int
    rejection: Rejection | None


@dataclass(frozen=True, slots=True)
class Story:
    """All that is known of one prediction.

    Attributes:
        partition: Of its binding; None when it was not remembered.
        event: The newest revision.
        edge_event: What the edge said before others answered; None while nobody did.
        has_feedback: Whether somebody said what they think of it.
        asked: Its escalation; None when there was none.
        waiting: What of it is in the outbox, oldest first.
    """

    binding: BindingName
    partition: str | None
    event: Event
    edge_event: Event | None
    has_feedback: bool
    asked: Asked | None
    waiting: tuple[Item, ...]


def waiting(reader: Reader, selection: Selection, now: Stamp, limit: int) -> list[Item]:
    """What waits and fits, oldest first."""
    with reader.transaction() as read:
        return _waiting(read, selection, now, limit)


def ended(reader: Reader, selection: Selection, now: Stamp, limit: int) -> list[Item]:
    """Escalations that ended and fit, newest first; only those whose prediction is still remembered.

    Messages and judgements leave nothing behind but their counters.
    """
    if selection.row is not None or selection.destination not in {None, HUB}:
        return []
    named = {
        "prediction_id": selection.prediction_id,
        "class": selection.item_class,
        "binding": selection.binding,
        "state": selection.state,
    }
    conditions = ["state NOT IN ('queued', 'sent', 'acked')"]
    conditions += [f"{column} = :{column}" for column, value in named.items() if value is not None]
    if selection.older_than_s is not None:
        conditions.append(OLDER.format(limit_s=":older_than_s"))
    with reader.transaction() as read:
        found = read(
            f"{_ENDED} WHERE {' AND '.join(conditions)} ORDER BY rowid DESC LIMIT :limit",
            **now.parameters(), **named, older_than_s=selection.older_than_s, limit=limit,
        )  # fmt: skip
    return [_item(row, now) for row in found]


def tally(reader: Reader, selection: Selection, now: Stamp) -> dict[tuple[Subject, Outcome], int]:
    """How many items wait and fit, by what they are and how they stand."""
    condition, parameters = selection.where(now)
    with reader.transaction() as read:
        found = read(
            f"SELECT subject, {FATE} AS fate, count(*) FROM outbox WHERE {condition} GROUP BY subject, fate",  # noqa: S608 - own text
            **parameters,
        )
    return {(Subject(subject), Outcome(fate)): count for subject, fate, count in found}


def story(reader: Reader, prediction_id: PredictionId, now: Stamp) -> Story | None:
    """All that is known of a prediction; None when it never was, or is forgotten."""
    with reader.transaction() as read:
        found = read("SELECT binding, event FROM prediction WHERE id = ?", prediction_id)
        if not found:
            return None
        ((binding, event),) = found
        partition, edge_event, feedback = next(
            iter(read("SELECT partition, edge_event, feedback FROM provenance WHERE prediction_id = ?", prediction_id)),
            (None, None, None),
        )
        return Story(
            BindingName(binding),
            partition,
            json.loads(event),
            None if edge_event is None else json.loads(edge_event),
            feedback is not None,
            _asked(read, prediction_id),
            tuple(_waiting(read, Selection(prediction_id=prediction_id), now, -1)),
        )


def prediction_of(reader: Reader, row: RowId) -> PredictionId | None:
    """Whose row this is; None when it is gone."""
    with reader.transaction() as read:
        found = read("SELECT prediction_id FROM outbox WHERE row = ?", row)
    return PredictionId(found[0][0]) if found else None


def _waiting(read: Read, selection: Selection, now: Stamp, limit: int) -> list[Item]:
    condition, parameters = selection.where(now)
    found = read(f"{_WAITING} WHERE {condition} ORDER BY row LIMIT :limit", **parameters, limit=limit)
    return [_item(row, now) for row in found]


def _item(found: tuple[Any, ...], now: Stamp) -> Item:
    row, item_class, seq, destination, subject, state, binding, prediction_id, size, reason, *stamp = found
    wall_ns, monotonic_s, boot_id, synced = stamp
    return Item(
        None if row is None else RowId(row),
        ItemClass(item_class),
        seq,
        destination,
        Subject(subject),
        Outcome(state),
        BindingName(binding),
        PredictionId(prediction_id),
        size,
        reason,
        Stamp(wall_ns, monotonic_s, boot_id, bool(synced)).age_s(now),
    )


def _asked(read: Read, prediction_id: PredictionId) -> Asked | None:
    found = read(
        "SELECT reason, propensity, class, seq, state, wall_ns, changed_ns FROM escalation WHERE prediction_id = ?",
        prediction_id,
    )
    if not found:
        return None
    ((reason, propensity, item_class, seq, state, created_ns, changed_ns),) = found
    why = read("SELECT status, message FROM rejection WHERE prediction_id = ?", prediction_id)
    rejection = Rejection(*why[0]) if why else None
    return Asked(reason, propensity, ItemClass(item_class), seq, Outcome(state), created_ns, changed_ns, rejection)
