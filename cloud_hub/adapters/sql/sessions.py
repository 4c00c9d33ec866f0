"""Owns the statements on sessions: one row a device, with its epoch, its verdict counter and its cursor."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql import forgetting, identity
from cloud_hub.adapters.sql.device_keys import (
    AnyRow,
    belongs_to,
    by_site,
    columns,
    each_once,
    key_of,
    place,
    placed,
    write_rows,
)
from cloud_hub.adapters.sql.schema import DEVICE_COLUMNS, device_session
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.restores import is_older_than
from cloud_hub.ports import OpenedSession
from protos.messages.escalation import Hello, ItemClass, StoreId

_COUNTER = select(device_session.c.verdict_seq).where(placed(device_session, *DEVICE_COLUMNS))
_COUNT = update(device_session).where(placed(device_session, *DEVICE_COLUMNS)).values(verdict_seq=bindparam("to_seq"))
_NO_SESSION = {"session_epoch": 0, "store_id": "", "opened_at_ns": 0, "verdict_seq": 0, "verdict_acked": 0}


@dataclass(frozen=True, slots=True)
class Greeting:
    """One Hello on its way into the tables."""

    device: DeviceKey
    hello: Hello
    at_ns: int


async def open_sessions(connection: AsyncConnection, greetings: Sequence[Greeting]) -> list[OpenedSession]:
    """Start a new epoch for each, and lift its verdict counter above what the device has seen.

    A batch costs the same few statements however many devices are in it: after an outage all of them greet at once. Of
    two Hellos of one device, the second comes after the first.
    """
    opened: list[OpenedSession] = []
    rest = greetings
    while rest:
        first = each_once(rest)
        opened += await _open_sessions(connection, first)
        rest = rest[len(first) :]
    return opened


async def _open_sessions(connection: AsyncConnection, greetings: Sequence[Greeting]) -> list[OpenedSession]:
    keys = [one.device for one in greetings]
    before: dict[DeviceKey, AnyRow] = {}
    for condition in by_site(device_session, keys):
        rows = await connection.execute(select(device_session).where(condition))
        before |= {key_of(row): row for row in rows}
    applied = await _applied(connection, greetings)
    this = await identity.found_or_minted(connection, greetings[0].at_ns)
    opened: list[OpenedSession] = []
    values: dict[DeviceKey, dict[str, Any]] = {}
    for one in greetings:
        row, seen = before.get(one.device), one.hello.verdict_cursor
        # A device that has seen more of this very database than there is gives it away as an older copy.
        is_older = row is not None and is_older_than(one.hello, this.incarnation, row.verdict_seq)
        if is_older:
            this = await identity.renew(connection, actor="", device=one.device, now_ns=one.at_ns)
        epoch = 1 if row is None else row.session_epoch + 1
        values[one.device] = {
            "session_epoch": epoch,
            "store_id": one.hello.store_id,
            "opened_at_ns": one.at_ns,
            "verdict_seq": seen if row is None else max(seen, row.verdict_seq),
            "verdict_acked": seen if row is None else max(seen, row.verdict_acked),
        }
        found = applied.get((one.device, one.hello.store_id), ())
        opened.append(OpenedSession(epoch, found, this.incarnation, is_restored=is_older))
    await write_rows(connection, device_session, values, before)
    return opened


async def _applied(
    connection: AsyncConnection, greetings: Iterable[Greeting]
) -> dict[tuple[DeviceKey, StoreId], tuple[tuple[ItemClass, int], ...]]:
    """The highest seq that was applied of each class, by outbox."""
    found: dict[tuple[DeviceKey, StoreId], tuple[tuple[ItemClass, int], ...]] = {}
    for query in forgetting.select_applied([(one.device, one.hello.store_id) for one in greetings]):
        for row in await connection.execute(query):
            at = (key_of(row), StoreId(row.store_id))
            found[at] = (*found.get(at, ()), (ItemClass(row.item_class), int(row.applied)))
    return found


async def acknowledge(connection: AsyncConnection, key: DeviceKey, verdict_seq: int) -> None:
    """Advance the device's cursor; never back, and never past what was given out."""
    await connection.execute(
        update(device_session)
        .where(
            belongs_to(device_session, key),
            device_session.c.verdict_acked < verdict_seq,
            device_session.c.verdict_seq >= verdict_seq,
        )
        .values(verdict_acked=verdict_seq)
    )


async def verdict_counters(connection: AsyncConnection, keys: Iterable[DeviceKey], floor: int) -> dict[DeviceKey, int]:
    """The place of the latest verdict in each device's log, or the floor above which the next ones stand."""
    counters: dict[DeviceKey, int] = {}
    for key in keys:
        found = await connection.execute(_COUNTER, place(columns(key)))
        counter = found.scalar_one_or_none()
        if counter is None:  # it gives feedback before its first stream
            await connection.execute(insert(device_session).values(**columns(key), **_NO_SESSION))
        counters[key] = max(counter or 0, floor)
    return counters


async def set_verdict_counter(connection: AsyncConnection, key: DeviceKey, verdict_seq: int) -> None:
    """Write the place of the latest verdict in a device's log."""
    await connection.execute(_COUNT, {**place(columns(key)), "to_seq": verdict_seq})
