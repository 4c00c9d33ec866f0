"""Owns the doctor's look at where the hub keeps things: the database's revision and the disk's free space."""

import asyncio
import shutil

from cloud_hub.adapters.sql import database
from cloud_hub.config import HubConfig
from cloud_hub.errors import StorageError
from cloud_hub.examination.findings import Finding, failed, ok, warning

MIN_FREE_BYTES = 1 << 30


def examine_database(config: HubConfig) -> Finding:
    """Compare the database's revision with the newest; must not be called inside an event loop.

    Args:
        config: Names the database.

    Returns:
        What was found.
    """
    name = "database"
    try:
        at = asyncio.run(_revision(config))
    except StorageError as error:
        return failed(name, str(error), "check database_url and that the database runs")
    if at is None:
        return failed(name, "has no tables", "`cloud-hub init DIR` makes a hub, `serve` upgrades its database")
    if at != database.head():
        return warning(name, f"at revision {at}, not {database.head()}", "`cloud-hub serve` upgrades it")
    return ok(name, f"at revision {at}, the newest")


async def _revision(config: HubConfig) -> str | None:
    engine = database.make_engine(config.database)
    try:
        return await database.revision(engine)
    finally:
        await engine.dispose()


def examine_disk(config: HubConfig) -> Finding:
    """See how much space is left.

    Args:
        config: Says where the hub's folder is.

    Returns:
        What was found.
    """
    name = "disk"
    try:
        free = shutil.disk_usage(config.state_dir).free
    except OSError as error:
        return failed(name, f"{config.state_dir}: {error.strerror}", "check state_dir in hub.toml")
    message = f"{free / MIN_FREE_BYTES:.1f} GiB free in {config.state_dir}"
    if free < MIN_FREE_BYTES:
        return warning(name, message, "free some space: every escalated window is kept")
    return ok(name, message)
