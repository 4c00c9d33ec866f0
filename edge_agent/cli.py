"""Owns the command line: which commands there are, and handing over to one. What a command does is its module's.

Only the command that is asked for is loaded: a daemon does not carry the doctor's libraries in its memory.
"""

import os

from protos.link import grpc_core

# gRPC's C core reads them when it is imported; what else is set for it is the operator's.
os.environ.setdefault("GRPC_VERBOSITY", grpc_core.VERBOSITY)
os.environ.setdefault("GRPC_EXPERIMENTS", grpc_core.experiments())
os.environ.setdefault("GRPC_POLL_STRATEGY", grpc_core.POLL_STRATEGY)

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from edge_agent.commands.endings import cli_error
from edge_agent.errors import AgentError
from model_packs.process import crash_points, exits

# Modules of edge_agent.commands, in the order of the help; each is called as its command.
_COMMANDS = ("init", "check", "enrol", "run", "status", "doctor", "audit", "outbox", "packs")


def parser(arguments: Sequence[str] = ()) -> exits.Parser:
    """The tree of arguments.

    Args:
        arguments: What is to be parsed; where it begins with a command, the tree has that command only, else all.
    """
    root = exits.Parser(prog="edge-agent", description="Answers on the device; asks the hub behind it.")
    root.add_argument("--version", action="version", version=f"edge-agent {version('tandem-edge')}")
    subparsers = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in arguments[:1] if arguments and arguments[0] in _COMMANDS else _COMMANDS:
        import_module(f"edge_agent.commands.{command}").add(subparsers)
    return root


def main() -> None:
    """Run one command and end the process with its exit code."""
    exits.run(lambda: _run(parser(sys.argv[1:]).parse_args()))


def _run(args: argparse.Namespace) -> int:
    crash_points.arm(os.environ.get(crash_points.VARIABLE, ""))
    try:
        return int(args.run(args))
    except AgentError as error:
        raise cli_error(error) from error
