"""Owns the doctor's look at the fleet: does every binding run what it should, or is it on the way."""

import asyncio
from collections.abc import Iterator, Sequence

from cloud_hub.adapters.sql import database
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.config import HubConfig
from cloud_hub.core.registry import DeviceFacts, slots_of
from cloud_hub.core.twin import Comparison
from cloud_hub.errors import StorageError
from cloud_hub.examination.findings import Finding, ok, warning
from cloud_hub.ports import Clock

_MAX_NAMED = 5


def examine_fleet(config: HubConfig, clock: Clock) -> Iterator[Finding]:
    """Compare what is desired with what was reported; must not be called inside an event loop.

    Args:
        config: Names the database, and says how long a desire may wait.
        clock: Wall clock.

    Yields:
        What was found; nothing while the database cannot be read (`examine_database` says so).
    """
    try:
        devices = asyncio.run(_devices(config, clock))
    except StorageError:
        return
    name, accepted = "desired packs", [device for device in devices if not device.is_removed]
    failed = [
        f"{device.key.site_id}/{device.key.device_id} {slot.binding}"
        for device in accepted
        for slot in slots_of(device, clock(), config.fleet.install_timeout_s)
        if slot.state is Comparison.FAILED
    ]
    if failed:
        more = f" and {len(failed) - _MAX_NAMED} more" if len(failed) > _MAX_NAMED else ""
        named = ", ".join(failed[:_MAX_NAMED]) + more
        yield warning(name, f"did not arrive at {named}", "`cloud-hub devices list` says why")
    else:
        n_desired = sum(len(device.desired.slots) for device in accepted if device.desired is not None)
        yield ok(name, f"{n_desired} on {len(accepted)} devices, none has failed")


async def _devices(config: HubConfig, clock: Clock) -> Sequence[DeviceFacts]:
    store = SqlStore(database.make_engine(config.database), clock)
    try:
        await store.open()
        return await store.devices()
    finally:
        await store.close()
