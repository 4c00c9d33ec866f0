"""Owns the statements on what the hub may forget of answered questions, and how far each outbox is settled.

A question goes, with its case and its verdicts, when it is older than the retention, answered, its verdicts are durable
on the device, no person has labelled it, and it cannot come again: its place is below the low-water mark of its outbox,
or its outbox is not the device's current one. What people labelled is kept.
"""

from collections.abc import Collection, Sequence

from sqlalchemy import Table, and_, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql.device_keys import (
    AnySelect,
    belongs_to,
    by_site,
    columns,
    key_columns,
    key_of,
    place,
    placed,
)
from cloud_hub.adapters.sql.items import ANSWERED, REPEATED
from cloud_hub.adapters.sql.schema import DEVICE_COLUMNS, case_record, device_session, item, outbox_floor, verdict
from cloud_hub.core.devices import DeviceKey
from cloud_hub.ports import Delivered, Forgotten
from protos.messages.escalation import ItemClass, StoreId

_OUTBOX = (*DEVICE_COLUMNS, "store_id", "item_class")
_FLOOR = select(outbox_floor).where(placed(outbox_floor, *_OUTBOX))
_ADD_FLOOR = insert(outbox_floor)
_RAISE_FLOOR = update(outbox_floor).where(placed(outbox_floor, *_OUTBOX))


async def note_floors(connection: AsyncConnection, key: DeviceKey, items: Sequence[Delivered]) -> None:
    """Raise the low-water marks and what was applied, of the outboxes that these items came from."""
    found: dict[tuple[StoreId, ItemClass], tuple[int, int]] = {}
    for one in items:
        at = (one.key.store_id, one.key.item_class)
        low_water, applied = found.get(at, (0, 0))
        found[at] = max(low_water, min(one.low_water, one.key.seq)), max(applied, one.key.seq)
    for (store_id, item_class), (low_water, applied) in found.items():
        where = {**columns(key), "store_id": store_id, "item_class": int(item_class)}
        before = (await connection.execute(_FLOOR, place(where))).first()
        if before is None:
            new = {"low_water": low_water, "applied": applied}
            await connection.execute(_ADD_FLOOR, {**where, **new})
        elif low_water > before.low_water or applied > before.applied:
            raised = {"low_water": max(low_water, before.low_water), "applied": max(applied, before.applied)}
            await connection.execute(_RAISE_FLOOR, {**place(where), **raised})


def select_applied(outboxes: Collection[tuple[DeviceKey, StoreId]]) -> tuple[AnySelect, ...]:
    """The highest seq that was applied of each class of these outboxes, and perhaps of others of the same devices."""
    floor = outbox_floor.c
    wanted = select(*key_columns(outbox_floor), floor.store_id, floor.item_class, floor.applied)
    stores = floor.store_id.in_({store for _, store in outboxes})
    conditions = by_site(outbox_floor, (key for key, _ in outboxes))
    return tuple(wanted.where(one, stores).order_by(floor.item_class) for one in conditions)


def select_forgettable(before_ns: int, limit: int) -> AnySelect:
    """The items that may be forgotten."""
    floor, session = outbox_floor, device_session
    same_place = [item.c[name] == floor.c[name] for name in _OUTBOX]
    labelled = _of_item(case_record).where(case_record.c.human_label.is_not(None)).exists()
    on_its_way = _of_item(verdict).where(verdict.c.verdict_seq > session.c.verdict_acked).exists()
    return (
        select(item.c.row_id, *key_columns(item), item.c.prediction_id, item.c.state)
        .join(floor, and_(*same_place))
        .join(session, and_(*(item.c[name] == session.c[name] for name in DEVICE_COLUMNS)))
        .where(
            item.c.state.in_((ANSWERED, REPEATED)),
            item.c.received_at_ns < before_ns,
            or_(item.c.seq < floor.c.low_water, item.c.store_id != session.c.store_id),
            ~labelled,
            ~on_its_way,
        )
        .limit(limit)
    )


async def forget(connection: AsyncConnection, row_ids: Collection[int], before_ns: int) -> Forgotten:
    """Delete those of these items that still may go, with their cases and verdicts."""
    query = select_forgettable(before_ns, len(row_ids)).where(item.c.row_id.in_(row_ids))
    rows = (await connection.execute(query)).all()
    verdicts = 0
    by_device: dict[DeviceKey, set[str]] = {}
    for row in rows:
        if row.state == ANSWERED:
            by_device.setdefault(key_of(row), set()).add(row.prediction_id)
    for key, ids in by_device.items():
        gone = delete(verdict).where(belongs_to(verdict, key), verdict.c.prediction_id.in_(ids))
        verdicts += (await connection.execute(gone)).rowcount
        await connection.execute(
            delete(case_record).where(belongs_to(case_record, key), case_record.c.prediction_id.in_(ids))
        )
    await connection.execute(delete(item).where(item.c.row_id.in_([row.row_id for row in rows])))
    return Forgotten(len(rows), verdicts)


def _of_item(table: Table) -> AnySelect:
    """Rows of another table about the item's prediction."""
    same = (table.c[name] == item.c[name] for name in (*DEVICE_COLUMNS, "prediction_id"))
    return select(table.c.prediction_id).where(*same)
