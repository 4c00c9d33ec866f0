"""Owns the statements on the hub's own row: which database this is, and when it was put back from a backup.

What follows from a restore is `core.restores`.
"""

import uuid
from dataclasses import dataclass

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql import events
from cloud_hub.adapters.sql.schema import hub
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import EventKind, Happening
from cloud_hub.core.restores import NEVER_NS
from protos.messages.escalation import HubIncarnation

_ROW = 1
_ONLY = hub.c.id == _ROW
_RESTORED = select(hub.c.restored_at_ns).where(_ONLY)


@dataclass(frozen=True, slots=True)
class HubIdentity:
    """Which database this is; `restored_at_ns` is 0 for one that was never put back from a backup."""

    incarnation: HubIncarnation
    restored_at_ns: int


async def found_or_minted(connection: AsyncConnection, now_ns: int) -> HubIdentity:
    """The identity; a new database gets one."""
    found = (await connection.execute(select(hub.c.hub_incarnation, hub.c.restored_at_ns).where(_ONLY))).first()
    if found is not None:
        return HubIdentity(HubIncarnation(found.hub_incarnation), found.restored_at_ns)
    minted = HubIdentity(_new(), NEVER_NS)
    values = {"hub_incarnation": minted.incarnation, "created_at_ns": now_ns, "restored_at_ns": NEVER_NS}
    await connection.execute(insert(hub).values(id=_ROW, **values))
    return minted


async def restored_at_ns(connection: AsyncConnection) -> int:
    """When the database was put back from a backup."""
    return int((await connection.execute(_RESTORED)).scalar_one())


async def renew(connection: AsyncConnection, *, actor: str, device: DeviceKey | None, now_ns: int) -> HubIdentity:
    """Take a new incarnation, with an event (detail: `before`, `after`); `device` is the one that gave it away."""
    before = await found_or_minted(connection, now_ns)
    after = HubIdentity(_new(), now_ns)
    values = {"hub_incarnation": after.incarnation, "restored_at_ns": now_ns}
    await connection.execute(update(hub).where(_ONLY).values(**values))
    detail = {"before": before.incarnation, "after": after.incarnation}
    told = Happening(at_ns=now_ns, kind=EventKind.HUB_RESTORED, device=device, actor=actor, detail=detail)
    await events.add(connection, [told])
    return after


def _new() -> HubIncarnation:
    return HubIncarnation(str(uuid.uuid4()))
