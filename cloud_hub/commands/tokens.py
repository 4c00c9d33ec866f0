"""Owns `cloud-hub tokens`: join tokens on the command line. Making one is `inviting`, what it lets in `core.tokens`."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from cloud_hub.adapters.x509.authority import load_authority
from cloud_hub.commands.arguments import Subparsers, add_config, add_group, add_json
from cloud_hub.commands.opened_store import with_store
from cloud_hub.config import load_config
from cloud_hub.core.tokens import Token, state
from cloud_hub.inviting import MAX_TTL_H, MAX_USES, Invitation, Inviting
from model_packs.process.exits import CliError, Exit

TOKENS_SCHEMA: Final = "tandem.tokens/1"

_NS_PER_S = 1_000_000_000
_HEADING = f"{'TOKEN':14} {'SITE':12} {'DEVICE':16} {'STATE':8} {'USED':>7}  {'UNTIL':20}  USED BY"


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    group = add_group(subparsers, "tokens", "join tokens")
    parser = group.add_parser("create", help="make a join token and print it")
    parser.add_argument("--site", required=True, help="site that the devices join")
    parser.add_argument("--uses", type=int, default=1, metavar="N", help="devices that may use it (default: 1)")
    parser.add_argument("--ttl-h", type=float, default=24.0, metavar="H", help="hours until it expires (default: 24)")
    parser.add_argument("--device", help="for this device only; the token may replace its key")
    add_config(parser)
    parser.set_defaults(run=create)
    listing = group.add_parser("list", help="list join tokens and who used them; their secrets are not kept")
    add_config(listing)
    add_json(listing)
    listing.set_defaults(run=show)
    revoking = group.add_parser(
        "revoke", help="let nobody in with a join token any more; devices that came with it stay enrolled"
    )
    revoking.add_argument("token", metavar="TOKEN", help="its id, as `cloud-hub tokens list` shows it")
    add_config(revoking)
    add_json(revoking)
    revoking.set_defaults(run=revoke)


def create(args: argparse.Namespace) -> int:
    """Make a token; it alone goes to stdout, so that it can be piped.

    Raises:
        CliError: A number is out of range, or the settings have problems.
        DeviceNameError: The site or the device cannot be a name.
        KeyFileError: The authority's files cannot be used.
        StorageError: The database cannot be used.
    """
    config = load_config(args.config)
    if not 1 <= args.uses <= MAX_USES:
        raise CliError(f"--uses {args.uses} is out of range", f"give 1 to {MAX_USES}", Exit.USAGE)
    if not 0 < args.ttl_h <= MAX_TTL_H:
        raise CliError(f"--ttl-h {args.ttl_h:g} is out of range", f"give more than 0, at most {MAX_TTL_H}", Exit.USAGE)
    authority = load_authority(
        config.folder.ca_key,
        config.folder.ca_certificate,
        trust_domain=config.identity.trust_domain,
        certificate_days=config.identity.certificate_days,
    )
    invitation = Invitation(args.site, args.uses, args.ttl_h, args.device)
    made = with_store(
        config,
        lambda store: Inviting(store, authority.certificate_pem, config.identity.org_id, time.time_ns).invite(
            invitation
        ),
    )
    token = made.token
    whom = "one device" if args.uses == 1 else f"{args.uses} devices"
    sys.stderr.write(f"token {token.token_id}: {whom} of site {token.site_id}, until {_when(token.expires_at_ns)}\n")
    sys.stdout.write(made.encoded + "\n")
    return Exit.OK


def show(args: argparse.Namespace) -> int:
    """List the tokens.

    Raises:
        CliError: The settings have problems.
        StorageError: The database cannot be used.
    """
    tokens, now_ns = with_store(load_config(args.config), lambda store: store.tokens()), time.time_ns()
    if args.json:
        _print_document(tokens, now_ns)
    elif tokens:
        sys.stdout.write("\n".join([_HEADING, *(_line(token, now_ns) for token in tokens)]) + "\n")
    else:
        sys.stdout.write("no join tokens: cloud-hub tokens create --site SITE\n")
    return Exit.OK


def revoke(args: argparse.Namespace) -> int:
    """End a token's time now.

    Raises:
        CliError: There is no such token, or the settings have problems.
        StorageError: The database cannot be used.
    """
    now_ns = time.time_ns()
    token = with_store(load_config(args.config), lambda store: store.revoke_token(args.token, now_ns))
    if token is None:
        raise CliError(f"there is no join token {args.token!r}", "cloud-hub tokens list shows their ids", Exit.USAGE)
    came = ", ".join(dict.fromkeys(token.used_by.values()))
    stay = f"; {came} stays enrolled, `cloud-hub devices remove` ends that" if came else ""
    sys.stderr.write(f"token {token.token_id} lets nobody in since {_when(token.expires_at_ns)}{stay}\n")
    if args.json:
        _print_document([token], now_ns)
    return Exit.OK


def _print_document(tokens: Sequence[Token], now_ns: int) -> None:
    document = {"schema": TOKENS_SCHEMA, "tokens": [_entry(token, now_ns) for token in tokens]}
    sys.stdout.write(json.dumps(document) + "\n")


def _entry(token: Token, now_ns: int) -> dict[str, Any]:
    return {
        "token": token.token_id,
        "site": token.site_id,
        "device": token.device_id,
        "state": state(token, now_ns),
        "max_uses": token.max_uses,
        "used_by": list(token.used_by.values()),
        "expires_at_ns": token.expires_at_ns,
    }


def _line(token: Token, now_ns: int) -> str:
    used = f"{len(token.used_by)}/{token.max_uses}"
    whom = ", ".join(dict.fromkeys(token.used_by.values())) or "-"
    return (
        f"{token.token_id:14} {token.site_id:12} {token.device_id or 'any':16} "
        f"{state(token, now_ns).replace('_', ' '):8} {used:>7}  {_when(token.expires_at_ns)}  {whom}"
    )


def _when(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // _NS_PER_S, UTC).isoformat().replace("+00:00", "Z")
