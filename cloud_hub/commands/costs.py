"""Owns `cloud-hub costs`: what requests to full models cost, by day, caller and pack."""

import argparse
import json
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.commands.arguments import Subparsers, add_config, add_json
from cloud_hub.commands.opened_store import with_store
from cloud_hub.config import load_config
from cloud_hub.serving.accounts import NS_PER_DAY, CostRow
from model_packs.process.exits import CliError, Exit

SCHEMA = "tandem.costs/1"

_S_PER_DAY = 86_400
_NS_PER_S = 1e9
_BYTES_PER_MIB = 1 << 20


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("costs", help="show what requests to full models cost, by day, caller and pack")
    parser.add_argument("--days", type=int, default=7, metavar="N", help="days back, today included (default: 7)")
    add_config(parser)
    add_json(parser)
    parser.set_defaults(run=show)


def show(args: argparse.Namespace) -> int:
    """List what requests cost, the latest day first and in a day the dearest first.

    Raises:
        CliError: The settings have problems, or the number of days is none.
        StorageError: The database cannot be used.
    """
    if args.days < 1:
        raise CliError(f"--days {args.days} is out of range", "give 1 or more", Exit.USAGE)
    config = load_config(args.config)
    since = time.time_ns() // NS_PER_DAY - args.days + 1

    async def read(store: SqlStore) -> tuple[CostRow, ...]:
        return await store.costs.costs(since)

    rows = with_store(config, read)
    if args.json:
        sys.stdout.write(json.dumps({"schema": SCHEMA, "costs": [_document(row) for row in rows]}) + "\n")
        return Exit.OK
    _write_table(rows)
    return Exit.OK


def _write_table(rows: Iterable[CostRow]) -> None:
    head = ("day", "tenant", "caller", "pack", "requests", "windows", "seconds", "MiB in", "MiB out")
    lines = [
        (
            _day(row.day),
            row.key.tenant,
            row.key.caller,
            row.key.pack,
            f"{row.cost.requests}",
            f"{row.cost.windows}",
            f"{row.cost.compute_ns / _NS_PER_S:.3f}",
            f"{row.cost.input_bytes / _BYTES_PER_MIB:.1f}",
            f"{row.cost.output_bytes / _BYTES_PER_MIB:.1f}",
        )
        for row in rows
    ]
    if not lines:
        sys.stdout.write("no requests: nothing was asked of the full models in these days\n")
        return
    widths = [max(len(line[column]) for line in (head, *lines)) for column in range(len(head))]
    for line in (head, *lines):
        texts = (cell.ljust(width) for cell, width in zip(line[:4], widths[:4], strict=True))
        numbers = (cell.rjust(width) for cell, width in zip(line[4:], widths[4:], strict=True))
        sys.stdout.write("  ".join((*texts, *numbers)) + "\n")


def _document(row: CostRow) -> dict[str, Any]:
    return {
        "day": _day(row.day),
        "tenant": row.key.tenant,
        "caller": row.key.caller,
        "pack": row.key.pack,
        "requests": row.cost.requests,
        "windows": row.cost.windows,
        "cached": row.cost.cached,
        "compute_s": row.cost.compute_ns / _NS_PER_S,
        "input_bytes": row.cost.input_bytes,
        "output_bytes": row.cost.output_bytes,
    }


def _day(day: int) -> str:
    return datetime.fromtimestamp(day * _S_PER_DAY, UTC).date().isoformat()
