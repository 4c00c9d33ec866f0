"""Owns `cloud-hub recertify`: a new threshold for a device from its own field data, without a new pack.

What may be certified, and on what, is `cloud_hub.recertifying`.
"""

import argparse
import json
import sys
import time

from cloud_hub.adapters.shelf import StoredPackShelf
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.commands.arguments import Subparsers, add_config, add_json, device_named
from cloud_hub.commands.opened_store import with_store
from cloud_hub.config import load_config
from cloud_hub.core.events import COMMAND_LINE
from cloud_hub.recertifying import Recertified, Wish, recertify
from model_packs.process.exits import Exit
from model_packs.signing import SiteKey
from model_packs.store import PackStore

SCHEMA = "tandem.recertified/1"
_NS_PER_DAY = 86_400 * 1_000_000_000


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("recertify", help="certify a device's pack anew on its own field data")
    parser.add_argument("device", metavar="SITE/DEVICE", help="an enrolled device")
    parser.add_argument("--binding", required=True, metavar="B", help="one of its bindings")
    parser.add_argument("--target", type=float, metavar="SHARE", help="losses among the kept (default: as before)")
    parser.add_argument("--delta", type=float, metavar="SHARE", help="chance that it fails (default: as before)")
    parser.add_argument(
        "--unit",
        choices=("row", "cluster"),
        help="what is an independent draw: a window, or a whole day (default: as the pack's certificate has it)",
    )
    parser.add_argument(
        "--days", type=float, metavar="N", help="use the last N days (default: since the policy in force began)"
    )
    add_config(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Certify; the device takes the policy with its next heartbeat.

    Raises:
        CliError: The settings have problems, or the device is not named as SITE/DEVICE.
        DeviceNameError: The site or the device cannot be a name.
        SigningError: The site key cannot be used.
        AssignmentError: The device, the binding, the pack or the rows do not do; the message says how many would.
        StorageError: The database or the pack store cannot be used.
    """
    config = load_config(args.config)
    key = SiteKey.load(config.folder.site_key)
    shelf = StoredPackShelf(PackStore(config.folder.packs))
    now_ns = time.time_ns()
    wish = Wish(
        device=device_named(config, args.device),
        binding=args.binding,
        target=args.target,
        delta=args.delta,
        since_ns=None if args.days is None else now_ns - round(args.days * _NS_PER_DAY),
        actor=COMMAND_LINE,
        now_ns=now_ns,
        unit=args.unit,
    )

    async def work(store: SqlStore) -> Recertified:
        return await recertify(store, store.policies, shelf, key, wish)

    found = with_store(config, work)
    sys.stdout.write((json.dumps(_document(found)) if args.json else _told(found, wish)) + "\n")
    return Exit.DATA if found.certificate is None else Exit.OK


def _told(found: Recertified, wish: Wish) -> str:
    certified = found.certified
    missing = f", {found.n_missing} of them judged by nobody, which count as wrong" if found.n_missing else ""
    rows = f"{found.n_rows} windows of the field{missing}"
    if found.certificate is None or found.desire is None or found.twin is None:
        more = "" if certified.more_needed is None else f": about {certified.more_needed} more judged windows would do"
        return f"no threshold qualifies on {rows}{more}; nothing is changed, so everything that is escalated stays so"
    return (
        f"{wish.device} should keep what {wish.binding} scores {certified.threshold:.4f} or more: "
        f"at most {certified.target:g} {found.certificate.risk}, on {rows} "
        f"(policy {found.desire.policy.version}, desired version {found.twin.version})\n{found.certificate.digest}"
    )


def _document(found: Recertified) -> dict[str, object]:
    certified, desire, twin = found.certified, found.desire, found.twin
    return {
        "schema": SCHEMA,
        "threshold": certified.threshold,
        "target": certified.target,
        "delta": certified.delta,
        "coverage": certified.coverage,
        "windows": found.n_rows,
        "judged_by_nobody": found.n_missing,
        "more_needed": certified.more_needed,
        "certificate": None if found.certificate is None else found.certificate.digest,
        "policy": None if desire is None else desire.policy.version,
        "desired_version": None if twin is None else twin.version,
    }
