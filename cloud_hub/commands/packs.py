"""Owns `cloud-hub packs`: publishing packs under the site key, assigning them to bindings, and listing them.

Devices fetch them from `serve`. What is refused when a pack is assigned is `cloud_hub.assigning`.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cloud_hub.adapters.shelf import StoredPackShelf
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.assigning import assign, unassign
from cloud_hub.commands.arguments import Subparsers, add_config, add_group, add_json, device_named
from cloud_hub.commands.opened_store import with_store
from cloud_hub.config import load_config
from cloud_hub.core.events import COMMAND_LINE, EventKind, Happening
from cloud_hub.core.registry import Place, desired_places, running_places
from cloud_hub.core.twin import DesiredTwin
from cloud_hub.promising import note_promises
from model_packs.process.exits import Exit
from model_packs.signing import SiteKey
from model_packs.store import PackStore

SCHEMA = "tandem.packs/1"

_BYTES_PER_KIB = 1024


def add(subparsers: Subparsers) -> None:
    """Declare the commands."""
    group = add_group(subparsers, "packs", "published packs")
    publishing = group.add_parser("publish", help="import packs and sign them with the site key")
    publishing.add_argument("layouts", nargs="+", type=Path, metavar="LAYOUT", help="OCI image layout with one pack")
    add_config(publishing)
    publishing.set_defaults(run=publish)
    assigning = group.add_parser("assign", help="say which pack a binding of a device should run")
    assigning.add_argument("pack", metavar="NAME@VERSION", help="a published edge pack")
    assigning.add_argument("--device", required=True, metavar="SITE/DEVICE", help="an enrolled device")
    assigning.add_argument("--binding", required=True, metavar="B", help="one of its bindings")
    add_config(assigning)
    assigning.set_defaults(run=desire)
    ending = group.add_parser("unassign", help="say that nothing is wanted of a binding any more")
    ending.add_argument("--device", required=True, metavar="SITE/DEVICE", help="an enrolled device")
    ending.add_argument("--binding", required=True, metavar="B", help="one that something is desired for")
    add_config(ending)
    ending.set_defaults(run=end_desire)
    listing = group.add_parser("list", help="list packs, and where they should run and do")
    add_config(listing)
    add_json(listing)
    listing.set_defaults(run=show)


def publish(args: argparse.Namespace) -> int:
    """Import, sign and verify each layout; what is new becomes an event.

    Raises:
        CliError: The settings have problems.
        SigningError: The site key cannot be used.
        PackError: A layout is damaged, or holds no pack.
        StorageError: The database cannot be used.
        OSError: The pack store cannot be written.
    """
    config = load_config(args.config)
    key = SiteKey.load(config.folder.site_key)
    packs = PackStore(config.folder.packs)
    packs.open()

    async def publish_all(store: SqlStore) -> None:
        for layout in args.layouts:
            before = set(packs.refs().values())
            ref = packs.import_layout(layout)
            packs.sign(ref, key)
            digest = packs.load(ref, (key.public,)).digest
            if packs.resolve(ref) not in before:
                detail = {"digest": digest, "signed_by": key.public.key_id}
                told = Happening(
                    at_ns=time.time_ns(),
                    kind=EventKind.PACK_PUBLISHED,
                    actor=COMMAND_LINE,
                    subject=str(ref),
                    detail=detail,
                )
                await store.record(told)
            sys.stdout.write(f"published {ref} {digest}\n")
        await note_promises(StoredPackShelf(packs), store.policies)

    with_store(config, publish_all)
    return Exit.OK


def desire(args: argparse.Namespace) -> int:
    """State that a binding of a device should run a pack; the device takes it with its next heartbeat.

    Raises:
        CliError: The settings have problems, or the device is not named as SITE/DEVICE.
        DeviceNameError: The site or the device cannot be a name.
        AssignmentError: The pack, the device or the binding is refused.
        StorageError: The database or the pack store cannot be used.
    """
    config = load_config(args.config)
    device = device_named(config, args.device)
    shelf = StoredPackShelf(PackStore(config.folder.packs))

    async def state(store: SqlStore) -> DesiredTwin:
        return await assign(store, shelf, device, args.binding, args.pack, actor=COMMAND_LINE, now_ns=time.time_ns())

    twin = with_store(config, state)
    sys.stdout.write(f"{device} should run {args.pack} in {args.binding} (desired version {twin.version})\n")
    return Exit.OK


def end_desire(args: argparse.Namespace) -> int:
    """State that nothing is wanted of a binding any more; the device runs there what it has.

    Raises:
        CliError: The settings have problems, or the device is not named as SITE/DEVICE.
        DeviceNameError: The site or the device cannot be a name.
        AssignmentError: The device is refused, or nothing is desired there.
        StorageError: The database cannot be used.
    """
    config = load_config(args.config)
    device = device_named(config, args.device)

    async def end(store: SqlStore) -> DesiredTwin:
        return await unassign(store, device, args.binding, actor=COMMAND_LINE, now_ns=time.time_ns())

    twin = with_store(config, end)
    sys.stdout.write(f"nothing is desired for {args.binding} of {device} (desired version {twin.version})\n")
    return Exit.OK


def show(args: argparse.Namespace) -> int:
    """List the packs.

    Raises:
        CliError: The settings have problems.
        PackError: The pack store is damaged.
        StorageError: The database cannot be used.
    """
    config = load_config(args.config)
    stored = PackStore(config.folder.packs).list()
    devices = with_store(config, SqlStore.devices)
    desired, running = desired_places(devices), running_places(devices)
    if args.json:
        packs = [
            {
                **asdict(one),
                "ref": str(one.ref),
                "signed_by": list(one.signed_by),
                "desired_on": _places(desired.get(str(one.ref), ())),
                "running_on": _places(running.get(str(one.ref), ())),
            }
            for one in stored
        ]
        sys.stdout.write(json.dumps({"schema": SCHEMA, "packs": packs}) + "\n")
        return Exit.OK
    for one in stored:
        where = f"desired {len(desired.get(str(one.ref), ()))}, running {len(running.get(str(one.ref), ()))}"
        sys.stdout.write(f"{one.ref!s:40} {one.size_bytes / _BYTES_PER_KIB:10.0f} KiB  {where:22}  {one.digest}\n")
    if not stored:
        sys.stdout.write("no packs: cloud-hub packs publish LAYOUT\n")
    return Exit.OK


def _places(places: Iterable[Place]) -> list[dict[str, Any]]:
    return [
        {"site": place.device.site_id, "device": place.device.device_id, "binding": place.binding} for place in places
    ]
