"""Owns telling a device what to run: what is refused by name before anything is stored, for people and programs alike.

Whether the pack fits the binding (shapes, window, engine) is the device's to judge: it has the binding.
"""

from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.twin import DesiredTwin
from cloud_hub.errors import AssignmentError, DeviceAbsentError
from cloud_hub.ports import FleetRecords, PackFacts, PackShelf, UnreadablePack
from model_packs.manifest import PackRef
from protos.messages.fleet import DesiredSlot

EDGE_ROLE = "edge"


async def assign(
    records: FleetRecords, shelf: PackShelf, device: DeviceKey, binding: str, pack: str, *, actor: str, now_ns: int
) -> DesiredTwin:
    """State that a binding of a device should run a published edge pack.

    Args:
        records: Where the desire is stored, with its event.
        shelf: The published packs.
        device: Whose twin it is.
        binding: One of the bindings that the device reports; any, while it has never reported.
        pack: name@version.
        actor: Who wants it.
        now_ns: Wall clock, Unix epoch, UTC.

    Returns:
        The twin with its new version.

    Raises:
        DeviceAbsentError: The device is not enrolled, or no longer accepted.
        AssignmentError: The pack is not published, is no edge pack or cannot be read; the device has no such binding.
        StorageError: The database or the pack store cannot be used.
    """
    facts = await records.facts(device)
    if facts is None or facts.is_removed:
        raise DeviceAbsentError(str(device))
    if facts.heartbeat is not None:
        _check_binding(device, binding, {one.binding for one in facts.heartbeat.bindings})
    found = await _edge_pack(shelf, pack)
    slot = DesiredSlot(binding, str(found.ref), found.digest)
    return await records.desire(device, (slot,), actor=actor, now_ns=now_ns)


async def unassign(records: FleetRecords, device: DeviceKey, binding: str, *, actor: str, now_ns: int) -> DesiredTwin:
    """State that nothing is wanted of a binding any more, also of one that the device has no longer.

    Args:
        records: Where the desire is stored, with its event.
        device: Whose twin it is.
        binding: One that something is desired for.
        actor: Who wants it.
        now_ns: Wall clock, Unix epoch, UTC.

    Returns:
        The twin with its new version.

    Raises:
        DeviceAbsentError: The device is not enrolled, or no longer accepted.
        AssignmentError: Nothing is desired there.
        StorageError: The database cannot be used.
    """
    facts = await records.facts(device)
    if facts is None or facts.is_removed:
        raise DeviceAbsentError(str(device))
    twin = await records.end_desire(device, binding, actor=actor, now_ns=now_ns)
    if twin is None:
        has = ", ".join(one.binding for one in facts.desired.slots) if facts.desired is not None else ""
        mend = f"choose one that something is desired for ({has or 'none'})"
        raise AssignmentError(f"nothing is desired for {binding[:80]!r} of {device}", mend)
    return twin


def _check_binding(device: DeviceKey, binding: str, reported: set[str]) -> None:
    if binding not in reported:
        has = ", ".join(sorted(reported)) or "none"
        raise AssignmentError(f"{device} has no binding {binding[:80]!r}", f"choose one that it reports ({has})")


async def _edge_pack(shelf: PackShelf, pack: str) -> PackFacts:
    try:
        ref = PackRef.parse(pack)
    except ValueError as error:
        raise AssignmentError(str(error), "`cloud-hub packs list` shows what is published") from error
    found = await shelf.pack(ref)
    match found:
        case None:
            raise AssignmentError(f"pack {ref} is not published here", "cloud-hub packs publish LAYOUT")
        case UnreadablePack():
            raise AssignmentError(f"pack {ref} cannot be read: {found.reason}", found.mend)
        case PackFacts():
            if found.manifest.role != EDGE_ROLE:
                raise AssignmentError(f"{ref} is a {found.manifest.role} pack", "devices run edge packs: choose one")
            return found
