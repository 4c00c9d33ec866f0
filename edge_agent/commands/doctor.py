"""Owns `edge-agent doctor`: every check in one list, each ok, a warning, or failed with its mend; and the exit code.

What is checked is `edge_agent/examination/`. The document of `--json` has the shape of `cloud-hub doctor`'s. It starts
no agent and changes nothing; it may run beside one.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

from edge_agent.adapters.clock import SystemClock
from edge_agent.commands.arguments import Subparsers, add_config, add_json
from edge_agent.config import Config, load
from edge_agent.examination.brokers import examine_brokers
from edge_agent.examination.findings import Finding, State, failed, ok
from edge_agent.examination.hub import examine_hub
from edge_agent.examination.local_calls import examine_calls
from edge_agent.examination.machine import agent_is_running, examine_machine
from edge_agent.examination.packs import examine_packs
from model_packs.process.exits import Exit
from model_packs.process.settings import SettingsError

SCHEMA = "edge.doctor/1"

_DISTRIBUTION = "tandem-edge"


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "doctor", help="examine the device and say what to mend", description="Examine the device, its broker and hub."
    )
    add_config(parser)
    add_json(parser, SCHEMA)
    parser.add_argument("--strict", action="store_true", help="a warning ends in exit code 1, too")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Examine, print, and end with 0, or with what the first failure stands for."""
    findings = []
    for finding in _examine(args):
        findings.append(finding)
        if not args.json:
            sys.stdout.write(_line(finding))
            sys.stdout.flush()
    if args.json:
        sys.stdout.write(json.dumps(_document(findings), indent=2) + "\n")
    return _exit_code(findings, is_strict=args.strict)


def _examine(args: argparse.Namespace) -> Iterator[Finding]:
    try:
        config = load(args.config)
    except SettingsError as error:
        for problem in error.problems:
            yield failed("config", str(problem), "edge-agent check", Exit.CONFIG)
        return
    yield ok("config", f"{config.path} and {config.agent.bindings}: {len(config.bindings.binding)} bindings")
    yield from _examine_config(config)


def _examine_config(config: Config) -> Iterator[Finding]:
    clock = SystemClock()
    is_running = agent_is_running(config)
    yield ok("agent", "runs now" if is_running else "does not run now")
    yield from examine_machine(config, clock)
    yield from examine_packs(config)
    yield from examine_brokers(config, is_running=is_running)
    yield from examine_calls(config, is_running=is_running)
    yield from examine_hub(config, clock, version(_DISTRIBUTION))


def _line(finding: Finding) -> str:
    mend = f"\n         mend: {finding.mend}" if finding.mend else ""
    return f"{finding.state.value:8} {finding.name}: {finding.message}{mend}\n"


def _document(findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "ok": all(finding.state is not State.FAILED for finding in findings),
        "checks": [
            {"name": f.name, "state": f.state.value, "message": f.message, "mend": f.mend or None} for f in findings
        ],
    }


def _exit_code(findings: Sequence[Finding], *, is_strict: bool) -> int:
    for finding in findings:
        if finding.state is State.FAILED:
            return int(finding.exit)
    has_warning = any(finding.state is State.WARNING for finding in findings)
    return 1 if is_strict and has_warning else int(Exit.OK)
