"""Owns the command line: which commands there are, and handing over to one. What a command does is its module's."""

import os

# gRPC's C core reads it when it is imported, and would put its own lines on stderr before our errors.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import argparse
from importlib.metadata import version

from edge_agent.commands import audit, check, doctor, enrol, init, outbox, packs, run, status
from edge_agent.commands.endings import cli_error
from edge_agent.errors import AgentError
from model_packs.process import crash_points, exits

_COMMANDS = (init, check, enrol, run, status, doctor, audit, outbox, packs)


def parser() -> exits.Parser:
    """The whole tree of arguments."""
    root = exits.Parser(prog="edge-agent", description="Answers on the device; asks the hub behind it.")
    root.add_argument("--version", action="version", version=f"edge-agent {version('tandem-edge')}")
    subparsers = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add(subparsers)
    return root


def main() -> None:
    """Run one command and end the process with its exit code."""
    exits.run(lambda: _run(parser().parse_args()))


def _run(args: argparse.Namespace) -> int:
    crash_points.arm(os.environ.get(crash_points.VARIABLE, ""))
    try:
        return int(args.run(args))
    except AgentError as error:
        raise cli_error(error) from error
