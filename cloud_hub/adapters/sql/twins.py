"""Owns the statements on desired twins: one row a device. How a desire merges and is lifted is `core.twin`."""

from collections.abc import Sequence

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql import events
from cloud_hub.adapters.sql.device_keys import AnyRow, AnySelect, belongs_to, columns
from cloud_hub.adapters.sql.schema import desired_twin
from cloud_hub.adapters.sql.stored_json import desires_text, policies_text, read_desires, read_policies
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import EventKind, Happening
from cloud_hub.core.policies import PolicyDesire
from cloud_hub.core.twin import DesiredTwin, lifted, merged, with_policy, without
from protos.messages.fleet import DesiredSlot

COLUMNS = (
    desired_twin.c.version,
    desired_twin.c.slots,
    desired_twin.c.policies,
    desired_twin.c.set_by,
    desired_twin.c.set_at_ns,
)


def select_twin(key: DeviceKey) -> AnySelect:
    """The row of one device."""
    return select(*COLUMNS).where(belongs_to(desired_twin, key))


def read_twin(key: DeviceKey, row: AnyRow) -> DesiredTwin | None:
    """What a row with `COLUMNS` says; None when an outer join found no twin."""
    if row.version is None:
        return None
    return DesiredTwin(
        key, row.version, read_desires(row.slots), row.set_by, row.set_at_ns, read_policies(row.policies)
    )


async def find(connection: AsyncConnection, key: DeviceKey) -> DesiredTwin | None:
    """The twin of one device; None when nothing was ever desired."""
    row = (await connection.execute(select_twin(key))).first()
    return None if row is None else read_twin(key, row)


async def desire(
    connection: AsyncConnection, key: DeviceKey, slots: Sequence[DesiredSlot], *, actor: str, now_ns: int
) -> DesiredTwin:
    """State what bindings should run, with one event each (detail: `binding`, `digest`, `version`)."""
    before = await find(connection, key)
    twin = merged(before, key, slots, actor=actor, now_ns=now_ns)
    await _store(connection, twin, is_new=before is None)
    told = [
        Happening(
            at_ns=now_ns,
            kind=EventKind.PACK_DESIRED,
            device=key,
            actor=actor,
            subject=one.pack,
            detail={"binding": one.binding, "digest": one.digest, "version": str(twin.version)},
        )
        for one in slots
    ]
    await events.add(connection, told)
    return twin


async def desire_policy(connection: AsyncConnection, key: DeviceKey, desire: PolicyDesire) -> DesiredTwin:
    """State how a binding should decide, with an event (detail: `binding`, `policy`, `mode`, `reason`, `version`)."""
    before = await find(connection, key)
    twin = with_policy(before, key, desire)
    await _store(connection, twin, is_new=before is None)
    happening = Happening(
        at_ns=desire.set_at_ns,
        kind=EventKind.POLICY_DESIRED,
        device=key,
        actor=desire.set_by,
        subject=desire.policy.mode.value,
        detail={
            "binding": desire.binding,
            "policy": str(desire.policy.version),
            "mode": desire.policy.mode.value,
            "reason": desire.reason,
            "version": str(twin.version),
        },
    )
    await events.add(connection, (happening,))
    return twin


async def end_desire(
    connection: AsyncConnection, key: DeviceKey, binding: str, *, actor: str, now_ns: int
) -> DesiredTwin | None:
    """End what a binding should run (event detail: `binding`, `digest`, `version`); None when nothing is desired."""
    before = await find(connection, key)
    ended = None if before is None else next((one for one in before.slots if one.binding == binding), None)
    if before is None or ended is None:
        return None
    twin = without(before, binding, actor=actor, now_ns=now_ns)
    await _store(connection, twin, is_new=False)
    happening = Happening(
        at_ns=now_ns,
        kind=EventKind.DESIRE_ENDED,
        device=key,
        actor=actor,
        subject=ended.pack,
        detail={"binding": binding, "digest": ended.digest, "version": str(twin.version)},
    )
    await events.add(connection, (happening,))
    return twin


async def lift(
    connection: AsyncConnection, twin: DesiredTwin, reported_version: int, now_ns: int
) -> tuple[DesiredTwin, Sequence[Happening]]:
    """Raise a twin above what its device holds, if it must be (event detail: `version`, `reported`)."""
    higher = lifted(twin, reported_version)
    if higher is None:
        return twin, ()
    await _store(connection, higher, is_new=False)
    detail = {"version": str(higher.version), "reported": str(reported_version)}
    return higher, (Happening(at_ns=now_ns, kind=EventKind.DESIRE_LIFTED, device=twin.device, detail=detail),)


async def _store(connection: AsyncConnection, twin: DesiredTwin, *, is_new: bool) -> None:
    values = {
        "version": twin.version,
        "slots": desires_text(twin.slots),
        "policies": policies_text(twin.policies),
        "set_by": twin.set_by,
        "set_at_ns": twin.set_at_ns,
    }
    if is_new:
        await connection.execute(insert(desired_twin).values(**columns(twin.device), **values))
    else:
        await connection.execute(update(desired_twin).where(belongs_to(desired_twin, twin.device)).values(**values))
