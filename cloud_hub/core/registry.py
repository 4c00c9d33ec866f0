"""Owns what the hub knows about one device, as facts side by side, and how that is written for people and programs.

The document is `cloud_hub/schemas/devices.schema.json`; the command line and the HTTP app show the same one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.liveness import liveness
from protos.messages.fleet import Heartbeat

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


def devices_document(
    devices: Iterable[DeviceFacts], *, hub_incarnation: str, now_ns: int, heartbeat_interval_s: float
) -> dict[str, Any]:
    """Write the registry.

    Args:
        devices: The devices, in the order to show.
        hub_incarnation: Identity of the hub's database.
        now_ns: Wall clock, Unix epoch, UTC.
        heartbeat_interval_s: How often devices are told to report.

    Returns:
        A JSON document; what is not known is null, never guessed.
    """
    return {
        "schema": DEVICES_SCHEMA,
        "hub_incarnation": hub_incarnation,
        "at_ns": now_ns,
        "devices": [_device(device, now_ns, heartbeat_interval_s) for device in devices],
    }


def heartbeat_age_s(device: DeviceFacts, now_ns: int) -> float | None:
    """Tell how old the latest heartbeat is.

    Args:
        device: The device.
        now_ns: Wall clock, Unix epoch, UTC.

    Returns:
        Seconds, never negative; None if there was none.
    """
    if device.last_heartbeat_at_ns is None:
        return None
    return max(0, now_ns - device.last_heartbeat_at_ns) / _NS_PER_S


def _device(device: DeviceFacts, now_ns: int, interval_s: float) -> dict[str, Any]:
    age_s = heartbeat_age_s(device, now_ns)
    return {
        "org": device.key.org_id,
        "site": device.key.site_id,
        "device": device.key.device_id,
        "removed": device.is_removed,
        "liveness": liveness(age_s, interval_s).value,
        "heartbeat_age_s": None if age_s is None else round(age_s, 3),
        "enrolled_at_ns": device.enrolled_at_ns,
        "certificate_not_after_ns": device.certificate_not_after_ns,
        "agent_version": device.agent_version or None,
        "store_id": device.store_id or None,
        "session_epoch": device.session_epoch,
        "escalations": {"items": device.items, "waiting": device.waiting},
        "verdicts": {"last_seq": device.verdicts, "acked_seq": device.verdicts_acked},
        "report": None if device.heartbeat is None else _report(device.heartbeat),
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
            }
            for binding in heartbeat.bindings
        ],
    }
