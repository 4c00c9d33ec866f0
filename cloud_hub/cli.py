"""Owns the `cloud-hub` command: arguments, what is printed, exit codes. What the commands do is in the modules beside.

`init` makes a hub, `serve` runs it, `doctor` examines it; `tokens`, `devices` and `packs` work beside a running hub.
Reading commands take `--json`; the documents are described by the JSON Schemas in cloud_hub/schemas/.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from cloud_hub.adapters.sql import database
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.adapters.x509.authority import load_authority
from cloud_hub.app import DISTRIBUTION, Hub, Listening
from cloud_hub.config import CONFIG_NAME, HubConfig, is_loopback, load_config
from cloud_hub.core.devices import checked_name
from cloud_hub.core.registry import devices_document
from cloud_hub.core.tokens import Token, secret_digest
from cloud_hub.doctor import State, document, examine
from cloud_hub.errors import DeviceNameError, KeyFileError, ListenError, StorageError
from cloud_hub.founding import found_hub
from model_packs.errors import PackError, SigningError
from model_packs.process import logs
from model_packs.process.durable import write_file
from model_packs.process.exits import CliError, Exit, Parser, run
from model_packs.signing import SiteKey
from model_packs.store import PackStore
from protos.link.tokens import JoinToken

READY_SCHEMA = "tandem.hub-ready/1"
PACKS_SCHEMA = "tandem.packs/1"
_TOKEN_ID_BYTES = 6
_TOKEN_SECRET_BYTES = 32
_NS_PER_H = 3_600 * 1_000_000_000
_NS_PER_S = 1_000_000_000
_MAX_TTL_H = 24 * 365
_MAX_USES = 100_000
_BYTES_PER_KIB = 1024
_CHATTY_LOGGERS = ("alembic", "uvicorn")

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    run(lambda: execute(sys.argv[1:]))


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
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except StorageError as error:
        raise CliError(str(error), "check database_url, the disk and its free space", Exit.UNAVAILABLE) from error
    except ListenError as error:
        raise CliError(str(error), error.mend, Exit.UNAVAILABLE) from error
    except KeyFileError as error:
        raise CliError(str(error), error.mend, Exit.CONFIG) from error
    except SigningError as error:
        raise CliError(error.reason, error.mend, Exit.CONFIG) from error
    except PackError as error:
        raise CliError(str(error), error.mend, Exit.DATA) from error
    except DeviceNameError as error:
        raise CliError(str(error), "choose another name", Exit.USAGE) from error
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        mend = "check the path, its permissions and the free space"
        raise CliError(f"{place}{error.strerror or error}", mend, Exit.UNAVAILABLE) from error


def _parser() -> Parser:
    parser = Parser(prog="cloud-hub", description="The central side: full models, devices, packs.")
    parser.add_argument("--version", action="version", version=f"cloud-hub {version(DISTRIBUTION)}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=Parser)

    init = commands.add_parser("init", help="make a hub: settings, certificates, site key, database")
    init.add_argument("folder", type=Path, metavar="DIR", help="a new or empty folder")
    names = "DNS name or IP address under which devices reach the hub; repeat it for more (localhost is included)"
    init.add_argument("--name", action="append", default=[], metavar="NAME", help=names)
    init.set_defaults(command=_init)

    serve = commands.add_parser("serve", help="run the hub")
    _add_config(serve)
    serve.add_argument("--insecure", action="store_true", help="no TLS for devices; loopback addresses only")
    ready = "write the bound ports to this file (JSON) once serving"
    serve.add_argument("--ready-file", type=Path, metavar="PATH", help=ready)
    serve.set_defaults(command=_serve)

    tokens = commands.add_parser("tokens", help="join tokens").add_subparsers(
        title="commands", required=True, metavar="COMMAND", parser_class=Parser
    )
    create = tokens.add_parser("create", help="make a join token and print it")
    create.add_argument("--site", required=True, help="site that the devices join")
    create.add_argument("--uses", type=int, default=1, metavar="N", help="devices that may use it (default: 1)")
    create.add_argument("--ttl-h", type=float, default=24.0, metavar="H", help="hours until it expires (default: 24)")
    create.add_argument("--device", help="for this device only; the token may replace its key")
    _add_config(create)
    create.set_defaults(command=_create_token)

    devices = commands.add_parser("devices", help="enrolled devices").add_subparsers(
        title="commands", required=True, metavar="COMMAND", parser_class=Parser
    )
    listing = devices.add_parser("list", help="list devices and how they are")
    _add_config(listing)
    _add_json(listing)
    listing.set_defaults(command=_list_devices)

    packs = commands.add_parser("packs", help="published packs").add_subparsers(
        title="commands", required=True, metavar="COMMAND", parser_class=Parser
    )
    publish = packs.add_parser("publish", help="import packs and sign them with the site key")
    publish.add_argument("layouts", nargs="+", type=Path, metavar="LAYOUT", help="OCI image layout with one pack")
    _add_config(publish)
    publish.set_defaults(command=_publish_packs)
    packs_list = packs.add_parser("list", help="list packs")
    _add_config(packs_list)
    _add_json(packs_list)
    packs_list.set_defaults(command=_list_packs)

    doctor = commands.add_parser("doctor", help="examine the hub and say what to mend")
    _add_config(doctor)
    _add_json(doctor)
    doctor.set_defaults(command=_doctor)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    default = Path(CONFIG_NAME)
    parser.add_argument("--config", type=Path, default=default, metavar="PATH", help=f"settings (default: {default})")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _init(options: argparse.Namespace) -> int:
    path = found_hub(options.folder, options.name, time.time_ns)
    print(f"made a hub in {options.folder}: settings, certificate authority, server certificate, site key, database")
    print(f"next: cloud-hub packs publish LAYOUT --config {path}")
    print(f"      cloud-hub serve --config {path}")
    return Exit.OK


def _serve(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    if options.insecure and not is_loopback(config.grpc.host):
        raise CliError(
            f"--insecure needs a loopback address, and [grpc] host is {config.grpc.host}",
            f'set host = "127.0.0.1" under [grpc] in {options.config}, or drop --insecure',
            Exit.CONFIG,
        )
    if options.ready_file is not None:
        options.ready_file.unlink(missing_ok=True)  # what an earlier run wrote is no longer true
    logs.configure(config.log_level)
    for chatty in _CHATTY_LOGGERS:
        logging.getLogger(chatty).setLevel(logging.WARNING)
    asyncio.run(_serve_until_stopped(config, is_insecure=options.insecure, ready_file=options.ready_file))
    return Exit.OK


async def _serve_until_stopped(config: HubConfig, *, is_insecure: bool, ready_file: Path | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    hub = Hub(config, is_insecure=is_insecure)
    try:
        listening = await hub.open()
        logger.info("hub_listening", extra=asdict(listening))
        _say_listening(config, listening, is_insecure=is_insecure)
        if ready_file is not None:
            ready = {"schema": READY_SCHEMA, "pid": os.getpid(), **asdict(listening)}
            write_file(ready_file, json.dumps(ready).encode())
        await stop.wait()
        logger.info("hub_stopping")
    finally:
        await hub.close()


def _say_listening(config: HubConfig, listening: Listening, *, is_insecure: bool) -> None:
    guard = "plain text, this machine only" if is_insecure else "mutual TLS"
    print(f"devices    {config.grpc.host}:{listening.grpc_port} ({guard})")
    print(f"enrolment  {config.grpc.host}:{listening.enrolment_port} (TLS, join token)")
    print(f"http       http://{config.http.host}:{listening.http_port}/", flush=True)


def _create_token(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    if not 1 <= options.uses <= _MAX_USES:
        raise CliError(f"--uses {options.uses} is out of range", f"give 1 to {_MAX_USES}", Exit.USAGE)
    if not 0 < options.ttl_h <= _MAX_TTL_H:
        raise CliError(
            f"--ttl-h {options.ttl_h:g} is out of range", f"give more than 0, at most {_MAX_TTL_H}", Exit.USAGE
        )
    authority = load_authority(
        config.folder.ca_key,
        config.folder.ca_certificate,
        trust_domain=config.identity.trust_domain,
        certificate_days=config.identity.certificate_days,
    )
    secret = secrets.token_urlsafe(_TOKEN_SECRET_BYTES)
    now_ns = time.time_ns()
    token = Token(
        token_id=secrets.token_hex(_TOKEN_ID_BYTES),
        secret_digest=secret_digest(secret),
        org_id=config.identity.org_id,
        site_id=checked_name("site", options.site),
        device_id=None if options.device is None else checked_name("device", options.device),
        expires_at_ns=now_ns + int(options.ttl_h * _NS_PER_H),
        max_uses=options.uses,
        used_by={},
    )
    _with_store(config, lambda store: store.add_token(token, now_ns))
    whom = "one device" if options.uses == 1 else f"{options.uses} devices"
    sys.stderr.write(f"token {token.token_id}: {whom} of site {token.site_id}, until {_when(token.expires_at_ns)}\n")
    print(JoinToken(token.token_id, secret, authority.certificate_pem).encode())
    return Exit.OK


def _list_devices(options: argparse.Namespace) -> int:
    config = load_config(options.config)

    async def read(store: SqlStore) -> dict[str, Any]:
        return devices_document(
            await store.devices(),
            hub_incarnation=store.incarnation,
            now_ns=time.time_ns(),
            heartbeat_interval_s=config.fleet.heartbeat_interval_s,
        )

    listed = _with_store(config, read)
    if options.json:
        print(json.dumps(listed))
        return Exit.OK
    _print_devices(listed)
    return Exit.OK


def _publish_packs(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    key = SiteKey.load(config.folder.site_key)
    store = PackStore(config.folder.packs)
    store.open()
    for layout in options.layouts:
        ref = store.import_layout(layout)
        store.sign(ref, key)
        print(f"published {ref} {store.load(ref, (key.public,)).digest}")
    return Exit.OK


def _list_packs(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    stored = PackStore(config.folder.packs).list()
    if options.json:
        packs = [{**asdict(one), "ref": str(one.ref), "signed_by": list(one.signed_by)} for one in stored]
        print(json.dumps({"schema": PACKS_SCHEMA, "packs": packs}))
        return Exit.OK
    for one in stored:
        print(f"{one.ref!s:40} {one.size_bytes / _BYTES_PER_KIB:10.0f} KiB  {one.digest}")
    if not any(True for _ in stored):
        print("no packs: cloud-hub packs publish LAYOUT")
    return Exit.OK


def _doctor(options: argparse.Namespace) -> int:
    checks = examine(load_config(options.config), time.time_ns)
    if options.json:
        print(json.dumps(document(checks)))
    else:
        for check in checks:
            print(f"{check.state.value:8} {check.name}: {check.message}")
            if check.mend:
                print(f"{'':8}   mend: {check.mend}")
    return Exit.UNAVAILABLE if any(check.state is State.FAILED for check in checks) else Exit.OK


def _with_store(config: HubConfig, work: Callable[[SqlStore], Awaitable[ResultT]]) -> ResultT:
    """Open the database, also beside a running hub, and do one thing."""

    async def opened() -> ResultT:
        store = SqlStore(database.make_engine(config.database), time.time_ns)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(store.close)
            await store.open()
            return await work(store)

    return asyncio.run(opened())


def _print_devices(listed: dict[str, Any]) -> None:
    devices = listed["devices"]
    if not devices:
        print("no devices: cloud-hub tokens create --site SITE, then edge-agent enrol on the device")
        return
    print(
        f"{'DEVICE':24} {'SITE':12} {'HEARD':11} {'AGE':>7}  {'STATE':9} {'OUTBOX':>7} {'ASKED':>7} {'WAIT':>5}  PACKS"
    )
    for one in devices:
        report = _printable(one["report"]) or {"state": "?", "outbox": {"items": "?"}, "bindings": []}
        age = "-" if one["heartbeat_age_s"] is None else f"{one['heartbeat_age_s']:.0f} s"
        packs = ", ".join(sorted({binding["pack"] for binding in report["bindings"]})) or "-"
        asked = one["escalations"]
        heard = "removed" if one["removed"] else one["liveness"]
        print(
            f"{one['device']:24} {one['site']:12} {heard:11} {age:>7}  {report['state']:9} "
            f"{report['outbox']['items']:>7} {asked['items']:>7} {asked['waiting']:>5}  {packs}"
        )


def _printable(value: Any) -> Any:  # noqa: ANN401 - JSON
    """A JSON value whose texts cannot move a terminal's cursor: devices wrote them."""
    match value:
        case str():
            return "".join(letter if letter.isprintable() else "?" for letter in value)
        case list():
            return [_printable(item) for item in value]
        case dict():
            return {key: _printable(item) for key, item in value.items()}
        case _:
            return value


def _when(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // _NS_PER_S, UTC).isoformat().replace("+00:00", "Z")
