"""Owns the hub's statements: it fills the store ports on any database that SQLAlchemy speaks asyncio with.

Rules are in `core/`, tables in `schema.py`, transactions in `writer.py`. Nothing else in the hub writes SQL.
"""

import json
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Insert, Row, Select, Table, and_, func, insert, select, tuple_, union_all, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_hub.adapters.sql import database
from cloud_hub.adapters.sql.schema import (
    DEVICE_COLUMNS,
    certificate,
    device,
    device_session,
    heartbeat,
    hub,
    item,
    token,
    token_use,
    verdict,
)
from cloud_hub.adapters.sql.writer import Writer
from cloud_hub.core.delivery import AlreadyApplied, Apply, Delivery, ItemKey, Question, decide
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.registry import DeviceFacts
from cloud_hub.core.revisions import Answered, next_revision
from cloud_hub.core.tokens import Enrolled, Token, Use, check
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
from model_packs.outputs import from_json
from protos.messages.escalation import Hello, HubIncarnation, ItemClass, PredictionId, StoreId, Verdict
from protos.messages.fleet import BindingReport, DeviceHello, Heartbeat
from protos.messages.inference import ModelUse, Role, Tier

AnyRow: TypeAlias = Row[*tuple[Any, ...]]
AnySelect: TypeAlias = Select[*tuple[Any, ...]]

WAITING = "waiting"
ANSWERED = "answered"
REPEATED = "repeated"

LAZY_S = 0.5
"""How long a heartbeat or a cursor may wait, so that those of many devices share one commit."""

_MAX_VERSION_CHARS = 64


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

    # --- devices -----------------------------------------------------------------------------------------------------

    async def device(self, key: DeviceKey) -> RegisteredDevice | None:
        """Look a device up."""
        row = await self._first(select(device.c.public_key_digest, device.c.is_removed).where(_is(device, key)))
        return None if row is None else RegisteredDevice(key, row.public_key_digest, row.is_removed)

    async def register_local(self, key: DeviceKey, now_ns: int) -> None:
        """Add a device without a certificate, once."""

        async def job(connection: AsyncConnection) -> None:
            known = await connection.execute(select(device.c.device_id).where(_is(device, key)))
            if known.first() is None:
                await connection.execute(_new_device(key, public_key_digest="", agent_version="", now_ns=now_ns))

        await self._writer.write(job)

    async def enrol(
        self, enrolment: Enrolment, issue: Callable[[DeviceKey], IssuedCertificate], now_ns: int
    ) -> tuple[DeviceKey, IssuedCertificate]:
        """Check the token, issue and record the certificate, in one transaction."""

        async def job(connection: AsyncConnection) -> tuple[DeviceKey, IssuedCertificate]:
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
                await connection.execute(insert(token_use).values(_use(enrolment, now_ns)))
            return key, issued

        return await self._writer.write(job)

    async def save_hello(self, device_key: DeviceKey, hello: DeviceHello) -> None:
        """Note what the device says it is."""

        async def job(connection: AsyncConnection) -> None:
            version = hello.agent_version[:_MAX_VERSION_CHARS]
            await connection.execute(update(device).where(_is(device, device_key)).values(agent_version=version))

        await self._writer.write(job)

    async def save_heartbeat(self, device_key: DeviceKey, report: Heartbeat, now_ns: int) -> None:
        """Replace the device's latest heartbeat."""
        values = {"received_at_ns": now_ns, "report": json.dumps(asdict(report))}

        async def job(connection: AsyncConnection) -> None:
            changed = await connection.execute(update(heartbeat).where(_is(heartbeat, device_key)).values(**values))
            if changed.rowcount == 0:
                await connection.execute(insert(heartbeat).values(**_columns(device_key), **values))

        await self._writer.write(job, patience_s=LAZY_S)

    async def devices(self) -> tuple[DeviceFacts, ...]:
        """Read the registry, ordered by key."""
        rows = await self._all(_registry())
        return tuple(_facts(row) for row in rows)

    # --- escalation --------------------------------------------------------------------------------------------------

    async def open_session(self, device_key: DeviceKey, hello: Hello, now_ns: int) -> OpenedSession:
        """Start a new epoch, and lift the verdict counter above what the device has seen."""

        async def job(connection: AsyncConnection) -> OpenedSession:
            before = (await connection.execute(select(device_session).where(_is(device_session, device_key)))).first()
            seen = hello.verdict_cursor
            values = {
                "session_epoch": 1 if before is None else before.session_epoch + 1,
                "store_id": hello.store_id,
                "opened_at_ns": now_ns,
                "verdict_seq": seen if before is None else max(seen, before.verdict_seq),
                "verdict_acked": seen if before is None else max(seen, before.verdict_acked),
            }
            if before is None:
                await connection.execute(insert(device_session).values(**_columns(device_key), **values))
            else:
                await connection.execute(update(device_session).where(_is(device_session, device_key)).values(**values))
            floors = await connection.execute(
                select(item.c.item_class, func.max(item.c.seq))
                .where(_is(item, device_key), item.c.store_id == hello.store_id)
                .group_by(item.c.item_class)
            )
            applied = tuple((ItemClass(item_class), int(seq)) for item_class, seq in floors)
            return OpenedSession(int(values["session_epoch"]), applied)

        return await self._writer.write(job)

    async def apply(self, device_key: DeviceKey, items: Sequence[Delivered], now_ns: int) -> tuple[Delivery, ...]:
        """Store items that came together, in one transaction, each at most once."""

        async def job(connection: AsyncConnection) -> tuple[Delivery, ...]:
            at_key, digests = await _known(connection, device_key, items)
            decided: list[Delivery] = []
            rows: list[dict[str, Any]] = []
            for one in items:
                prediction_id = one.question.prediction_id
                delivery = decide(
                    one.question, at_key=at_key.get(one.key), digest_of_prediction=digests.get(prediction_id)
                )
                decided.append(delivery)
                if isinstance(delivery, Apply) or (isinstance(delivery, AlreadyApplied) and delivery.is_new_key):
                    at_key[one.key] = one.question
                    digests[prediction_id] = one.question.input_digest
                    rows.append(_item_row(device_key, one, is_new=isinstance(delivery, Apply), now_ns=now_ns))
            if rows:
                await connection.execute(insert(item), rows)
            return tuple(decided)

        return await self._writer.write(job)

    async def waiting(self, limit: int, except_packs: Collection[str] = ()) -> tuple[WaitingItem, ...]:
        """Read the oldest stored items without an answer."""
        query = select(item).where(item.c.state == WAITING).order_by(item.c.row_id).limit(limit)
        if except_packs:
            query = query.where(item.c.hub_pack.not_in(except_packs))
        return tuple(_waiting(row) for row in await self._all(query))

    async def answer(self, answers: Sequence[Answer]) -> tuple[tuple[DeviceKey, Verdict], ...]:
        """Log verdicts in one transaction, each at the end of its device's log, and close the items."""

        async def job(connection: AsyncConnection) -> tuple[tuple[DeviceKey, Verdict], ...]:
            last = await _last_revisions(connection, answers)
            counters = await _verdict_counters(connection, {one.item.device for one in answers})
            logged: list[tuple[DeviceKey, Verdict]] = []
            for one in answers:
                place = (one.item.device, one.item.question.prediction_id)
                revision = next_revision(last.get(place), one.tier)
                if revision is None:
                    continue
                last[place] = Answered(revision, one.tier)
                counters[one.item.device] += 1
                logged.append((one.item.device, _verdict(one, counters[one.item.device], revision)))
            if logged:
                await connection.execute(insert(verdict), [_verdict_row(key, said) for key, said in logged])
                for key in {key for key, _ in logged}:
                    await connection.execute(
                        update(device_session).where(_is(device_session, key)).values(verdict_seq=counters[key])
                    )
            closed = [one.item.row_id for one in answers]
            await connection.execute(update(item).where(item.c.row_id.in_(closed)).values(state=ANSWERED))
            return tuple(logged)

        return await self._writer.write(job)

    async def verdicts(self, device_key: DeviceKey, after_seq: int, limit: int) -> tuple[Verdict, ...]:
        """Read a device's log from a cursor."""
        query = (
            select(verdict)
            .where(_is(verdict, device_key), verdict.c.verdict_seq > after_seq)
            .order_by(verdict.c.verdict_seq)
            .limit(limit)
        )
        return tuple(_read_verdict(row) for row in await self._all(query))

    async def acknowledge(self, device_key: DeviceKey, verdict_seq: int) -> None:
        """Advance the device's cursor; never back, and never past what was given out."""

        async def job(connection: AsyncConnection) -> None:
            await connection.execute(
                update(device_session)
                .where(
                    _is(device_session, device_key),
                    device_session.c.verdict_acked < verdict_seq,
                    device_session.c.verdict_seq >= verdict_seq,
                )
                .values(verdict_acked=verdict_seq)
            )

        await self._writer.write(job, patience_s=LAZY_S)

    # --- tokens ------------------------------------------------------------------------------------------------------

    async def add_token(self, new: Token, now_ns: int) -> None:
        """Store a new token."""

        async def job(connection: AsyncConnection) -> None:
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

        await self._writer.write(job)

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


def _columns(key: DeviceKey) -> dict[str, str]:
    return {"org_id": key.org_id, "site_id": key.site_id, "device_id": key.device_id}


def _is(table: Table, key: DeviceKey) -> ColumnElement[bool]:
    return and_(*(table.c[name] == value for name, value in _columns(key).items()))


def _key(row: AnyRow) -> DeviceKey:
    return DeviceKey(row.org_id, row.site_id, row.device_id)


def _new_device(key: DeviceKey, *, public_key_digest: str, agent_version: str, now_ns: int) -> Insert:
    return insert(device).values(
        **_columns(key),
        public_key_digest=public_key_digest,
        is_removed=False,
        enrolled_at_ns=now_ns,
        agent_version=agent_version[:_MAX_VERSION_CHARS],
    )


async def _token(connection: AsyncConnection, token_id: str) -> Token | None:
    row = (await connection.execute(select(token).where(token.c.token_id == token_id))).first()
    if row is None:
        return None
    uses = await connection.execute(
        select(token_use.c.public_key_digest, token_use.c.device_id).where(token_use.c.token_id == token_id)
    )
    return Token(
        token_id=row.token_id,
        secret_digest=row.secret_digest,
        org_id=row.org_id,
        site_id=row.site_id,
        device_id=row.device_id,
        expires_at_ns=row.expires_at_ns,
        max_uses=row.max_uses,
        used_by={use.public_key_digest: use.device_id for use in uses},
    )


async def _enrolled(connection: AsyncConnection, key: DeviceKey) -> Enrolled | None:
    row = (await connection.execute(select(device).where(_is(device, key)))).first()
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
        update(device).where(_is(device, key)).values(public_key_digest=digest, is_removed=False, enrolled_at_ns=now_ns)
    )
    if changed.rowcount == 0:
        await connection.execute(
            _new_device(key, public_key_digest=digest, agent_version=enrolment.agent_version, now_ns=now_ns)
        )
    await connection.execute(
        insert(certificate).values(
            serial=issued.serial,
            **_columns(key),
            token_id=enrolment.token_id,
            public_key_digest=digest,
            not_before_ns=issued.not_before_ns,
            not_after_ns=issued.not_after_ns,
            chain_pem=issued.chain_pem.decode(),
        )
    )


def _use(enrolment: Enrolment, now_ns: int) -> dict[str, Any]:
    return {
        "token_id": enrolment.token_id,
        "public_key_digest": enrolment.public_key_digest,
        "device_id": enrolment.device_id,
        "used_at_ns": now_ns,
    }


async def _known(
    connection: AsyncConnection, device_key: DeviceKey, items: Sequence[Delivered]
) -> tuple[dict[ItemKey, Question], dict[str, str]]:
    """What is stored at these items' places, and for their predictions."""
    columns = (item.c.store_id, item.c.item_class, item.c.seq, item.c.prediction_id, item.c.input_digest)
    places = [(one.key.store_id, int(one.key.item_class), one.key.seq) for one in items]
    ids = {one.question.prediction_id for one in items}
    # Two selects, not one with OR: each has an index of its own.
    at_place = select(*columns).where(
        _is(item, device_key), tuple_(item.c.store_id, item.c.item_class, item.c.seq).in_(places)
    )
    of_prediction = select(*columns).where(_is(item, device_key), item.c.prediction_id.in_(ids))
    rows = (await connection.execute(union_all(at_place, of_prediction))).all()
    at_key = {
        ItemKey(StoreId(row.store_id), ItemClass(row.item_class), row.seq): Question(
            PredictionId(row.prediction_id), row.input_digest
        )
        for row in rows
    }
    return at_key, {row.prediction_id: row.input_digest for row in rows}


def _item_row(key: DeviceKey, one: Delivered, *, is_new: bool, now_ns: int) -> dict[str, Any]:
    return {
        **_columns(key),
        "store_id": one.key.store_id,
        "item_class": int(one.key.item_class),
        "seq": one.key.seq,
        "prediction_id": one.question.prediction_id,
        "input_digest": one.question.input_digest,
        "hub_pack": one.hub_pack,
        "state": WAITING if is_new else REPEATED,
        "payload": one.payload if is_new else b"",
        "received_at_ns": now_ns,
    }


def _waiting(row: AnyRow) -> WaitingItem:
    return WaitingItem(
        row_id=row.row_id,
        device=_key(row),
        item_class=ItemClass(row.item_class),
        question=Question(PredictionId(row.prediction_id), row.input_digest),
        hub_pack=row.hub_pack,
        payload=row.payload,
    )


async def _last_revisions(
    connection: AsyncConnection, answers: Sequence[Answer]
) -> dict[tuple[DeviceKey, str], Answered]:
    ids = {one.item.question.prediction_id for one in answers}
    rows = await connection.execute(
        select(
            *(verdict.c[name] for name in DEVICE_COLUMNS), verdict.c.prediction_id, verdict.c.revision, verdict.c.tier
        )
        .where(verdict.c.prediction_id.in_(ids))
        .order_by(verdict.c.revision)
    )
    return {(_key(row), row.prediction_id): Answered(row.revision, Tier(row.tier)) for row in rows}


async def _verdict_counters(connection: AsyncConnection, devices: Iterable[DeviceKey]) -> dict[DeviceKey, int]:
    counters: dict[DeviceKey, int] = {}
    for key in devices:
        counter = await connection.execute(select(device_session.c.verdict_seq).where(_is(device_session, key)))
        counters[key] = counter.scalar_one()
    return counters


def _verdict(one: Answer, verdict_seq: int, revision: int) -> Verdict:
    return Verdict(
        verdict_seq=verdict_seq,
        prediction_id=one.item.question.prediction_id,
        input_digest=one.item.question.input_digest,
        revision=revision,
        tier=one.tier,
        output=one.output,
        confidence=one.confidence,
        models=one.models,
        decided_at_ns=one.decided_at_ns,
        infer_ms=one.infer_ms,
    )


def _verdict_row(key: DeviceKey, said: Verdict) -> dict[str, Any]:
    return {
        **_columns(key),
        "verdict_seq": said.verdict_seq,
        "prediction_id": said.prediction_id,
        "input_digest": said.input_digest,
        "revision": said.revision,
        "tier": said.tier.value,
        "output": None if said.output is None else json.dumps(said.output.to_json()),
        "confidence": said.confidence,
        "models": json.dumps([asdict(model) for model in said.models]),
        "decided_at_ns": said.decided_at_ns,
        "infer_ms": said.infer_ms,
    }


def _read_verdict(row: AnyRow) -> Verdict:
    return Verdict(
        verdict_seq=row.verdict_seq,
        prediction_id=PredictionId(row.prediction_id),
        input_digest=row.input_digest,
        revision=row.revision,
        tier=Tier(row.tier),
        output=None if row.output is None else from_json(json.loads(row.output)),
        confidence=row.confidence,
        models=tuple(_read_model(model) for model in json.loads(row.models)),
        decided_at_ns=row.decided_at_ns,
        infer_ms=row.infer_ms,
    )


def _read_model(document: Mapping[str, str]) -> ModelUse:
    return ModelUse(pack=document["pack"], digest=document["digest"], role=Role(document["role"]))


def _registry() -> AnySelect:
    """One row a device, from the tables that know something about it."""
    counts = (
        select(
            *(item.c[name] for name in DEVICE_COLUMNS),
            func.count().label("n_items"),
            func.count().filter(item.c.state == WAITING).label("n_waiting"),
        )
        .group_by(*(item.c[name] for name in DEVICE_COLUMNS))
        .subquery()
    )
    newest = (
        select(
            *(certificate.c[name] for name in DEVICE_COLUMNS),
            func.max(certificate.c.not_after_ns).label("not_after_ns"),
        )
        .group_by(*(certificate.c[name] for name in DEVICE_COLUMNS))
        .subquery()
    )
    joined = device
    for other in (device_session, heartbeat, counts, newest):
        on = and_(*(device.c[name] == other.c[name] for name in DEVICE_COLUMNS))
        joined = joined.outerjoin(other, on)  # type: ignore[assignment]
    return (
        select(
            *(device.c[name] for name in DEVICE_COLUMNS),
            device.c.is_removed,
            device.c.enrolled_at_ns,
            device.c.agent_version,
            device_session.c.session_epoch,
            device_session.c.store_id,
            device_session.c.verdict_seq,
            device_session.c.verdict_acked,
            heartbeat.c.received_at_ns,
            heartbeat.c.report,
            counts.c.n_items,
            counts.c.n_waiting,
            newest.c.not_after_ns,
        )
        .select_from(joined)
        .order_by(*(device.c[name] for name in DEVICE_COLUMNS))
    )


def _facts(row: AnyRow) -> DeviceFacts:
    return DeviceFacts(
        key=_key(row),
        is_removed=row.is_removed,
        enrolled_at_ns=row.enrolled_at_ns,
        certificate_not_after_ns=row.not_after_ns,
        session_epoch=row.session_epoch or 0,
        agent_version=row.agent_version,
        store_id=row.store_id or "",
        last_heartbeat_at_ns=row.received_at_ns,
        heartbeat=None if row.report is None else _read_heartbeat(json.loads(row.report)),
        items=row.n_items or 0,
        waiting=row.n_waiting or 0,
        verdicts=row.verdict_seq or 0,
        verdicts_acked=row.verdict_acked or 0,
    )


def _read_heartbeat(document: Mapping[str, Any]) -> Heartbeat:
    bindings = tuple(
        BindingReport(**{**binding, "model": _read_model(binding["model"])}) for binding in document["bindings"]
    )
    return Heartbeat(**{**document, "problems": tuple(document["problems"]), "bindings": bindings})
