"""Owns `edge-agent audit`: every equation of conservation, from the database, in one transaction.

It works while the agent runs and after it died; it changes nothing.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from edge_agent.adapters.sqlite.reading import Reader
from edge_agent.adapters.sqlite.store import FILE_NAME
from edge_agent.commands.arguments import Subparsers, add_config, add_json
from edge_agent.config import load
from edge_agent.core.accounting import DEVICE, SCHEMA, Equation, audit_document, equations
from model_packs.process.exits import Exit

_DOES_NOT_HOLD = 1


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "audit",
        help="prove that nothing was lost or counted twice",
        description="Print every equation of conservation. Exit status 1: one does not hold.",
    )
    add_config(parser)
    add_json(parser, SCHEMA)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read, check, print.

    Raises:
        StoreError: There is no database, or it cannot be read.
    """
    config = load(args.config)
    device = config.agent.device
    reader = Reader(device.state_dir / FILE_NAME)
    reader.open()
    try:
        counts = {(str(binding), name): value for (binding, name), value in reader.figures().items()}
    finally:
        reader.close()
    found = equations(counts, [DEVICE, *(one.id for one in config.bindings.binding)])
    if args.json:
        sys.stdout.write(json.dumps(audit_document(device.id, found), indent=2) + "\n")
    else:
        sys.stdout.write(_screen(found))
    return Exit.OK if all(one.holds for one in found) else _DOES_NOT_HOLD


def _screen(found: Sequence[Equation]) -> str:
    lines: list[str] = []
    for one in found:
        terms = " + ".join(f"{term.value} {term.name.partition('_')[2]}" for term in one.terms)
        mark = "ok  " if one.holds else "FAIL"
        lines.append(f"{mark} {one.binding or 'device'}  {one.name}: {one.left.value} = {terms}")
    broken = sum(not one.holds for one in found)
    lines.append(f"{broken} of {len(found)} equations do not hold" if broken else "every equation holds")
    return "\n".join(lines) + "\n"
