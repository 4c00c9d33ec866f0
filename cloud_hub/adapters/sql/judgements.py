"""Owns the statements on what people said, each judgement one row. What it changes is `labels.py`."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import bindparam, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql.device_keys import AnyRow, AnySelect, belongs_to, columns, key_of, place, placed
from cloud_hub.adapters.sql.schema import DEVICE_COLUMNS, feedback
from cloud_hub.core.delivery import ItemKey
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.feedback import Given, Said, Source
from protos.messages.escalation import StoreId

_AS_THEY_ARE = (
    "prediction_id",
    "label",
    "given_by",
    "note",
    "given_at_ns",
    "received_at_ns",
    "binding",
    "reason",
    "propensity",
    "edge_label",
    "edge_confidence",
    "edge_pack",
    "edge_digest",
    "hub_label",
    "hub_confidence",
    "hub_pack",
    "hub_digest",
    "revision",
)

_OF_PREDICTIONS = (
    select(feedback)
    .where(placed(feedback, *DEVICE_COLUMNS), feedback.c.prediction_id.in_(bindparam("ids", expanding=True)))
    .order_by(feedback.c.row_id)
)


async def add(connection: AsyncConnection, given: Given, at_key: ItemKey | None) -> None:
    """Store a judgement; `at_key` is where it stood in a device's outbox, None for one from the console."""
    as_they_are = {name: getattr(given, name) for name in _AS_THEY_ARE}
    values = {**columns(given.device), **as_they_are, "source": given.source.value, "said": given.said.value}
    at = {} if at_key is None else {"store_id": at_key.store_id, "seq": at_key.seq}
    await connection.execute(insert(feedback).values(**values, **at))


async def of_predictions(
    connection: AsyncConnection, key: DeviceKey, ids: Collection[str]
) -> dict[str, tuple[Given, ...]]:
    """What was said of a device's predictions, oldest first; every id has its entry."""
    found: dict[str, tuple[Given, ...]] = dict.fromkeys(ids, ())
    for row in await connection.execute(_OF_PREDICTIONS, {**place(columns(key)), "ids": list(ids)}):
        found[row.prediction_id] = (*found[row.prediction_id], read_given(row))
    return found


async def applied(connection: AsyncConnection, key: DeviceKey, store_id: StoreId, seqs: Collection[int]) -> set[int]:
    """Which of these places in a device's outbox are stored already."""
    rows = await connection.execute(
        select(feedback.c.seq).where(
            belongs_to(feedback, key), feedback.c.store_id == store_id, feedback.c.seq.in_(seqs)
        )
    )
    return {row.seq for row in rows}


def select_of_predictions(key: DeviceKey, ids: Collection[str]) -> AnySelect:
    """What was said of some predictions, oldest first."""
    return (
        select(feedback).where(belongs_to(feedback, key), feedback.c.prediction_id.in_(ids)).order_by(feedback.c.row_id)
    )


def select_newest(limit: int, before: int | None) -> AnySelect:
    """What was said last, on from a cursor."""
    query = select(feedback).order_by(feedback.c.row_id.desc()).limit(limit)
    return query if before is None else query.where(feedback.c.row_id < before)


def read_given(row: AnyRow) -> Given:
    """What a row says."""
    values: dict[str, Any] = {name: getattr(row, name) for name in _AS_THEY_ARE}
    return Given(device=key_of(row), source=Source(row.source), said=Said(row.said), **values)
