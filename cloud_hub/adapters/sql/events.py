"""Owns the statements on the outbox of events: written in the transaction of what they tell, read from a cursor."""

import json
from collections.abc import Sequence

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql.device_keys import AnyRow, AnySelect, belongs_to, columns, key_of
from cloud_hub.adapters.sql.schema import DEVICE_COLUMNS, event
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import EventId, EventKind, Happening, HubEvent

_MAX_ACTOR_CHARS = 64
_MAX_SUBJECT_CHARS = 128
_NO_DEVICE: dict[str, str | None] = dict.fromkeys(DEVICE_COLUMNS)


async def add(connection: AsyncConnection, happenings: Sequence[Happening]) -> int:
    """Write events; they get their ids in the order given.

    Whoever asks for this rings the store's bell after the commit.

    Returns:
        How many.
    """
    rows = [
        {
            "at_ns": one.at_ns,
            "kind": one.kind.value,
            **(_NO_DEVICE if one.device is None else columns(one.device)),
            "actor": one.actor[:_MAX_ACTOR_CHARS],
            "subject": one.subject[:_MAX_SUBJECT_CHARS],
            "detail": json.dumps(dict(one.detail)),
        }
        for one in happenings
    ]
    if rows:
        await connection.execute(insert(event), rows)
    return len(rows)


def select_after(after_id: EventId, limit: int, device: DeviceKey | None) -> AnySelect:
    """The outbox on from a cursor."""
    return _of(device).where(event.c.event_id > after_id).order_by(event.c.event_id).limit(limit)


def select_recent(limit: int, device: DeviceKey | None) -> AnySelect:
    """The latest events, newest first."""
    return _of(device).order_by(event.c.event_id.desc()).limit(limit)


def select_span() -> AnySelect:
    """The first and the last id; each on its own, so that each is a step in the index."""
    return select(
        select(func.min(event.c.event_id)).scalar_subquery().label("first_id"),
        select(func.max(event.c.event_id)).scalar_subquery().label("last_id"),
    )


def read_event(row: AnyRow) -> HubEvent:
    """What a row of the outbox says."""
    return HubEvent(
        event_id=EventId(row.event_id),
        at_ns=row.at_ns,
        kind=EventKind(row.kind),
        device=None if row.device_id is None else key_of(row),
        actor=row.actor,
        subject=row.subject,
        detail=json.loads(row.detail),
    )


async def prune(connection: AsyncConnection, *, before_ns: int, max_events: int) -> None:
    """Delete what is too old, and the oldest of what is too much."""
    last = (await connection.execute(select(func.max(event.c.event_id)))).scalar_one()
    await connection.execute(delete(event).where(event.c.at_ns < before_ns))
    if last is not None:
        await connection.execute(delete(event).where(event.c.event_id <= last - max_events))


def _of(device: DeviceKey | None) -> AnySelect:
    query = select(event)
    return query if device is None else query.where(belongs_to(event, device))
