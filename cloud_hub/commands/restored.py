"""Owns `cloud-hub restored`: saying that the database was put back from a backup. What follows is `core.restores`."""

import argparse
import asyncio
import sys
import time

from cloud_hub.adapters.sql import database
from cloud_hub.commands.arguments import Subparsers, add_config
from cloud_hub.commands.opened_store import with_store
from cloud_hub.config import HubConfig, load_config
from cloud_hub.core.events import COMMAND_LINE
from cloud_hub.errors import NoDatabaseError
from model_packs.process.exits import Exit


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    summary = "after the database was put back from a backup, before `serve`: devices will send again what they hold"
    parser = subparsers.add_parser("restored", help=summary)
    add_config(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Give the database a new incarnation.

    Raises:
        CliError: The settings have problems.
        NoDatabaseError: There is nothing in the database.
        StorageError: The database cannot be used.
    """
    config = load_config(args.config)
    asyncio.run(_upgrade(config))  # a backup may be older than this program
    incarnation = with_store(config, lambda store: store.renew_incarnation(actor=COMMAND_LINE, now_ns=time.time_ns()))
    sys.stdout.write(
        f"this database is now {incarnation}; start the hub: each device notices with its next connection,\n"
        "sends again what it still holds, and reads its answers anew\n"
    )
    return Exit.OK


async def _upgrade(config: HubConfig) -> None:
    engine = database.make_engine(config.database)
    try:
        if await database.revision(engine) is None:
            raise NoDatabaseError(config.database)
        await database.upgrade(engine)
    finally:
        await engine.dispose()
