"""Owns `cloud-hub doctor`: every check in one list, each ok, a warning, or failed with its mend; and the exit code.

What is checked is `cloud_hub/examination/`. The document of `--json` has the shape of `edge-agent doctor`'s. It starts
no hub and changes nothing; it may run beside one.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from cloud_hub.commands.arguments import Subparsers, add_config, add_json
from cloud_hub.config import HubConfig, load_config
from cloud_hub.examination.findings import Finding, State
from cloud_hub.examination.fleet import examine_fleet
from cloud_hub.examination.keys import examine_keys
from cloud_hub.examination.packs import examine_packs
from cloud_hub.examination.people import examine_people
from cloud_hub.examination.ports import examine_ports
from cloud_hub.examination.storage import examine_database, examine_disk
from cloud_hub.ports import Clock
from model_packs.process.exits import Exit

SCHEMA = "tandem.doctor/1"


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("doctor", help="examine the hub and say what to mend")
    add_config(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Examine and print.

    Raises:
        CliError: The settings have problems.
    """
    findings = tuple(_examine(load_config(args.config), time.time_ns))
    if args.json:
        sys.stdout.write(json.dumps(_document(findings)) + "\n")
    else:
        sys.stdout.writelines(_line(finding) for finding in findings)
    return Exit.UNAVAILABLE if any(finding.state is State.FAILED for finding in findings) else Exit.OK


def _examine(config: HubConfig, clock: Clock) -> Iterator[Finding]:
    yield from examine_keys(config, clock)
    yield examine_database(config)
    yield from examine_people(config, clock)
    yield from examine_packs(config)
    yield from examine_fleet(config, clock)
    yield from examine_ports(config)
    yield examine_disk(config)


def _line(finding: Finding) -> str:
    mend = f"\n           mend: {finding.mend}" if finding.mend else ""
    return f"{finding.state.value:8} {finding.name}: {finding.message}{mend}\n"


def _document(findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "ok": all(finding.state is not State.FAILED for finding in findings),
        "checks": [
            {"name": f.name, "state": f.state.value, "message": f.message, "mend": f.mend or None} for f in findings
        ],
    }
