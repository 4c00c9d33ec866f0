"""Owns the statements on trends: one row a device, binding and bucket. What the totals mean is `core.trends`."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, bindparam, delete, exists, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql.device_keys import AnyRow, AnySelect, belongs_to, by_site, columns, key_columns, key_of
from cloud_hub.adapters.sql.schema import DEVICE_COLUMNS, trend
from cloud_hub.adapters.sql.schema import device as devices
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.trends import BEGINNING_NS, TrendTotals

LOOK_BACK_NS = 3600 * 1_000_000_000
"""How far before a curve's beginning its first point may count from; what was silent longer begins anew."""

_WHERE = {name: f"at_{name}" for name in (*DEVICE_COLUMNS, "binding", "bucket_ns")}
_COUNTS = ("decided", "escalated", "answered", "p95_ms", "outbox_items")


async def save(connection: AsyncConnection, totals: Sequence[TrendTotals]) -> None:
    """Write totals over those that their buckets had; a device's later buckets are of a clock that was ahead."""
    there: set[tuple[DeviceKey, int, str]] = set()
    for condition in by_site(trend, [one.device for one in totals]):
        earliest_ns = min(one.bucket_ns for one in totals)
        places = select(*key_columns(trend), trend.c.bucket_ns, trend.c.binding)
        found = await connection.execute(places.where(condition, trend.c.bucket_ns >= earliest_ns))
        there |= {(key_of(row), row.bucket_ns, row.binding) for row in found}
    current = {one.device: one.bucket_ns for one in totals}
    ahead = {device for device, bucket_ns, _ in there if bucket_ns > current.get(device, bucket_ns)}
    for device in ahead:
        later = trend.c.bucket_ns > current[device]
        await connection.execute(delete(trend).where(belongs_to(trend, device), later))
    new = [_row(one) for one in totals if _place(one) not in there]
    changed = [
        {_WHERE.get(name, name): value for name, value in _row(one).items()} for one in totals if _place(one) in there
    ]
    if new:
        await connection.execute(insert(trend), new)
    if changed:
        at = [trend.c[name] == bindparam(parameter) for name, parameter in _WHERE.items()]
        await connection.execute(update(trend).where(*at).values({name: bindparam(name) for name in _COUNTS}), changed)


def select_trend(device: DeviceKey | None, since_ns: int, until_ns: int) -> AnySelect:
    """The buckets since then, and those before that the first ones count from."""
    query = (
        select(trend).where(trend.c.bucket_ns.between(since_ns - LOOK_BACK_NS, until_ns)).order_by(trend.c.bucket_ns)
    )
    return query if device is None else query.where(belongs_to(trend, device))


def select_ends(since_ns: int, until_ns: int) -> AnySelect:
    """The first and the last bucket of each series since then."""
    keys = [*key_columns(trend), trend.c.binding]
    ends = (
        select(*keys, func.min(trend.c.bucket_ns).label("first_ns"), func.max(trend.c.bucket_ns).label("last_ns"))
        .where(trend.c.bucket_ns.between(since_ns, until_ns))
        .group_by(*keys)
        .subquery()
    )
    same = [key == ends.c[key.name] for key in keys]
    is_end = or_(trend.c.bucket_ns == ends.c.first_ns, trend.c.bucket_ns == ends.c.last_ns)
    return select(trend).join(ends, and_(*same, is_end)).order_by(trend.c.bucket_ns)


def select_new_devices(since_ns: int, device: DeviceKey | None) -> AnySelect:
    """Devices that got their certificate since then, and that were not heard before; `--insecure` ones never did.

    Args:
        since_ns: Wall clock of the hub, Unix epoch, UTC.
        device: Only this one; None: of all.
    """
    same = [mine == theirs for mine, theirs in zip(key_columns(devices), key_columns(trend), strict=True)]
    heard_before = exists().where(*same, trend.c.bucket_ns < devices.c.enrolled_at_ns - BEGINNING_NS)
    is_new = and_(devices.c.enrolled_at_ns >= since_ns, devices.c.public_key_digest != "", ~heard_before)
    query = select(*key_columns(devices), devices.c.enrolled_at_ns).where(is_new)
    return query if device is None else query.where(belongs_to(devices, device))


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


def _place(totals: TrendTotals) -> tuple[DeviceKey, int, str]:
    return totals.device, totals.bucket_ns, totals.binding


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
