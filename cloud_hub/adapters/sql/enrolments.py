"""Owns the statements on join tokens, their uses, and certificates. Who may enrol is `core.tokens`."""

from collections.abc import Callable

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql import events
from cloud_hub.adapters.sql.device_keys import AnyRow, belongs_to, columns
from cloud_hub.adapters.sql.devices import insert_device, select_device
from cloud_hub.adapters.sql.schema import certificate, device, token, token_use
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import EventKind, Happening
from cloud_hub.core.tokens import Enrolled, Token, Use, check, revoked
from cloud_hub.ports import Enrolment, IssuedCertificate


async def enrol(
    connection: AsyncConnection,
    enrolment: Enrolment,
    issue: Callable[[DeviceKey], IssuedCertificate],
    now_ns: int,
) -> tuple[DeviceKey, IssuedCertificate]:
    """Check the token, issue and record the certificate, with its event (detail: `token`)."""
    stored = await _token(connection, enrolment.token_id)
    key = DeviceKey(stored.org_id, stored.site_id, enrolment.device_id) if stored is not None else None
    use = check(
        stored,
        secret=enrolment.token_secret,
        public_key_digest=enrolment.public_key_digest,
        device_id=enrolment.device_id,
        enrolled=None if key is None else await _enrolled(connection, key),
        now_ns=now_ns,
    )
    if key is None:
        raise AssertionError("core.tokens.check lets no unknown token through")
    if use is Use.REPEAT:
        repeated = await _certificate(connection, enrolment)
        if repeated is not None:
            return key, repeated
    issued = issue(key)
    await _record(connection, key, enrolment, issued, now_ns)
    if use is Use.FIRST:
        await _record_use(connection, enrolment, now_ns)
    enrolled = EventKind.DEVICE_ENROLLED
    detail = {"token": enrolment.token_id}
    await events.add(connection, [Happening(at_ns=now_ns, kind=enrolled, device=key, detail=detail)])
    return key, issued


async def add_token(connection: AsyncConnection, new: Token, now_ns: int) -> None:
    """Store a new token."""
    await connection.execute(
        insert(token).values(
            token_id=new.token_id,
            secret_digest=new.secret_digest,
            org_id=new.org_id,
            site_id=new.site_id,
            device_id=new.device_id,
            created_at_ns=now_ns,
            expires_at_ns=new.expires_at_ns,
            max_uses=new.max_uses,
        )
    )


async def revoke_token(connection: AsyncConnection, token_id: str, now_ns: int) -> Token | None:
    """End a token's time; the token as it is now, None when there is none of that id."""
    stored = await _token(connection, token_id)
    if stored is None:
        return None
    ended = revoked(stored, now_ns)
    await connection.execute(
        update(token).where(token.c.token_id == token_id).values(expires_at_ns=ended.expires_at_ns)
    )
    return ended


async def read_tokens(connection: AsyncConnection) -> tuple[Token, ...]:
    """All tokens that were ever made, the newest first."""
    rows = await connection.execute(select(token).order_by(token.c.created_at_ns.desc(), token.c.token_id))
    uses: dict[str, dict[str, str]] = {}
    for use in await connection.execute(select(token_use).order_by(token_use.c.used_at_ns)):
        uses.setdefault(use.token_id, {})[use.public_key_digest] = use.device_id
    return tuple(_read_token(row, uses.get(row.token_id, {})) for row in rows)


async def _token(connection: AsyncConnection, token_id: str) -> Token | None:
    row = (await connection.execute(select(token).where(token.c.token_id == token_id))).first()
    if row is None:
        return None
    uses = await connection.execute(
        select(token_use.c.public_key_digest, token_use.c.device_id).where(token_use.c.token_id == token_id)
    )
    return _read_token(row, {use.public_key_digest: use.device_id for use in uses})


def _read_token(row: AnyRow, used_by: dict[str, str]) -> Token:
    return Token(
        token_id=row.token_id,
        secret_digest=row.secret_digest,
        org_id=row.org_id,
        site_id=row.site_id,
        device_id=row.device_id,
        expires_at_ns=row.expires_at_ns,
        max_uses=row.max_uses,
        used_by=used_by,
    )


async def _enrolled(connection: AsyncConnection, key: DeviceKey) -> Enrolled | None:
    row = (await connection.execute(select_device(key))).first()
    return None if row is None else Enrolled(key, row.public_key_digest)


async def _certificate(connection: AsyncConnection, enrolment: Enrolment) -> IssuedCertificate | None:
    """The certificate of a first use whose reply was lost."""
    row = (
        await connection.execute(
            select(certificate)
            .where(
                certificate.c.token_id == enrolment.token_id,
                certificate.c.public_key_digest == enrolment.public_key_digest,
            )
            .order_by(certificate.c.not_after_ns.desc())
        )
    ).first()
    if row is None:
        return None
    return IssuedCertificate(
        serial=row.serial,
        public_key_digest=row.public_key_digest,
        not_before_ns=row.not_before_ns,
        not_after_ns=row.not_after_ns,
        chain_pem=row.chain_pem.encode(),
    )


async def _record(
    connection: AsyncConnection,
    key: DeviceKey,
    enrolment: Enrolment,
    issued: IssuedCertificate,
    now_ns: int,
) -> None:
    """Write down a device and its certificate."""
    digest = issued.public_key_digest
    changed = await connection.execute(
        update(device)
        .where(belongs_to(device, key))
        .values(public_key_digest=digest, is_removed=False, enrolled_at_ns=now_ns)
    )
    if changed.rowcount == 0:
        await connection.execute(
            insert_device(key, public_key_digest=digest, agent_version=enrolment.agent_version, now_ns=now_ns)
        )
    await connection.execute(
        insert(certificate).values(
            serial=issued.serial,
            **columns(key),
            token_id=enrolment.token_id,
            public_key_digest=digest,
            not_before_ns=issued.not_before_ns,
            not_after_ns=issued.not_after_ns,
            chain_pem=issued.chain_pem.decode(),
        )
    )


async def _record_use(connection: AsyncConnection, enrolment: Enrolment, now_ns: int) -> None:
    await connection.execute(
        insert(token_use).values(
            token_id=enrolment.token_id,
            public_key_digest=enrolment.public_key_digest,
            device_id=enrolment.device_id,
            used_at_ns=now_ns,
        )
    )
