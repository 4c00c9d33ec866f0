"""Owns `edge-agent enrol`: a join token in; an identity, the site's key and the packs that the bindings name out.

What happens on the wire is `adapters/grpc/enrolment.py` and `pack_fetch.py`. It may be repeated: what is there stays.
"""

import argparse
import sys
from importlib.metadata import version
from pathlib import Path

from edge_agent.adapters.clock import SystemClock
from edge_agent.adapters.grpc.dialling import hub_dialler
from edge_agent.adapters.grpc.enrolment import enrol
from edge_agent.adapters.grpc.pack_fetch import PackFetch
from edge_agent.commands.arguments import Subparsers, add_config
from edge_agent.commands.endings import cli_error
from edge_agent.config import Config, HubConfig, load
from edge_agent.core.timestamps import to_text
from edge_agent.errors import AgentError, EnrolmentError, HubError
from edge_agent.packs.pack_supply import supply_pack
from edge_agent.packs.trusted_packs import trusted_keys
from model_packs.manifest import PackRef
from model_packs.process.exits import CliError, Exit
from model_packs.signing import PublicKey
from model_packs.store import PackStore
from protos.link.identity import CHAIN_FILE, SITE_KEY_FILE, DeviceIdentity, IdentityError
from protos.link.tokens import JoinToken, TokenError
from protos.status import Status

_DISTRIBUTION = "tandem-edge"
_MAX_TOKEN_FILE_BYTES = 64 << 10
_CREATE_TOKEN = "at the hub: cloud-hub tokens create --site SITE"  # noqa: S105 - words about a token
_EXITS = {
    Status.UNAUTHENTICATED: Exit.DATA,
    Status.PERMISSION_DENIED: Exit.DATA,
    Status.ALREADY_EXISTS: Exit.DATA,
    Status.INVALID_ARGUMENT: Exit.DATA,
    Status.FAILED_PRECONDITION: Exit.CONFIG,
}
"""What the hub's refusals end in: its answer to the token is about data, its version or its authority about config."""


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "enrol",
        help="get an identity from the hub, and the packs",
        description="Get an identity from the hub with a join token, pin the site's key, fetch the bindings' packs.",
    )
    add_config(parser)
    token = parser.add_mutually_exclusive_group()
    token.add_argument("--token", metavar="TOKEN", help="as `cloud-hub tokens create` printed it")
    token.add_argument("--token-file", type=Path, metavar="FILE", help="file that holds it; - for standard input")
    parser.add_argument("--force", action="store_true", help="replace the identity of an enrolled device")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Enrol and fetch.

    Raises:
        CliError: A file, the token, the hub or a pack is at fault; the message says which.
    """
    config = load(args.config)
    hub = config.agent.hub
    if hub is None:
        raise CliError(
            f"{config.path} has no [hub]: there is nobody to enrol with",
            "add the table with the hub's address; a device that works alone needs no enrolment",
            Exit.CONFIG,
        )
    try:
        _identify(config, hub, args)
        _fetch_packs(config, hub)
    except AgentError as error:
        raise CliError(error.message, error.mend, _exit_of(error)) from error
    except OSError as error:
        where = error.filename or config.agent.device.state_dir
        raise CliError(f"{where}: {error.strerror}", "make device.state_dir writable", Exit.CONFIG) from error
    sys.stdout.write(f"next: edge-agent run --config {config.path}\n")
    return Exit.OK


def _identify(config: Config, hub: HubConfig, args: argparse.Namespace) -> None:
    """Get an identity, unless a good one is there and is to stay."""
    device = config.agent.device
    present = _present(config)
    if present is not None and not args.force:
        sys.stdout.write(f"already enrolled (--force replaces it)\n{_identity_lines(config, present)}")
        return
    token = _token(args)
    identity = enrol(str(hub.enrolment), token, device.id, device.identity_dir, version(_DISTRIBUTION))
    sys.stdout.write(f"enrolled at {hub.enrolment}\n{_identity_lines(config, identity)}")


def _present(config: Config) -> DeviceIdentity | None:
    """The identity on disk, if it can be used: made for this device, and not over."""
    try:
        identity = DeviceIdentity.load(config.agent.device.identity_dir)
    except IdentityError:
        return None
    is_over = identity.not_after_ns <= SystemClock().wall_ns()
    return None if is_over or identity.spiffe.device != config.agent.device.id else identity


def _identity_lines(config: Config, identity: DeviceIdentity) -> str:
    folder = config.agent.device.identity_dir
    return (
        f"  identity   {identity.spiffe.uri}\n"
        f"             {folder / CHAIN_FILE}, valid until {to_text(identity.not_after_ns)}\n"
        f"  site key   {folder / SITE_KEY_FILE}: packs need its signature\n"
    )


def _token(args: argparse.Namespace) -> JoinToken:
    try:
        return JoinToken.parse(_token_text(args))
    except TokenError as error:
        raise CliError(str(error), f"make a new one {_CREATE_TOKEN}", Exit.DATA) from error


def _token_text(args: argparse.Namespace) -> str:
    if args.token is not None:
        return str(args.token)
    if args.token_file is None:
        raise CliError("enrolment needs a join token", f"say --token or --token-file; {_CREATE_TOKEN}", Exit.USAGE)
    if str(args.token_file) == "-":
        return sys.stdin.read(_MAX_TOKEN_FILE_BYTES)
    try:
        with args.token_file.open(encoding="utf-8") as file:
            return str(file.read(_MAX_TOKEN_FILE_BYTES))
    except OSError as error:
        why = (error.strerror or "cannot be read").lower()
        mend = f"give the file that holds the token; {_CREATE_TOKEN}"
        raise CliError(f"token file {args.token_file}: {why}", mend, Exit.DATA) from error
    except UnicodeDecodeError as error:
        mend = f"give the file that holds the token; {_CREATE_TOKEN}"
        raise CliError(f"token file {args.token_file}: holds no text", mend, Exit.DATA) from error


def _fetch_packs(config: Config, hub: HubConfig) -> None:
    """Fetch what the bindings name by reference and is not here, or not whole, verified."""
    trusted = trusted_keys(config)
    dialler = hub_dialler(hub, config.agent.device, SystemClock())

    def fetch(ref: PackRef, keys: tuple[PublicKey, ...]) -> object:
        store = PackStore(config.agent.device.packs_dir)
        store.open()
        return PackFetch(dialler, store).bring(ref, keys)

    by_name = {binding.pack: binding for binding in config.bindings.binding if not binding.is_pack_path}
    for name, binding in by_name.items():
        supplied = supply_pack(config, binding, trusted, fetch)
        how = "fetched" if supplied.was_fetched else "is here"
        again = "" if supplied.damage is None else f"\n             again, for {supplied.damage}"
        sys.stdout.write(f"  pack       {name} ({supplied.pack.digest[:19]}…) {how}, signature checked{again}\n")


def _exit_of(error: AgentError) -> Exit:
    is_setup = isinstance(error, HubError) and error.status is Status.FAILED_PRECONDITION
    if is_setup or isinstance(error, EnrolmentError):
        return _EXITS.get(error.status, Exit.UNAVAILABLE)
    return cli_error(error).exit
