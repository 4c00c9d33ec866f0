"""Owns the command line: which commands there are, and handing over to one. What a command does is its module's.

Only the command that is asked for is loaded: who lists tokens need not wait for what serves models.
"""

import os

from protos.link import grpc_core

# gRPC's C core reads them when it is imported; what else is set for it is the operator's.
os.environ.setdefault("GRPC_VERBOSITY", grpc_core.VERBOSITY)
os.environ.setdefault("GRPC_EXPERIMENTS", grpc_core.experiments())
os.environ.setdefault("GRPC_POLL_STRATEGY", grpc_core.POLL_STRATEGY)

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import NoReturn

from cloud_hub.commands.endings import FAILURES, cli_error
from model_packs.process import crash_points, exits

# Modules of cloud_hub.commands, in the order of the help; each is called as its command.
_COMMANDS = ("init", "serve", "people", "tokens", "devices", "packs", "costs", "recertify", "restored", "doctor")


def parser(arguments: Sequence[str] = ()) -> exits.Parser:
    """The tree of arguments.

    Args:
        arguments: What is to be parsed; where it begins with a command, the tree has that command only, else all.
    """
    root = exits.Parser(prog="cloud-hub", description="The central side: full models, devices, packs.")
    root.add_argument("--version", action="version", version=f"cloud-hub {version('tandem-edge')}")
    subparsers = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in arguments[:1] if arguments and arguments[0] in _COMMANDS else _COMMANDS:
        import_module(f"cloud_hub.commands.{command}").add(subparsers)
    return root


def main() -> NoReturn:
    """Run one command and end the process with its exit code."""
    exits.run(lambda: execute(sys.argv[1:]))


def execute(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: What follows the program's name.

    Returns:
        The exit code.

    Raises:
        CliError: The command failed; carries the mend and the exit code.
        SystemExit: The arguments are wrong, or help or the version was asked for.
    """
    args = parser(arguments).parse_args(arguments)
    crash_points.arm(os.environ.get(crash_points.VARIABLE, ""))
    try:
        return int(args.run(args))
    except FAILURES as error:
        raise cli_error(error) from error
