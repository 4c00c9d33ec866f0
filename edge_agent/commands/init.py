"""Owns `edge-agent init`: two commented sample files, and what to do next."""

import argparse
import sys
from pathlib import Path

from edge_agent.commands.arguments import Subparsers
from edge_agent.config import AGENT_FILE, BINDINGS_FILE, sample_agent, sample_bindings
from model_packs.process.durable import write_file
from model_packs.process.exits import CliError, Exit

_NEXT_STEPS = """\
wrote {agent}
wrote {bindings}

next:
  1. say who this device is, and where the hub is, in {agent}
  2. say which broker, topics and model in {bindings}
  3. edge-agent check --config {agent}
  4. edge-agent enrol --config {agent} --token TOKEN   (on the hub: cloud-hub tokens create)
  5. edge-agent run --config {agent}
"""


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("init", help="write commented sample files", description="Write sample files.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where to write agent.toml and bindings.toml")
    parser.add_argument("--force", action="store_true", help="overwrite files that are there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the samples.

    Raises:
        CliError: A file is there already, or the folder cannot be written.
    """
    folder: Path = args.folder
    agent, bindings = folder / AGENT_FILE, folder / BINDINGS_FILE
    present = [str(path) for path in (agent, bindings) if path.exists()]
    if present and not args.force:
        raise CliError(
            f"{' and '.join(present)} would be overwritten", "choose another folder, or say --force", Exit.USAGE
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_file(agent, sample_agent().encode())
        write_file(bindings, sample_bindings().encode())
    except OSError as error:
        raise CliError(
            f"{folder} cannot be written: {error.strerror}", "choose a folder of your own", Exit.USAGE
        ) from error
    sys.stdout.write(_NEXT_STEPS.format(agent=agent, bindings=bindings))
    return Exit.OK
