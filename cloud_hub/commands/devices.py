"""Owns `cloud-hub devices`: the registry on a screen or as the document of `core.registry`, and leaving it."""

import argparse
import json
import sys
import time
from typing import Any

from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.commands.arguments import Subparsers, add_config, add_group, add_json, device_named
from cloud_hub.commands.opened_store import with_store
from cloud_hub.config import load_config
from cloud_hub.core.events import COMMAND_LINE
from cloud_hub.core.registry import devices_document
from cloud_hub.core.twin import Comparison
from model_packs.process.exits import Exit

_HEADING = (
    f"{'DEVICE':24} {'SITE':12} {'HEARD':11} {'AGE':>7}  {'STATE':9} {'OUTBOX':>7} {'ASKED':>7} {'WAIT':>5}  PACKS"
)


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    group = add_group(subparsers, "devices", "enrolled devices")
    parser = group.add_parser("list", help="list devices and how they are")
    add_config(parser)
    add_json(parser)
    parser.set_defaults(run=show)
    removing = group.add_parser(
        "remove", help="let a device in no more, from its next heartbeat or connection on; what it has said stays"
    )
    removing.add_argument("device", metavar="SITE/DEVICE", help="an enrolled device")
    add_config(removing)
    removing.set_defaults(run=remove)


def show(args: argparse.Namespace) -> int:
    """List the devices.

    Raises:
        CliError: The settings have problems.
        StorageError: The database cannot be used.
    """
    config = load_config(args.config)

    async def read(store: SqlStore) -> dict[str, Any]:
        return devices_document(
            await store.devices(),
            hub_incarnation=store.incarnation,
            now_ns=time.time_ns(),
            heartbeat_interval_s=config.fleet.heartbeat_interval_s,
            install_timeout_s=config.fleet.install_timeout_s,
        )

    document = with_store(config, read)
    sys.stdout.write(json.dumps(document) + "\n" if args.json else _screen(document["devices"]))
    return Exit.OK


def remove(args: argparse.Namespace) -> int:
    """Remove a device from the registry; a new enrolment brings it back.

    Raises:
        CliError: The settings have problems, or no site is named.
        DeviceAbsentError: It was never enrolled.
        DeviceNameError: The site or the device cannot be a name.
        StorageError: The database cannot be used.
    """
    config = load_config(args.config)
    key = device_named(config, args.device)
    with_store(config, lambda store: store.remove_device(key, actor=COMMAND_LINE, now_ns=time.time_ns()))
    back = f"cloud-hub tokens create --site {key.site_id} --device {key.device_id}"
    sys.stderr.write(f"{key} is not let in any more, from its next heartbeat or connection on; back again: {back}\n")
    return Exit.OK


def _screen(devices: list[dict[str, Any]]) -> str:
    if not devices:
        return "no devices: cloud-hub tokens create --site SITE, then edge-agent enrol on the device\n"
    return "\n".join([_HEADING, *(_line(device) for device in devices)]) + "\n"


def _line(device: dict[str, Any]) -> str:
    report = _printable(device["report"]) or {"state": "?", "outbox": {"items": "?"}}
    age = "-" if device["heartbeat_age_s"] is None else f"{device['heartbeat_age_s']:.0f} s"
    packs = ", ".join(dict.fromkeys(_pack(slot) for slot in _printable(device["slots"]))) or "-"
    asked = device["escalations"]
    heard = "removed" if device["removed"] else device["liveness"]
    return (
        f"{device['device']:24} {device['site']:12} {heard:11} {age:>7}  {report['state']:9} "
        f"{report['outbox']['items']:>7} {asked['items']:>7} {asked['waiting']:>5}  {packs}"
    )


def _pack(slot: dict[str, Any]) -> str:
    """What a binding runs, and what becomes of what it should run; several bindings that say the same say it once."""
    runs = slot["reported"] or "?"
    if slot["state"] == Comparison.IN_SYNC:
        return str(runs)
    wants = "" if slot["desired"] in (None, slot["reported"]) else f" -> {slot['desired']}"
    why = f": {slot['reason']}" if slot["reason"] else ""
    return f"{runs}{wants} ({slot['state']}{why})"


def _printable(value: Any) -> Any:  # noqa: ANN401 - JSON
    """A JSON value whose texts cannot move a terminal's cursor: devices wrote them."""
    match value:
        case str():
            return "".join(letter if letter.isprintable() else "?" for letter in value)
        case list():
            return [_printable(item) for item in value]
        case dict():
            return {key: _printable(item) for key, item in value.items()}
        case _:
            return value
