"""Owns `cloud-hub init`: a new hub, and what to do next. Making it is `founding.py`."""

import argparse
import sys
import time
from pathlib import Path

from cloud_hub.commands.arguments import Subparsers
from cloud_hub.founding import found_hub
from model_packs.process.exits import Exit

_MADE = """\
made a hub in {folder}: settings, certificate authority, server certificate, site key, database
next: cloud-hub people add NAME --role operator --config {path}
      cloud-hub packs publish LAYOUT --config {path}
      cloud-hub serve --config {path}
"""


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("init", help="make a hub: settings, certificates, site key, database")
    parser.add_argument("folder", type=Path, metavar="DIR", help="a new or empty folder")
    names = "DNS name or IP address under which devices reach the hub; repeat it for more (localhost is included)"
    parser.add_argument("--name", action="append", default=[], metavar="NAME", help=names)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the hub.

    Raises:
        CliError: The folder holds something, or a name is none.
        StorageError: The database cannot be made.
        OSError: A file cannot be written.
    """
    path = found_hub(args.folder, args.name, time.time_ns)
    sys.stdout.write(_MADE.format(folder=args.folder, path=path))
    return Exit.OK
