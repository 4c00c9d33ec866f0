"""Owns the statements on people, their web sessions and their API tokens; of a secret only its SHA-256 is stored."""

from sqlalchemy import Delete, Update, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql import events
from cloud_hub.adapters.sql.device_keys import AnyRow, AnySelect
from cloud_hub.adapters.sql.schema import person, person_secret
from cloud_hub.core.events import EventKind, Happening
from cloud_hub.core.people import Person, Role
from cloud_hub.core.tokens import secret_digest
from cloud_hub.errors import PersonTakenError, PersonUnknownError

SESSION = "session"
TOKEN = "token"  # noqa: S105 - the name of a kind


def select_people() -> AnySelect:
    """Everybody, by name."""
    return select(person.c.name, person.c.role, person.c.created_at_ns).order_by(person.c.name)


def read_person(row: AnyRow) -> Person:
    """What a row says."""
    return Person(row.name, Role(row.role), row.created_at_ns)


def select_password_hash(name: str) -> AnySelect:
    """One person's password, hashed."""
    return select(person.c.password_hash).where(person.c.name == name)


def select_session_owner(secret: str, now_ns: int) -> AnySelect:
    """Whose web session it is, as long as it lives."""
    return _select_owner(secret, SESSION).where(person_secret.c.expires_at_ns > now_ns)


def select_token_owner(secret: str) -> AnySelect:
    """Whose API token it is."""
    return _select_owner(secret, TOKEN)


async def add(connection: AsyncConnection, new: Person, password_hash: str, actor: str) -> None:
    """Add a person."""
    if await _exists(connection, new.name):
        raise PersonTakenError(new.name)
    values = {"name": new.name, "role": new.role.value, "created_at_ns": new.created_at_ns}
    await connection.execute(insert(person).values(**values, password_hash=password_hash))
    role = {"role": new.role.value}
    added = Happening(at_ns=new.created_at_ns, kind=EventKind.PERSON_ADDED, actor=actor, subject=new.name, detail=role)
    await events.add(connection, (added,))


async def remove(connection: AsyncConnection, name: str, actor: str, now_ns: int) -> None:
    """Remove a person with all secrets."""
    await _change(connection, delete(person).where(person.c.name == name), name)
    await connection.execute(delete(person_secret).where(person_secret.c.name == name))
    told = Happening(at_ns=now_ns, kind=EventKind.PERSON_REMOVED, actor=actor, subject=name)
    await events.add(connection, (told,))


async def set_password(connection: AsyncConnection, name: str, password_hash: str, actor: str, now_ns: int) -> None:
    """Replace a password, and end the sessions that the old one opened."""
    change = update(person).where(person.c.name == name).values(password_hash=password_hash)
    await _change(connection, change, name)
    await _forget(connection, name, SESSION)
    told = Happening(at_ns=now_ns, kind=EventKind.PASSWORD_SET, actor=actor, subject=name)
    await events.add(connection, (told,))


async def open_session(connection: AsyncConnection, name: str, secret: str, now_ns: int, until_ns: int) -> None:
    """Store a new web session; those that have expired go."""
    await connection.execute(delete(person_secret).where(person_secret.c.expires_at_ns <= now_ns))
    await _add_secret(connection, name, secret, kind=SESSION, now_ns=now_ns, until_ns=until_ns)


async def close_session(connection: AsyncConnection, secret: str) -> None:
    """Forget one web session."""
    its_own = (person_secret.c.secret_digest == secret_digest(secret), person_secret.c.kind == SESSION)
    await connection.execute(delete(person_secret).where(*its_own))


async def open_token(connection: AsyncConnection, name: str, secret: str, actor: str, now_ns: int) -> None:
    """Store a new API token."""
    await _add_secret(connection, name, secret, kind=TOKEN, now_ns=now_ns, until_ns=None)
    told = Happening(at_ns=now_ns, kind=EventKind.TOKEN_MADE, actor=actor, subject=name)
    await events.add(connection, (told,))


async def revoke_tokens(connection: AsyncConnection, name: str) -> int:
    """Forget a person's API tokens; returns how many there were."""
    await _check_exists(connection, name)
    return await _forget(connection, name, TOKEN)


def _select_owner(secret: str, kind: str) -> AnySelect:
    return (
        select(person.c.name, person.c.role, person.c.created_at_ns)
        .join(person_secret, person_secret.c.name == person.c.name)
        .where(person_secret.c.secret_digest == secret_digest(secret), person_secret.c.kind == kind)
    )


async def _add_secret(
    connection: AsyncConnection, name: str, secret: str, *, kind: str, now_ns: int, until_ns: int | None
) -> None:
    await _check_exists(connection, name)
    values = {"secret_digest": secret_digest(secret), "name": name, "kind": kind}
    await connection.execute(insert(person_secret).values(**values, created_at_ns=now_ns, expires_at_ns=until_ns))


async def _change(connection: AsyncConnection, change: Update | Delete, name: str) -> None:
    if (await connection.execute(change)).rowcount == 0:
        raise PersonUnknownError(name)


async def _check_exists(connection: AsyncConnection, name: str) -> None:
    if not await _exists(connection, name):
        raise PersonUnknownError(name)


async def _exists(connection: AsyncConnection, name: str) -> bool:
    return (await connection.execute(select(person.c.name).where(person.c.name == name))).first() is not None


async def _forget(connection: AsyncConnection, name: str, kind: str) -> int:
    gone = await connection.execute(
        delete(person_secret).where(person_secret.c.name == name, person_secret.c.kind == kind)
    )
    return gone.rowcount
