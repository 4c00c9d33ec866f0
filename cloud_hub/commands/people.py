"""Owns `cloud-hub people`: who may log in to the console, their passwords and their API tokens.

Roles are `core.people`; hashing is `adapters.passwords`. A secret is printed once, and stored only as a digest.
"""

import argparse
import json
import secrets
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from cloud_hub.adapters.passwords.argon2id import Argon2Hasher
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.commands.arguments import Subparsers, add_config, add_group, add_json
from cloud_hub.commands.opened_store import with_store
from cloud_hub.config import load_config
from cloud_hub.core.events import COMMAND_LINE
from cloud_hub.core.people import Person, Role, checked_password, checked_person_name
from model_packs.process.exits import CliError, Exit

PEOPLE_SCHEMA = "tandem.people/1"
PERSON_SCHEMA = "tandem.person/1"

_PASSWORD_BYTES = 15
_NS_PER_S = 1_000_000_000
_ROLES = tuple(role.value for role in Role)


def add(subparsers: Subparsers) -> None:
    """Declare the commands."""
    group = add_group(subparsers, "people", "who may log in to the console")

    adding = group.add_parser("add", help="let somebody in; prints a generated password once")
    adding.add_argument("name", metavar="NAME")
    roles = "viewer looks, labeler labels, operator changes what devices run and who may log in"
    adding.add_argument("--role", required=True, choices=_ROLES, help=roles)
    _add_password_file(adding)
    adding.set_defaults(run=add_person)

    listing = group.add_parser("list", help="list people")
    listing.set_defaults(run=show)

    removing = group.add_parser("remove", help="lock somebody out, with all sessions and tokens, at once")
    removing.add_argument("name", metavar="NAME")
    removing.set_defaults(run=remove)

    password = group.add_parser("password", help="give a new password; prints a generated one once, ends all sessions")
    password.add_argument("name", metavar="NAME")
    _add_password_file(password)
    password.set_defaults(run=set_password)

    token = group.add_parser("token", help="make an API token and print it once; it is valid until it is revoked")
    token.add_argument("name", metavar="NAME")
    token.add_argument("--revoke", action="store_true", help="make none; revoke all that this person has")
    token.set_defaults(run=make_token)

    for parser in (adding, listing, removing, password, token):
        add_config(parser)
        add_json(parser)


def add_person(args: argparse.Namespace) -> int:
    """Add a person.

    Raises:
        CliError: The settings have problems, or the password file cannot be read.
        PersonFault: The name or the password cannot be used, or the name is taken.
        StorageError: The database cannot be used.
    """
    config = load_config(args.config)
    person = Person(checked_person_name(args.name), Role(args.role), time.time_ns())
    password, is_generated = _password(args.password_file)

    async def work(store: SqlStore) -> None:
        await store.add_person(person, await Argon2Hasher().hash(password), actor=COMMAND_LINE)

    with_store(config, work)
    _say(args, f"{person.name} may log in as {person.role.value}", password if is_generated else None)
    return Exit.OK


def show(args: argparse.Namespace) -> int:
    """List people.

    Raises:
        CliError: The settings have problems.
        StorageError: The database cannot be used.
    """
    people = with_store(load_config(args.config), lambda store: store.people())
    if args.json:
        sys.stdout.write(json.dumps({"schema": PEOPLE_SCHEMA, "people": [asdict(person) for person in people]}) + "\n")
        return Exit.OK
    for person in people:
        since = datetime.fromtimestamp(person.created_at_ns // _NS_PER_S, UTC).date()
        sys.stdout.write(f"{person.name:32} {person.role.value:9} since {since}\n")
    if not people:
        sys.stdout.write("nobody can log in: cloud-hub people add NAME --role operator\n")
    return Exit.OK


def remove(args: argparse.Namespace) -> int:
    """Remove a person.

    Raises:
        CliError: The settings have problems.
        PersonUnknownError: Nobody has this name.
        StorageError: The database cannot be used.
    """
    config = load_config(args.config)
    with_store(config, lambda store: store.remove_person(args.name, actor=COMMAND_LINE, now_ns=time.time_ns()))
    _say(args, f"{args.name} is locked out; what they labelled stays", None)
    return Exit.OK


def set_password(args: argparse.Namespace) -> int:
    """Give a new password.

    Raises:
        CliError: The settings have problems, or the password file cannot be read.
        PersonFault: Nobody has this name, or the password cannot be used.
        StorageError: The database cannot be used.
    """
    config = load_config(args.config)
    password, is_generated = _password(args.password_file)

    async def work(store: SqlStore) -> None:
        hashed = await Argon2Hasher().hash(password)
        await store.set_password(args.name, hashed, actor=COMMAND_LINE, now_ns=time.time_ns())

    with_store(config, work)
    _say(args, f"{args.name} has a new password; open sessions are ended", password if is_generated else None)
    return Exit.OK


def make_token(args: argparse.Namespace) -> int:
    """Make an API token, or revoke all.

    Raises:
        CliError: The settings have problems.
        PersonUnknownError: Nobody has this name.
        StorageError: The database cannot be used.
    """
    config = load_config(args.config)
    if args.revoke:
        count = with_store(config, lambda store: store.revoke_api_tokens(args.name))
        _say(args, f"revoked {count} API token{'' if count == 1 else 's'} of {args.name}", None)
        return Exit.OK
    token = with_store(config, lambda store: store.open_api_token(args.name, actor=COMMAND_LINE, now_ns=time.time_ns()))
    _say(args, f"API token of {args.name}, for the header `Authorization: Bearer TOKEN`", token)
    return Exit.OK


def _add_password_file(parser: argparse.ArgumentParser) -> None:
    text = "file with the password in its first line; without it one is generated"
    parser.add_argument("--password-file", type=Path, metavar="F", help=text)


def _password(path: Path | None) -> tuple[str, bool]:
    """The password, and whether it was generated here."""
    if path is None:
        return secrets.token_urlsafe(_PASSWORD_BYTES), True
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        mend = "give a text file that you can read"
        raise CliError(f"--password-file {path} cannot be read: {error}", mend, Exit.USAGE) from error
    return checked_password(lines[0] if lines else ""), False


def _say(args: argparse.Namespace, message: str, secret: str | None) -> None:
    """Tell what was done on stderr, and a secret alone on stdout, so that it can be piped; or both as one document."""
    if args.json:
        sys.stdout.write(
            json.dumps({"schema": PERSON_SCHEMA, "name": args.name, "done": message, "secret": secret}) + "\n"
        )
        return
    sys.stderr.write(message + ("; shown once:\n" if secret else "\n"))
    if secret:
        sys.stdout.write(secret + "\n")
