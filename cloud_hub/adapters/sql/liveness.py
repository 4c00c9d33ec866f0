"""Owns the statements on who is heard: read for the watch, and what was told of it. The rule is `core.liveness`."""

from collections.abc import Sequence

from sqlalchemy import FromClause, and_, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql import events
from cloud_hub.adapters.sql.device_keys import AnyRow, AnySelect, belongs_to, columns, key_columns, key_of
from cloud_hub.adapters.sql.schema import DEVICE_COLUMNS, device, device_liveness, heartbeat
from cloud_hub.core.events import EventKind, Happening
from cloud_hub.core.liveness import Heard, Liveness, LivenessChange


def select_heard() -> AnySelect:
    """One row for each device that is accepted."""
    joined: FromClause = device
    for other in (heartbeat, device_liveness):
        joined = joined.outerjoin(other, and_(*(device.c[name] == other.c[name] for name in DEVICE_COLUMNS)))
    return (
        select(*key_columns(device), heartbeat.c.received_at_ns, device_liveness.c.liveness)
        .select_from(joined)
        .where(device.c.is_removed.is_(False))
        .order_by(*key_columns(device))
    )


def read_heard(row: AnyRow) -> Heard:
    """What a row of `select_heard` says."""
    return Heard(key_of(row), row.received_at_ns, None if row.liveness is None else Liveness(row.liveness))


async def tell(connection: AsyncConnection, changes: Sequence[LivenessChange], now_ns: int) -> None:
    """Note changes, with one event each (detail: `liveness`)."""
    for change in changes:
        values = {"liveness": change.now.value}
        if change.before is None:
            await connection.execute(insert(device_liveness).values(**columns(change.device), **values))
        else:
            place = belongs_to(device_liveness, change.device)
            await connection.execute(update(device_liveness).where(place).values(**values))
    await events.add(connection, [_happening(change, now_ns) for change in changes])


def _happening(change: LivenessChange, now_ns: int) -> Happening:
    kind = EventKind.DEVICE_ONLINE if change.now is Liveness.ONLINE else EventKind.DEVICE_SILENT
    return Happening(at_ns=now_ns, kind=kind, device=change.device, detail={"liveness": change.now.value})
