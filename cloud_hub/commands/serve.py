"""Owns `cloud-hub serve`: the hub, from its settings to a clean stop on SIGTERM or SIGINT."""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from cloud_hub.app import Hub, Listening
from cloud_hub.commands.arguments import Subparsers, add_config
from cloud_hub.config import HubConfig, is_loopback, load_config
from model_packs.process import logs
from model_packs.process.durable import write_file
from model_packs.process.exits import CliError, Exit

READY_SCHEMA = "tandem.hub-ready/1"

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_CHATTY_LOGGERS = ("alembic", "uvicorn")

logger = logging.getLogger(__name__)


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("serve", help="run the hub")
    add_config(parser)
    parser.add_argument("--insecure", action="store_true", help="no TLS for devices; loopback addresses only")
    ready = "write the bound ports to this file (JSON) once serving"
    parser.add_argument("--ready-file", type=Path, metavar="PATH", help=ready)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal.

    Raises:
        CliError: The settings have problems, or ask for plain text on an address that others reach.
        StorageError: The database cannot be used.
        OperatorError: A key file cannot be used, or a port cannot be bound.
        ModelPackError: The site key or the pack store cannot be used.
        OSError: A file cannot be written.
    """
    config = load_config(args.config)
    if args.insecure and not is_loopback(config.grpc.host):
        raise CliError(
            f"--insecure needs a loopback address, and [grpc] host is {config.grpc.host}",
            f'set host = "127.0.0.1" under [grpc] in {args.config}, or drop --insecure',
            Exit.CONFIG,
        )
    if args.ready_file is not None:
        args.ready_file.unlink(missing_ok=True)  # what an earlier run wrote is no longer true
    logs.configure(config.log_level)
    for chatty in _CHATTY_LOGGERS:
        logging.getLogger(chatty).setLevel(logging.WARNING)
    asyncio.run(_serve_until_stopped(config, is_insecure=args.insecure, ready_file=args.ready_file))
    return Exit.OK


async def _serve_until_stopped(config: HubConfig, *, is_insecure: bool, ready_file: Path | None) -> None:
    stop = asyncio.Event()
    for number in _STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    hub = Hub(config, is_insecure=is_insecure)
    try:
        listening = await hub.open()
        logger.info("hub_listening", extra=asdict(listening))
        sys.stdout.write(_screen(config, listening, is_insecure=is_insecure))
        sys.stdout.flush()
        if ready_file is not None:
            ready = {"schema": READY_SCHEMA, "pid": os.getpid(), **asdict(listening)}
            write_file(ready_file, json.dumps(ready).encode())
        await stop.wait()
        logger.info("hub_stopping")
    finally:
        await hub.close()


def _screen(config: HubConfig, listening: Listening, *, is_insecure: bool) -> str:
    guard = "plain text, this machine only" if is_insecure else "mutual TLS"
    scheme = "https" if config.http.certificate else "http"
    return (
        f"devices    {config.grpc.host}:{listening.grpc_port} ({guard})\n"
        f"enrolment  {config.grpc.host}:{listening.enrolment_port} (TLS, join token)\n"
        f"http       {scheme}://{config.http.host}:{listening.http_port}/\n"
        f"{_inference(config, listening)}"
    )


def _inference(config: HubConfig, listening: Listening) -> str:
    if listening.oip_grpc_port is None:
        return ""
    guard = "plain text, this machine only" if is_loopback(config.oip.host) else "TLS, API token"
    return (
        f"inference  {config.oip.host}:{listening.oip_grpc_port} (gRPC), {config.oip.host}:{listening.oip_http_port} "
        f"(REST; {guard})\n"
    )
