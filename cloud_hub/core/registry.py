"""Owns what the hub knows about one device, as facts side by side, and how that is written for people and programs.

The document is `cloud_hub/schemas/devices.schema.json`; the command line and the HTTP app show the same one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.liveness import MAX_AHEAD_S, Liveness, liveness
from cloud_hub.core.policies import PolicyStatus, policy_states
from cloud_hub.core.twin import DesiredTwin, LastWord, SlotStatus, slot_states
from protos.messages.fleet import Heartbeat, PolicyState, SlotReport

DEVICES_SCHEMA = "tandem.devices/1"
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """One row of the registry with everything that other tables say about it.

    Attributes:
        is_removed: The device is no longer accepted.
        enrolled_at_ns: Wall clock of the hub, like all times here; Unix epoch, UTC.
        certificate_not_after_ns: End of the newest certificate; None for a device that never got one (`--insecure`).
        session_epoch: Number of escalation streams that it has opened.
        agent_version: As the device last said; empty until then.
        last_heartbeat_at_ns: When the latest heartbeat was stored; None if there was none.
        heartbeat: Its content.
        items: Items stored for it, those waiting for an answer included.
        waiting: Items without an answer yet.
        verdicts: Place of the latest verdict in its log.
        verdicts_acked: How far the device has confirmed the log.
        desired: What it should run; None when nothing was ever desired.
    """

    key: DeviceKey
    is_removed: bool
    enrolled_at_ns: int
    certificate_not_after_ns: int | None
    session_epoch: int
    agent_version: str
    store_id: str
    last_heartbeat_at_ns: int | None
    heartbeat: Heartbeat | None
    items: int
    waiting: int
    verdicts: int
    verdicts_acked: int
    desired: DesiredTwin | None


def devices_document(
    devices: Iterable[DeviceFacts],
    *,
    hub_incarnation: str,
    now_ns: int,
    heartbeat_interval_s: float,
    install_timeout_s: float,
) -> dict[str, Any]:
    """Write the registry.

    Args:
        devices: The devices, in the order to show.
        hub_incarnation: Identity of the hub's database.
        now_ns: Wall clock, Unix epoch, UTC.
        heartbeat_interval_s: How often devices are told to report.
        install_timeout_s: How long a desire may go without a word from its device.

    Returns:
        A JSON document; what is not known is null, never guessed.
    """
    return {
        "schema": DEVICES_SCHEMA,
        "hub_incarnation": hub_incarnation,
        "at_ns": now_ns,
        "devices": [_device(device, now_ns, heartbeat_interval_s, install_timeout_s) for device in devices],
    }


def heartbeat_age_s(device: DeviceFacts, now_ns: int) -> float | None:
    """Tell how old the latest heartbeat is.

    Args:
        device: The device.
        now_ns: Wall clock, Unix epoch, UTC.

    Returns:
        Seconds, never negative; None if there was none, or if it was stamped by a clock that was ahead.
    """
    age_s = _stamp_age_s(device, now_ns)
    return None if age_s is None or age_s < -MAX_AHEAD_S else max(0.0, age_s)


def liveness_of(device: DeviceFacts, now_ns: int, interval_s: float) -> Liveness:
    """Tell whether a device is heard.

    Args:
        device: The device.
        now_ns: Wall clock, Unix epoch, UTC.
        interval_s: How often devices are told to report.

    Returns:
        By `core.liveness`.
    """
    return liveness(_stamp_age_s(device, now_ns), interval_s)


def _stamp_age_s(device: DeviceFacts, now_ns: int) -> float | None:
    if device.last_heartbeat_at_ns is None:
        return None
    return (now_ns - device.last_heartbeat_at_ns) / _NS_PER_S


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """One binding of one device."""

    device: DeviceKey
    binding: str


def desired_places(devices: Iterable[DeviceFacts]) -> dict[str, tuple[Place, ...]]:
    """Tell where packs should run.

    Args:
        devices: The registry.

    Returns:
        The places by name@version; devices that are no longer accepted are left out.
    """
    return _by_pack(
        (slot.pack, Place(device.key, slot.binding))
        for device in devices
        if device.desired is not None and not device.is_removed
        for slot in device.desired.slots
    )


def running_places(devices: Iterable[DeviceFacts]) -> dict[str, tuple[Place, ...]]:
    """Tell where packs ran, by the latest heartbeats.

    Args:
        devices: The registry.

    Returns:
        The places by name@version; devices that are no longer accepted are left out.
    """
    return _by_pack(
        (binding.model.pack, Place(device.key, binding.binding))
        for device in devices
        if device.heartbeat is not None and not device.is_removed
        for binding in device.heartbeat.bindings
    )


def _by_pack(found: Iterable[tuple[str, Place]]) -> dict[str, tuple[Place, ...]]:
    places: dict[str, tuple[Place, ...]] = {}
    for pack, place in found:
        places[pack] = (*places.get(pack, ()), place)
    return places


def slots_of(device: DeviceFacts, now_ns: int, install_timeout_s: float) -> tuple[SlotStatus, ...]:
    """Compare what a device should run with what it reports.

    Args:
        device: The device.
        now_ns: Wall clock, Unix epoch, UTC.
        install_timeout_s: How long a desire may go without a word from its device.

    Returns:
        One entry a binding, by `core.twin`.
    """
    word = None
    if device.heartbeat is not None and device.last_heartbeat_at_ns is not None:
        word = LastWord(device.heartbeat, device.last_heartbeat_at_ns)
    return slot_states(device.desired, word, now_ns=now_ns, install_timeout_s=install_timeout_s)


def _device(device: DeviceFacts, now_ns: int, interval_s: float, install_timeout_s: float) -> dict[str, Any]:
    age_s = heartbeat_age_s(device, now_ns)
    return {
        "org": device.key.org_id,
        "site": device.key.site_id,
        "device": device.key.device_id,
        "removed": device.is_removed,
        "liveness": liveness_of(device, now_ns, interval_s).value,
        "heartbeat_age_s": None if age_s is None else round(age_s, 3),
        "enrolled_at_ns": device.enrolled_at_ns,
        "certificate_not_after_ns": device.certificate_not_after_ns,
        "agent_version": device.agent_version or None,
        "store_id": device.store_id or None,
        "session_epoch": device.session_epoch,
        "escalations": {"items": device.items, "waiting": device.waiting},
        "verdicts": {"last_seq": device.verdicts, "acked_seq": device.verdicts_acked},
        "desired": None if device.desired is None else _desired(device.desired),
        "slots": [_status(one) for one in slots_of(device, now_ns, install_timeout_s)],
        "policies": _policies(device),
        "report": None if device.heartbeat is None else _report(device.heartbeat),
    }


def _policies(device: DeviceFacts) -> list[dict[str, Any]]:
    """How each binding decides, by the latest heartbeat, beside how it should."""
    said = () if device.heartbeat is None else device.heartbeat.policies
    bindings = () if device.heartbeat is None else device.heartbeat.bindings
    active = {one.binding: one for one in said if one.state is PolicyState.ACTIVE}
    backed = {one.binding: one.certificate_state for one in bindings}
    wanted = () if device.desired is None else device.desired.policies
    states = {one.desire.binding: one for one in policy_states(wanted, device.heartbeat)}
    return [
        {
            "binding": name,
            "version": active[name].policy_version if name in active else None,
            "threshold": active[name].threshold if name in active else None,
            "certificate_state": backed.get(name),
            "desired": _wanted(states[name]) if name in states else None,
        }
        for name in sorted(active.keys() | backed.keys() | states.keys())
    ]


def _wanted(status: PolicyStatus) -> dict[str, Any]:
    desire = status.desire
    return {
        "version": desire.policy.version,
        "mode": desire.policy.mode.value,
        "threshold": desire.policy.threshold,
        "state": status.phase.value,
        "detail": status.detail or None,
        "reason": desire.reason or None,
        "set_by": desire.set_by or None,
        "set_at_ns": desire.set_at_ns,
    }


def _desired(twin: DesiredTwin) -> dict[str, Any]:
    return {
        "version": twin.version,
        "set_by": twin.set_by or None,
        "set_at_ns": twin.set_at_ns,
        "slots": [
            {
                "binding": slot.binding,
                "pack": slot.pack,
                "digest": slot.digest,
                "set_by": slot.set_by or None,
                "set_at_ns": slot.set_at_ns,
            }
            for slot in twin.slots
        ],
    }


def _status(status: SlotStatus) -> dict[str, Any]:
    return {
        "binding": status.binding,
        "desired": status.desired_pack,
        "reported": status.reported_pack,
        "state": status.state.value,
        "reason": status.reason or None,
        "detail": status.detail or None,
        "since_ns": status.since_ns,
    }


def _report(heartbeat: Heartbeat) -> dict[str, Any]:
    return {
        "number": heartbeat.number,
        "device_time_ns": heartbeat.device_time_ns,
        "state": heartbeat.state,
        "problems": list(heartbeat.problems),
        "outbox": {
            "items": heartbeat.outbox_items,
            "bytes": heartbeat.outbox_bytes,
            "oldest_age_ms": heartbeat.outbox_oldest_age_ms,
        },
        "bindings": [
            {
                "binding": binding.binding,
                "pack": binding.model.pack,
                "digest": binding.model.digest,
                "decided": binding.decided,
                "escalated": binding.escalated,
                "answered": binding.answered,
                "certificate_state": binding.certificate_state,
                "answer_p95_ms": binding.answer_p95_ms,
            }
            for binding in heartbeat.bindings
        ],
        "desired_version": heartbeat.desired_version,
        "slots": [_slot(slot) for slot in heartbeat.slots],
    }


def _slot(slot: SlotReport) -> dict[str, Any]:
    failure = slot.failure
    return {
        "binding": slot.binding,
        "pack": slot.pack,
        "digest": slot.digest,
        "state": slot.state.value,
        "previous": slot.previous_pack,
        "pinned": slot.is_pinned,
        "phase": slot.phase.value,
        "done_bytes": slot.done_bytes,
        "total_bytes": slot.total_bytes,
        "failure": None
        if failure is None
        else {
            "pack": failure.pack,
            "digest": failure.digest,
            "action": failure.action.value,
            "reason": failure.reason,
            "detail": failure.detail,
            "at_ns": failure.at_ns,
        },
    }
