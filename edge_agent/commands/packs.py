"""Owns `edge-agent packs`: which pack each binding runs and why, and changing that by hand, with or without the daemon.

It changes the same small file as the daemon, under the same lock; a running daemon follows within a second. What a
change may be is `core/pack_slots.py`; the checks of a pack are those of every install (docs/packs.md).
"""

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from edge_agent.adapters.clock import SystemClock
from edge_agent.adapters.slot_file import SlotFile
from edge_agent.binding_config import BindingConfig
from edge_agent.commands.arguments import Subparsers, add_config, add_json
from edge_agent.commands.status import slot_lines
from edge_agent.config import Config, load
from edge_agent.core.pack_slots import (
    FailureReason,
    Move,
    PackId,
    PackRefusedError,
    Slot,
    SlotMoveError,
    pin,
    release,
    roll_back,
    start_trial,
    target,
)
from edge_agent.packs.device_slots import DeviceSlots, failure_of
from edge_agent.packs.installer import compare
from edge_agent.packs.probing import Probe
from edge_agent.packs.trusted_packs import TrustedPacks, factory_pack, find_pack, trusted_keys
from edge_agent.reporting.status import slot_json
from model_packs.errors import PackError
from model_packs.pack import Pack
from model_packs.process.exits import CliError, Exit
from model_packs.store import PackStore, StoredPack
from protos.messages.fleet import FailureAction

SCHEMA = "edge.packs/1"


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "packs", help="show and change which packs run", description="Show and change which packs run."
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="show each binding's pack", description="Show each binding's pack.")
    pinning = actions.add_parser(
        "pin",
        help="hold a binding's pack, or another one that is on this device",
        description="Hold a binding's pack: what the hub wants waits. With PACK, try that one, as an install does.",
    )
    releasing = actions.add_parser(
        "release",
        help="follow the hub again",
        description="Follow the hub again; a pack that was refused or rolled back gets another chance.",
    )
    rolling = actions.add_parser(
        "rollback",
        help="go back to the pack before",
        description="Go back to the pack before, or to the one of bindings.toml; the one left is not installed again "
        "until the hub wants another, or the binding is released.",
    )
    for one in (pinning, releasing, rolling):
        one.add_argument("binding", metavar="BINDING", help="its name in bindings.toml")
    pinning.add_argument("pack", metavar="PACK", nargs="?", help="name@version, of the packs on this device")
    for one, run in ((listing, _list), (pinning, _pin), (releasing, _release), (rolling, _roll_back)):
        add_config(one)
        add_json(one, SCHEMA)
        one.set_defaults(run=run)


def _list(args: argparse.Namespace) -> int:
    return _show(load(args.config), args)


def _pin(args: argparse.Namespace) -> int:
    config = load(args.config)
    binding = _binding(config, args.binding)
    factory = factory_pack(config, binding)
    slots = _slots(config)
    slot = slots.read().of(binding.id)
    wanted = None if args.pack is None else _stored(config, factory, args.pack)
    if wanted is None or wanted == (slot.active or factory):
        return _changed(config, args, binding, pin)
    _examine(config, binding, slot, wanted)
    now_ns = SystemClock().wall_ns()
    return _changed(config, args, binding, lambda slot: pin(start_trial(slot, target(wanted, factory), now_ns)))


def _release(args: argparse.Namespace) -> int:
    config = load(args.config)
    return _changed(config, args, _binding(config, args.binding), release)


def _roll_back(args: argparse.Namespace) -> int:
    config = load(args.config)
    binding = _binding(config, args.binding)
    slot = _slots(config).read().of(binding.id)
    if not slot.has_way_back:
        raise SlotMoveError(slot.state, Move.ROLL_BACK)
    _verified(config, binding, slot.previous)
    left = slot.active or factory_pack(config, binding)
    error = PackRefusedError(FailureReason.BY_HAND, left.pack, f"pack {left.pack} was rolled back by hand", "")
    failure = failure_of(left, FailureAction.ROLLED_BACK, error, SystemClock().wall_ns())
    return _changed(config, args, binding, _unless_moved(binding, slot, lambda now: roll_back(now, failure)))


def _unless_moved(binding: BindingConfig, seen: Slot, change: Callable[[Slot], Slot]) -> Callable[[Slot], Slot]:
    """Refuse a change of a slot that is not any more the one that was looked at."""

    def checked(now: Slot) -> Slot:
        if now != seen:
            message = f"the slot of {binding.name} moved while its packs were checked; nothing was changed"
            raise CliError(message, "look at it with `edge-agent packs list`, then ask again", Exit.UNAVAILABLE)
        return change(now)

    return checked


def _binding(config: Config, name: str) -> BindingConfig:
    found = next((one for one in config.bindings.binding if one.name == name), None)
    if found is None:
        known = ", ".join(one.name for one in config.bindings.binding)
        raise CliError(f"no binding {name!r} in {config.agent.bindings}", f"bindings here: {known}", Exit.USAGE)
    return found


def _slots(config: Config) -> DeviceSlots:
    return DeviceSlots(SlotFile(config.agent.device.packs_dir))


def _stored(config: Config, factory: PackId, name: str) -> PackId:
    if name == factory.pack:
        return factory
    here = _packs(config)
    found = next((one for one in here if str(one.ref) == name), None)
    if found is None:
        names = ", ".join(sorted({factory.pack, *(str(one.ref) for one in here)}))
        message = f"pack {name} is not on this device"
        mend = f"packs here: {names}; another one comes when the hub wants it: `cloud-hub packs assign`"
        raise PackRefusedError(FailureReason.NOT_FOUND, name, message, mend)
    return PackId(name, found.digest)


def _packs(config: Config) -> tuple[StoredPack, ...]:
    root = config.agent.device.packs_dir
    try:
        return PackStore(root).list() if (root / "index.json").exists() else ()
    except PackError as error:
        raise CliError(f"packs in {root}: {error}", error.mend, Exit.DATA) from error


def _verified(config: Config, binding: BindingConfig, pack: PackId | None) -> Pack:
    """A slot's pack, checked down to the last byte; None: the factory's."""
    if pack is not None:
        return TrustedPacks(config).verified(pack)
    found = find_pack(config, binding, trusted_keys(config))
    if found is None:
        message = f"pack {binding.pack} is not on this device"
        raise PackRefusedError(FailureReason.NOT_FOUND, binding.pack, message, "`edge-agent enrol` fetches it")
    return found


def _examine(config: Config, binding: BindingConfig, slot: Slot, wanted: PackId) -> None:
    agent, factory = config.agent, factory_pack(config, binding)
    aim = target(wanted, factory)
    pack = _verified(config, binding, aim)
    compare(binding, pack.manifest, _verified(config, binding, slot.active).manifest)
    root = config.pack_path(binding.pack) if aim is None and binding.is_pack_path else agent.device.packs_dir
    Probe(root, engine=agent.engine, timeout_s=agent.packs.probe_timeout_s).run(wanted)


def _changed(config: Config, args: argparse.Namespace, binding: BindingConfig, change: Callable[[Slot], Slot]) -> int:
    slots = _slots(config)
    try:
        slots.open()
        slots.change(binding.id, change)
    except OSError as error:
        where = error.filename or config.agent.device.packs_dir
        raise CliError(f"{where}: {error.strerror}", "run it as the agent's user", Exit.UNAVAILABLE) from error
    return _show(config, args)


def _show(config: Config, args: argparse.Namespace) -> int:
    document = _document(config)
    sys.stdout.write(json.dumps(document, indent=2) + "\n" if args.json else _screen(document))
    return Exit.OK


def _document(config: Config) -> dict[str, Any]:
    factories = {one.id: factory_pack(config, one) for one in config.bindings.binding}
    twin = _slots(config).twin(factories)
    return {
        "schema": SCHEMA,
        "device": config.agent.device.id,
        "desired_version": twin.desired.version,
        "bindings": [
            {
                "binding": report.binding,
                "factory_pack": factory.pack,
                "slot": slot_json(report, twin.desired),
            }
            for report, factory in zip(twin.reports, factories.values(), strict=True)
        ],
        "packs": [
            {
                "pack": str(one.ref),
                "digest": one.digest,
                "size_bytes": one.size_bytes,
                "active_in": [report.binding for report in twin.reports if report.digest == one.digest],
            }
            for one in _packs(config)
        ],
    }


def _screen(document: dict[str, Any]) -> str:
    lines = []
    for binding in document["bindings"]:
        slot = binding["slot"]
        digest = f" ({slot['digest'][:19]}…)" if slot["digest"] else ", not on this device"
        lines.append(f"{binding['binding']}: {slot['pack']}{digest}, {slot['state']}")
        if slot["previous_pack"] is not None:
            lines.append(f"    before     {slot['previous_pack']}")
        lines += slot_lines(slot)
    lines.append("on this device")
    for pack in document["packs"]:
        use = ", ".join(pack["active_in"]) or "-"
        lines.append(f"    {pack['pack']:<32} {pack['size_bytes']:>12} bytes  {use}")
    return "\n".join(lines) + "\n"
