"""Owns reading what is known of devices since their packs last changed: what their state is judged by."""

from cloud_hub.adapters.http.views import WebParts
from cloud_hub.core.console.fleet_view import LATELY_S, Lately, lately, pack_changes
from cloud_hub.core.devices import DeviceKey

_NS_PER_S = 1_000_000_000
_EVENTS_READ = 500
_MOST_CHANGED = 25


async def changed(parts: WebParts, now_ns: int) -> dict[DeviceKey, Lately]:
    """Read it of the devices that changed last, of so many as a page can wait for.

    Raises:
        StorageError: The database does not answer.
    """
    events = await parts.fleet.recent_events(_EVENTS_READ)
    found = pack_changes(events, now_ns - LATELY_S * _NS_PER_S)
    newest = sorted(found, key=lambda device: -found[device])[:_MOST_CHANGED]
    return {device: await _since(parts, device, found[device], now_ns) for device in newest}


async def of_device(parts: WebParts, device: DeviceKey, now_ns: int) -> Lately:
    """Read it of one device.

    Raises:
        StorageError: The database does not answer.
    """
    begin_ns = now_ns - LATELY_S * _NS_PER_S
    found = pack_changes(await parts.fleet.recent_events(_EVENTS_READ, device), begin_ns)
    return await _since(parts, device, found.get(device, begin_ns), now_ns)


async def _since(parts: WebParts, device: DeviceKey, since_ns: int, now_ns: int) -> Lately:
    trend = await parts.fleet.trend(device, since_ns, now_ns)
    return lately(trend, await parts.cases.case_trend(since_ns, LATELY_S, device))
