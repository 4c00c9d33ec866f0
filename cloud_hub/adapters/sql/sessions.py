"""Owns the statements on sessions: one row a device, with its epoch, its verdict counter and its cursor."""

from collections.abc import Iterable

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql import forgetting, identity
from cloud_hub.adapters.sql.device_keys import belongs_to, columns
from cloud_hub.adapters.sql.schema import device_session
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.restores import is_older_than
from cloud_hub.ports import OpenedSession
from protos.messages.escalation import Hello, ItemClass

_NO_SESSION = {"session_epoch": 0, "store_id": "", "opened_at_ns": 0, "verdict_seq": 0, "verdict_acked": 0}


async def open_session(connection: AsyncConnection, key: DeviceKey, hello: Hello, now_ns: int) -> OpenedSession:
    """Start a new epoch, and lift the verdict counter above what the device has seen.

    A device that has seen more of this very database than there is gives it away as an older copy.
    """
    before = (await connection.execute(select(device_session).where(belongs_to(device_session, key)))).first()
    seen = hello.verdict_cursor
    this = await identity.found_or_minted(connection, now_ns)
    is_older = before is not None and is_older_than(hello, this.incarnation, before.verdict_seq)
    if is_older:
        this = await identity.renew(connection, actor="", device=key, now_ns=now_ns)
    values = {
        "session_epoch": 1 if before is None else before.session_epoch + 1,
        "store_id": hello.store_id,
        "opened_at_ns": now_ns,
        "verdict_seq": seen if before is None else max(seen, before.verdict_seq),
        "verdict_acked": seen if before is None else max(seen, before.verdict_acked),
    }
    if before is None:
        await connection.execute(insert(device_session).values(**columns(key), **values))
    else:
        await connection.execute(update(device_session).where(belongs_to(device_session, key)).values(**values))
    rows = await connection.execute(forgetting.select_applied(key, hello.store_id))
    applied = tuple((ItemClass(row.item_class), int(row.applied)) for row in rows)
    return OpenedSession(int(values["session_epoch"]), applied, this.incarnation, is_restored=is_older)


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
        found = await connection.execute(select(device_session.c.verdict_seq).where(belongs_to(device_session, key)))
        counter = found.scalar_one_or_none()
        if counter is None:  # it gives feedback before its first stream
            await connection.execute(insert(device_session).values(**columns(key), **_NO_SESSION))
        counters[key] = max(counter or 0, floor)
    return counters


async def set_verdict_counter(connection: AsyncConnection, key: DeviceKey, verdict_seq: int) -> None:
    """Write the place of the latest verdict in a device's log."""
    await connection.execute(
        update(device_session).where(belongs_to(device_session, key)).values(verdict_seq=verdict_seq)
    )
