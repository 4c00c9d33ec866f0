"""Owns the hub's database as one object: which statements make one transaction, and how long each may wait.

It fills the store ports on any database that SQLAlchemy speaks asyncio with. The statements are in a module for each
noun (`devices`, `enrolments`, `sessions`, `items`, `verdicts`, `registry`), tables in `schema.py`, transactions in
`writer.py`, rules in `core/`.
"""

import uuid
from collections.abc import Callable, Collection, Sequence

from sqlalchemy import insert, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_hub.adapters.sql import database, devices, enrolments, items, registry, sessions, verdicts
from cloud_hub.adapters.sql.device_keys import AnyRow, AnySelect
from cloud_hub.adapters.sql.schema import hub
from cloud_hub.adapters.sql.writer import Writer
from cloud_hub.core.delivery import Delivery
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.registry import DeviceFacts
from cloud_hub.core.tokens import Token
from cloud_hub.errors import StorageError
from cloud_hub.ports import (
    Answer,
    Clock,
    Delivered,
    Enrolment,
    IssuedCertificate,
    OpenedSession,
    RegisteredDevice,
    WaitingItem,
)
from protos.messages.escalation import Hello, HubIncarnation, Verdict
from protos.messages.fleet import DeviceHello, Heartbeat

LAZY_S = 0.5
"""How long a heartbeat or a cursor may wait, so that those of many devices share one commit."""


class SqlStore:
    """The hub's database.

    Args:
        engine: From `database.make_engine`; the store disposes of it.
        clock: Wall clock, for the birth of a new database.
        on_commit: Told how many seconds each write transaction took.
    """

    def __init__(
        self, engine: AsyncEngine, clock: Clock, on_commit: Callable[[float], None] = lambda _took_s: None
    ) -> None:
        self._engine = engine
        self._readers = engine.execution_options(**{database.READER: True})
        self._writer = Writer(engine, on_commit)
        self._clock = clock
        self._incarnation: HubIncarnation | None = None

    @property
    def incarnation(self) -> HubIncarnation:
        """Identity of this database."""
        if self._incarnation is None:
            raise StorageError("the database is not open")
        return self._incarnation

    async def open(self) -> None:
        """Start the writer, read (or mint) the incarnation.

        Raises:
            StorageError: The database cannot be used, or is not at the newest revision.
        """
        at = await database.revision(self._engine)
        if at != database.head():
            raise StorageError(
                f"the database is at revision {at}, not {database.head()}: `cloud-hub serve` upgrades it"
            )
        self._writer.open()
        self._incarnation = await self._writer.write(self._found_or_minted_incarnation)

    async def upgrade(self) -> None:
        """Bring the tables to the newest revision; call it before `open`, in one program only.

        Raises:
            StorageError: The database cannot be reached or written, or is newer than this program.
        """
        await database.upgrade(self._engine)

    async def close(self) -> None:
        """Commit what is queued and disconnect; a second call does nothing."""
        await self._writer.close()
        await self._engine.dispose()

    async def ping(self) -> None:
        """Read something.

        Raises:
            StorageError: The database does not answer.
        """
        await self._first(select(hub.c.id))

    # --- DeviceStore -------------------------------------------------------------------------------------------------

    async def device(self, key: DeviceKey) -> RegisteredDevice | None:
        """Look a device up."""
        row = await self._first(devices.select_device(key))
        return None if row is None else devices.registered(key, row)

    async def register_local(self, key: DeviceKey, now_ns: int) -> None:
        """Add a device without a certificate, once."""
        await self._writer.write(lambda connection: devices.register_local(connection, key, now_ns))

    async def enrol(
        self, enrolment: Enrolment, issue: Callable[[DeviceKey], IssuedCertificate], now_ns: int
    ) -> tuple[DeviceKey, IssuedCertificate]:
        """Check the token, issue and record the certificate, in one transaction."""
        return await self._writer.write(lambda connection: enrolments.enrol(connection, enrolment, issue, now_ns))

    async def save_hello(self, device: DeviceKey, hello: DeviceHello) -> None:
        """Note what the device says it is."""
        await self._writer.write(lambda connection: devices.save_hello(connection, device, hello))

    async def save_heartbeat(self, device: DeviceKey, heartbeat: Heartbeat, now_ns: int) -> None:
        """Replace the device's latest heartbeat."""
        await self._writer.write(
            lambda connection: devices.save_heartbeat(connection, device, heartbeat, now_ns), patience_s=LAZY_S
        )

    async def devices(self) -> tuple[DeviceFacts, ...]:
        """Read the registry, ordered by key."""
        return tuple(registry.device_facts(row) for row in await self._all(registry.select_registry()))

    # --- EscalationStore ---------------------------------------------------------------------------------------------

    async def open_session(self, device: DeviceKey, hello: Hello, now_ns: int) -> OpenedSession:
        """Start a new epoch, and lift the verdict counter above what the device has seen."""
        return await self._writer.write(lambda connection: sessions.open_session(connection, device, hello, now_ns))

    async def apply(self, device: DeviceKey, delivered: Sequence[Delivered], now_ns: int) -> tuple[Delivery, ...]:
        """Store items that came together, in one transaction, each at most once."""
        return await self._writer.write(lambda connection: items.apply(connection, device, delivered, now_ns))

    async def waiting(self, limit: int, except_packs: Collection[str] = ()) -> tuple[WaitingItem, ...]:
        """Read the oldest stored items without an answer."""
        rows = await self._all(items.select_waiting(limit, except_packs))
        return tuple(items.waiting_item(row) for row in rows)

    async def answer(self, answers: Sequence[Answer]) -> tuple[tuple[DeviceKey, Verdict], ...]:
        """Log verdicts in one transaction, each at the end of its device's log, and close the items."""
        return await self._writer.write(lambda connection: verdicts.answer(connection, answers))

    async def verdicts(self, device: DeviceKey, after_seq: int, limit: int) -> tuple[Verdict, ...]:
        """Read a device's log from a cursor."""
        rows = await self._all(verdicts.select_log(device, after_seq, limit))
        return tuple(verdicts.read_verdict(row) for row in rows)

    async def acknowledge(self, device: DeviceKey, verdict_seq: int) -> None:
        """Advance the device's cursor; never back, and never past what was given out."""
        await self._writer.write(
            lambda connection: sessions.acknowledge(connection, device, verdict_seq), patience_s=LAZY_S
        )

    # --- for `cloud-hub tokens` --------------------------------------------------------------------------------------

    async def add_token(self, token: Token, now_ns: int) -> None:
        """Store a new token."""
        await self._writer.write(lambda connection: enrolments.add_token(connection, token, now_ns))

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _found_or_minted_incarnation(self, connection: AsyncConnection) -> HubIncarnation:
        found = (await connection.execute(select(hub.c.hub_incarnation))).scalar_one_or_none()
        if found is None:
            found = str(uuid.uuid4())
            await connection.execute(insert(hub).values(id=1, hub_incarnation=found, created_at_ns=self._clock()))
        return HubIncarnation(found)

    async def _all(self, query: AnySelect) -> Sequence[AnyRow]:
        try:
            async with self._readers.connect() as connection:
                return (await connection.execute(query)).all()
        except (SQLAlchemyError, OSError) as error:
            raise StorageError(f"the database could not be read: {getattr(error, 'orig', None) or error}") from error

    async def _first(self, query: AnySelect) -> AnyRow | None:
        rows = await self._all(query.limit(1))
        return rows[0] if rows else None
