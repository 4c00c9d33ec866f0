"""Owns the statements on trends: one row a device, binding and bucket. What the totals mean is `core.trends`."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql.device_keys import AnyRow, AnySelect, belongs_to, columns, key_of
from cloud_hub.adapters.sql.schema import DEVICE_COLUMNS, trend
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.trends import TrendTotals

LOOK_BACK_NS = 3600 * 1_000_000_000
"""How far before a curve's beginning its first point may count from; what was silent longer begins anew."""

_WHERE = {name: f"at_{name}" for name in (*DEVICE_COLUMNS, "binding", "bucket_ns")}
_COUNTS = ("decided", "escalated", "answered", "p95_ms", "outbox_items")


async def save(connection: AsyncConnection, key: DeviceKey, totals: Sequence[TrendTotals]) -> None:
    """Write the totals of one bucket over those that it had."""
    if not totals:
        return
    place = (belongs_to(trend, key), trend.c.bucket_ns == totals[0].bucket_ns)
    there = set((await connection.execute(select(trend.c.binding).where(*place))).scalars())
    rows = [_row(one) for one in totals]
    new = [row for row in rows if row["binding"] not in there]
    if new:
        await connection.execute(insert(trend), new)
    if len(new) < len(rows):
        changed = [{_WHERE.get(name, name): value for name, value in row.items()} for row in rows if row not in new]
        at = [trend.c[name] == bindparam(parameter) for name, parameter in _WHERE.items()]
        await connection.execute(update(trend).where(*at).values({name: bindparam(name) for name in _COUNTS}), changed)


def select_trend(device: DeviceKey | None, since_ns: int) -> AnySelect:
    """The buckets since then, and those before that the first ones count from."""
    query = select(trend).where(trend.c.bucket_ns >= since_ns - LOOK_BACK_NS).order_by(trend.c.bucket_ns)
    return query if device is None else query.where(belongs_to(trend, device))


def read_totals(row: AnyRow) -> TrendTotals:
    """What a row says."""
    return TrendTotals(
        device=key_of(row),
        binding=row.binding,
        bucket_ns=row.bucket_ns,
        decided=row.decided,
        escalated=row.escalated,
        answered=row.answered,
        p95_ms=row.p95_ms,
        outbox_items=row.outbox_items,
    )


async def prune(connection: AsyncConnection, *, before_ns: int) -> None:
    """Delete what is too old."""
    await connection.execute(delete(trend).where(trend.c.bucket_ns < before_ns))


def _row(totals: TrendTotals) -> dict[str, Any]:
    return {
        **columns(totals.device),
        "binding": totals.binding,
        "bucket_ns": totals.bucket_ns,
        "decided": totals.decided,
        "escalated": totals.escalated,
        "answered": totals.answered,
        "p95_ms": totals.p95_ms,
        "outbox_items": totals.outbox_items,
    }
