"""Owns `cloud-hub packs`: publishing packs under the site key, and listing them. Devices fetch them from `serve`."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from cloud_hub.commands.arguments import Subparsers, add_config, add_group, add_json
from cloud_hub.config import load_config
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
    listing = group.add_parser("list", help="list packs")
    add_config(listing)
    add_json(listing)
    listing.set_defaults(run=show)


def publish(args: argparse.Namespace) -> int:
    """Import, sign and verify each layout.

    Raises:
        CliError: The settings have problems.
        SigningError: The site key cannot be used.
        PackError: A layout is damaged, or holds no pack.
        OSError: The pack store cannot be written.
    """
    config = load_config(args.config)
    key = SiteKey.load(config.folder.site_key)
    store = PackStore(config.folder.packs)
    store.open()
    for layout in args.layouts:
        ref = store.import_layout(layout)
        store.sign(ref, key)
        sys.stdout.write(f"published {ref} {store.load(ref, (key.public,)).digest}\n")
    return Exit.OK


def show(args: argparse.Namespace) -> int:
    """List the packs.

    Raises:
        CliError: The settings have problems.
        PackError: The pack store is damaged.
    """
    config = load_config(args.config)
    stored = PackStore(config.folder.packs).list()
    if args.json:
        packs = [{**asdict(one), "ref": str(one.ref), "signed_by": list(one.signed_by)} for one in stored]
        sys.stdout.write(json.dumps({"schema": SCHEMA, "packs": packs}) + "\n")
        return Exit.OK
    for one in stored:
        sys.stdout.write(f"{one.ref!s:40} {one.size_bytes / _BYTES_PER_KIB:10.0f} KiB  {one.digest}\n")
    if not stored:
        sys.stdout.write("no packs: cloud-hub packs publish LAYOUT\n")
    return Exit.OK
