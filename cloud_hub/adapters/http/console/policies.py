"""Owns reading what a page tells of policies; how it is told is `core.console.policy_view`."""

from collections.abc import Iterable

from cloud_hub.adapters.http.views import WebParts
from cloud_hub.core.console.policy_view import PolicyLine, lines, needs_a_look
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.monitoring.record import PolicyRecord
from cloud_hub.core.registry import DeviceFacts

_NS_PER_S = 1_000_000_000


async def of_device(parts: WebParts, device: DeviceFacts, now_ns: int) -> tuple[PolicyLine, ...]:
    """Tell the policies of one device; raises StorageError."""
    return await _lines(parts, (device,), device.key, now_ns)


async def of_fleet(parts: WebParts, devices: Iterable[DeviceFacts], now_ns: int) -> tuple[PolicyLine, ...]:
    """Tell the policies of the fleet that need a look; raises StorageError."""
    found = await _lines(parts, [one for one in devices if not one.is_removed], None, now_ns)
    return tuple(line for line in found if needs_a_look(line))


async def _lines(
    parts: WebParts, devices: Iterable[DeviceFacts], only: DeviceKey | None, now_ns: int
) -> tuple[PolicyLine, ...]:
    of_device: dict[DeviceKey, list[PolicyRecord]] = {}
    for record in await parts.policies.records(only):
        of_device.setdefault(record.key.device, []).append(record)
    overdue = await parts.policies.overdue(only, now_ns - round(parts.overdue_s * _NS_PER_S))
    return tuple(line for device in devices for line in lines(device, of_device.get(device.key, ()), overdue))
