"""Owns the arguments that several commands share, and reading them."""

import argparse
from pathlib import Path
from typing import TypeAlias

from cloud_hub.config import CONFIG_NAME, HubConfig
from cloud_hub.core.devices import DeviceKey, checked_name
from model_packs.process.exits import CliError, Exit, Parser

Subparsers: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 - argparse has no public name for it
"""Where a command adds itself."""


def add_group(subparsers: Subparsers, name: str, summary: str) -> Subparsers:
    """Declare a command that only holds others (`cloud-hub packs …`).

    Args:
        subparsers: Where it adds itself.
        name: What is typed.
        summary: What `--help` says of it.

    Returns:
        Where its own commands add themselves.
    """
    group = subparsers.add_parser(name, help=summary)
    return group.add_subparsers(title="commands", metavar="COMMAND", required=True)


def add_config(parser: argparse.ArgumentParser) -> None:
    """Declare `--config`.

    Args:
        parser: Of the command; `args.config` will be a path.
    """
    default = Path(CONFIG_NAME)
    parser.add_argument("--config", type=Path, default=default, metavar="PATH", help=f"settings (default: {default})")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Declare `--json`.

    Args:
        parser: Of the command; `args.json` will say whether it was given.
    """
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def device_named(config: HubConfig, text: str) -> DeviceKey:
    """Read SITE/DEVICE.

    Args:
        config: Names the organisation.
        text: What was typed.

    Returns:
        The device.

    Raises:
        CliError: There is no slash.
        DeviceNameError: The site or the device cannot be a name.
    """
    site, slash, name = text.partition("/")
    if not slash:
        mend = "give the site, a slash and the device, as `cloud-hub devices list` shows them"
        raise CliError(f"{text} names no site", mend, Exit.USAGE)
    return DeviceKey(config.identity.org_id, checked_name("site", site), checked_name("device", name))
