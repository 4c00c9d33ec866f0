"""Owns the statements on devices. How one gets a certificate is `enrolments.py`, what it reports `heartbeats.py`."""

from collections.abc import Sequence

from sqlalchemy import Insert, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql import events
from cloud_hub.adapters.sql.device_keys import (
    AnyRow,
    AnySelect,
    belongs_to,
    by_site,
    columns,
    key_columns,
    key_of,
    write_rows,
)
from cloud_hub.adapters.sql.schema import device
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import EventKind, Happening
from cloud_hub.errors import DeviceAbsentError
from cloud_hub.ports import RegisteredDevice
from protos.messages.fleet import DeviceHello

_MAX_VERSION_CHARS = 64


def select_device(key: DeviceKey) -> AnySelect:
    """The row of one device."""
    return select(device.c.public_key_digest, device.c.is_removed).where(belongs_to(device, key))


def select_devices(keys: Sequence[DeviceKey]) -> tuple[AnySelect, ...]:
    """The rows of some devices, by site."""
    selected = select(*key_columns(device), device.c.public_key_digest, device.c.is_removed)
    return tuple(selected.where(condition) for condition in by_site(device, keys))


def registered(row: AnyRow) -> RegisteredDevice:
    """What a row of `select_devices` says."""
    return RegisteredDevice(key_of(row), row.public_key_digest, row.is_removed)


def insert_device(key: DeviceKey, *, public_key_digest: str, agent_version: str, now_ns: int) -> Insert:
    """A new device."""
    return insert(device).values(
        **columns(key),
        public_key_digest=public_key_digest,
        is_removed=False,
        enrolled_at_ns=now_ns,
        agent_version=agent_version[:_MAX_VERSION_CHARS],
    )


async def register_local(connection: AsyncConnection, key: DeviceKey, now_ns: int) -> None:
    """Add a device without a certificate, once, with its event."""
    known = await connection.execute(select_device(key))
    if known.first() is None:
        await connection.execute(insert_device(key, public_key_digest="", agent_version="", now_ns=now_ns))
        await events.add(connection, [Happening(at_ns=now_ns, kind=EventKind.DEVICE_ENROLLED, device=key)])


async def remove(connection: AsyncConnection, key: DeviceKey, actor: str, now_ns: int) -> None:
    """Accept a device no longer, with its event; what it has said stays."""
    known = (await connection.execute(select_device(key))).first()
    if known is None:
        raise DeviceAbsentError(str(key))
    if not known.is_removed:
        await connection.execute(update(device).where(belongs_to(device, key)).values(is_removed=True))
        told = Happening(at_ns=now_ns, kind=EventKind.DEVICE_REMOVED, device=key, actor=actor)
        await events.add(connection, [told])


async def save_hellos(connection: AsyncConnection, hellos: Sequence[tuple[DeviceKey, DeviceHello]]) -> list[None]:
    """Note what devices say they are."""
    said = {key: {"agent_version": hello.agent_version[:_MAX_VERSION_CHARS]} for key, hello in hellos}
    await write_rows(connection, device, said, said)
    return [None] * len(hellos)
