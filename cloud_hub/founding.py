"""Owns making a new hub: its folder, certificates, site key, pack store and database; never over an existing one.

The settings file is written last: its presence means that the hub is whole.
"""

import asyncio
import contextlib
import ipaddress
import re
import socket
from collections.abc import Sequence
from pathlib import Path

from cloud_hub.adapters.sql import database
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.adapters.x509.authority import create_authority
from cloud_hub.adapters.x509.server_certificate import create_server_certificate
from cloud_hub.config import CONFIG_NAME, HubConfig, sample_hub
from cloud_hub.ports import Clock
from model_packs.process.durable import make_folder, write_file
from model_packs.process.exits import CliError, Exit
from model_packs.signing import generate_site_key
from model_packs.store import PackStore

_DNS_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", re.IGNORECASE)
_LOOPBACK_NAMES = ("localhost", "127.0.0.1")


def found_hub(folder: Path, names: Sequence[str], clock: Clock) -> Path:
    """Make a hub.

    Args:
        folder: Where; must not exist, or be empty.
        names: DNS names and IP addresses under which devices reach it; loopback and this host's name are added.
        clock: Wall clock.

    Returns:
        The settings file.

    Raises:
        CliError: The folder holds something, or a name is none.
        StorageError: The database cannot be made.
        OSError: A file cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CliError(
            f"{folder} is not empty: an existing hub is never overwritten",
            "choose another folder; the keys of an existing hub are what its devices trust",
            Exit.USAGE,
        )
    reachable = _checked(names)
    make_folder(folder)
    config = HubConfig(state_dir=folder)
    files = config.folder
    create_authority(files.ca_key, files.ca_certificate, org_id=config.identity.org_id, now_ns=clock())
    create_server_certificate(
        files.ca_key,
        files.ca_certificate,
        key_path=files.server_key,
        certificate_path=files.server_certificate,
        names=reachable,
        now_ns=clock(),
    )
    generate_site_key(files.site_key)
    PackStore(files.packs).open()
    asyncio.run(_make_database(config, clock))
    write_file(folder / CONFIG_NAME, sample_hub().encode())
    return folder / CONFIG_NAME


async def _make_database(config: HubConfig, clock: Clock) -> None:
    store = SqlStore(database.make_engine(config.database), clock)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        await store.upgrade()
        await store.open()


def _checked(names: Sequence[str]) -> list[str]:
    """The names for the certificate, each once, those of the operator first."""
    for name in names:
        if not _is_address(name) and not _DNS_NAME.fullmatch(name):
            raise CliError(
                f"--name {name!r} is neither a DNS name nor an IP address",
                "give what devices will have in their [hub] address, without port",
                Exit.USAGE,
            )
    host = socket.gethostname()
    own = [host] if _DNS_NAME.fullmatch(host) else []
    return list(dict.fromkeys([*names, *_LOOPBACK_NAMES, *own]))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
