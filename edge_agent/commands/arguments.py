"""Owns the arguments that several commands share."""

import argparse
from pathlib import Path
from typing import TypeAlias

from edge_agent.config import ENVIRONMENT_KEY, default_path
from model_packs.process.exits import Parser

Subparsers: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 - argparse has no public name for it
"""Where a command adds itself."""


def add_config(parser: argparse.ArgumentParser) -> None:
    """Declare `--config`.

    Args:
        parser: Of the command; `args.config` will be a path.
    """
    parser.add_argument(
        "--config",
        type=Path,
        default=default_path(),
        metavar="FILE",
        help=f"agent.toml (default: ${ENVIRONMENT_KEY}, else %(default)s)",
    )


def add_json(parser: argparse.ArgumentParser, schema: str) -> None:
    """Declare `--json`.

    Args:
        parser: Of the command; `args.json` will say whether it was given.
        schema: Name of the document's schema.
    """
    parser.add_argument("--json", action="store_true", help=f"print one JSON document ({schema})")
