"""Owns the hub's database as one object: which statements make one transaction, and how long each may wait.

It fills the store ports on any database that SQLAlchemy speaks asyncio with. The statements are in a module for each
noun (`identity`, `devices`, `enrolments`, `heartbeats`, `twins`, `trends`, `liveness`, `events`, `sessions`, `items`,
`forgetting`, `verdicts`, `cases`, `judgements`, `labels`, `people`, `registry`, `monitoring`), tables in `schema.py`,
transactions in `writer.py`, rules in `core/`; policies are an object of their own, `policy_book`.
"""

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_hub.adapters.sql import (
    cases,
    database,
    devices,
    enrolments,
    events,
    forgetting,
    heartbeats,
    identity,
    items,
    judgements,
    labels,
    liveness,
    people,
    registry,
    sessions,
    trends,
    twins,
    verdicts,
)
from cloud_hub.adapters.sql.cost_book import DEFAULT_BOUNDS, CostBounds, SqlCostBook
from cloud_hub.adapters.sql.device_keys import AnyRow, AnySelect, key_of
from cloud_hub.adapters.sql.event_bell import EventBell
from cloud_hub.adapters.sql.gathering import Gathering
from cloud_hub.adapters.sql.lookup import Lookup
from cloud_hub.adapters.sql.policy_book import SqlPolicyBook
from cloud_hub.adapters.sql.schema import hub
from cloud_hub.adapters.sql.transactions import transactions_of
from cloud_hub.adapters.sql.writer import Job, ResultT, Writer
from cloud_hub.core.cases import Case, CaseCount, CaseDetail, CaseFilter, CasePage, ReviewRank
from cloud_hub.core.delivery import Delivery, asked_again
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import EventId, Happening, HubEvent
from cloud_hub.core.feedback import FeedbackTaken, GivenPage, LabelGiven, LabelOutcome
from cloud_hub.core.liveness import Heard, LivenessChange
from cloud_hub.core.monitoring.response import DEFAULT_RULES, Rules
from cloud_hub.core.people import Person
from cloud_hub.core.registry import DeviceFacts
from cloud_hub.core.tokens import Token
from cloud_hub.core.trends import TrendPoint, increments
from cloud_hub.core.twin import DesiredTwin
from cloud_hub.errors import StorageError
from cloud_hub.ports import (
    NO_END_NS,
    Answer,
    Clock,
    Delivered,
    Enrolment,
    Forgotten,
    IssuedCertificate,
    OpenedSession,
    RegisteredDevice,
    WaitingItem,
)
from protos.messages.escalation import Hello, HubIncarnation, PredictionId, Verdict
from protos.messages.feedback import FeedbackBatch, FeedbackRefusal
from protos.messages.fleet import DesiredSlot, DeviceHello, Heartbeat

LAZY_S = 0.5
"""How long a heartbeat or a cursor may wait, so that those of many devices share one commit."""

AT_ONCE_S = 0.0
"""A Hello waits for nobody: what shares its commit came while the one before ran."""

FORGET_PAGE = 200
"""Items that are forgotten in one transaction."""

TREND_BUCKET_S = 60.0
_SECRET_BYTES = 32
_NS_PER_S = 1_000_000_000


class SqlStore:
    """The hub's database.

    Args:
        engine: From `database.make_engine`; the store disposes of it.
        clock: Wall clock, for the birth of a new database.
        on_commit: Told how many seconds each write transaction took.
        trend_bucket_s: Length of one point of the curves.
        rules: How policies are watched, and what follows.
        cost_bounds: How much is kept of what requests cost.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        clock: Clock,
        on_commit: Callable[[float], None] = lambda _took_s: None,
        *,
        trend_bucket_s: float = TREND_BUCKET_S,
        rules: Rules = DEFAULT_RULES,
        cost_bounds: CostBounds = DEFAULT_BOUNDS,
    ) -> None:
        self._engine = engine
        self._rules = rules
        self._transactions = transactions_of(engine)
        self._writer = Writer(self._transactions, on_commit)
        self._clock = clock
        save = partial(heartbeats.save, bucket_ns=round(trend_bucket_s * _NS_PER_S), rules=rules)
        self._heartbeats = Gathering(self._writer, save, LAZY_S)
        self._greetings = Gathering(self._writer, sessions.open_sessions, AT_ONCE_S)
        self._hellos = Gathering(self._writer, devices.save_hellos, AT_ONCE_S)
        self._devices = Lookup(self._registered)
        self._bell = EventBell()
        self.policies = SqlPolicyBook(self._write_and_tell, self._all)
        self.costs = SqlCostBook(self._writer.write, self._all, cost_bounds)
        self._reports_stored = 0
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
        found = await self._writer.write(lambda connection: identity.found_or_minted(connection, self._clock()))
        self._incarnation = found.incarnation

    async def upgrade(self) -> None:
        """Bring the tables to the newest revision; call it before `open`, in one program only.

        Raises:
            StorageError: The database cannot be reached or written, or is newer than this program.
        """
        await database.upgrade(self._engine)

    async def close(self) -> None:
        """Commit what is queued and disconnect; a second call does nothing."""
        await self._writer.close()
        self._transactions.close()
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
        return await self._devices.find(key)

    async def register_local(self, key: DeviceKey, now_ns: int) -> None:
        """Add a device without a certificate, once."""
        await self._write_and_tell(lambda connection: devices.register_local(connection, key, now_ns))

    async def enrol(
        self, enrolment: Enrolment, issue: Callable[[DeviceKey], IssuedCertificate], now_ns: int
    ) -> tuple[DeviceKey, IssuedCertificate]:
        """Check the token, issue and record the certificate, in one transaction."""
        return await self._write_and_tell(lambda connection: enrolments.enrol(connection, enrolment, issue, now_ns))

    async def save_hello(self, device: DeviceKey, hello: DeviceHello) -> None:
        """Note what the device says it is."""
        await self._hellos.write((device, hello))

    async def save_heartbeat(self, device: DeviceKey, heartbeat: Heartbeat, now_ns: int) -> DesiredTwin | None:
        """Replace the device's latest heartbeat, with its trend and what it tells anew."""
        saved = await self._heartbeats.write(heartbeats.Arrival(device, heartbeat, now_ns))
        self._reports_stored += 1
        if saved.has_news:
            self._bell.ring()
        return saved.twin

    async def devices(self) -> tuple[DeviceFacts, ...]:
        """Read the registry, ordered by key."""
        return tuple(registry.device_facts(row) for row in await self._all(registry.select_registry()))

    # --- FleetRecords ------------------------------------------------------------------------------------------------

    @property
    def reports_stored(self) -> int:
        """How many heartbeats this process has stored."""
        return self._reports_stored

    async def facts(self, device: DeviceKey) -> DeviceFacts | None:
        """Read one device of the registry."""
        row = await self._first(registry.select_registry(device))
        return None if row is None else registry.device_facts(row)

    async def desire(self, device: DeviceKey, slots: Sequence[DesiredSlot], *, actor: str, now_ns: int) -> DesiredTwin:
        """State what bindings of a known device should run; the others keep theirs."""
        return await self._write_and_tell(
            lambda connection: twins.desire(connection, device, slots, actor=actor, now_ns=now_ns)
        )

    async def end_desire(self, device: DeviceKey, binding: str, *, actor: str, now_ns: int) -> DesiredTwin | None:
        """End what a binding should run; None when nothing is desired there."""
        return await self._write_and_tell(
            lambda connection: twins.end_desire(connection, device, binding, actor=actor, now_ns=now_ns)
        )

    async def desired(self, device: DeviceKey) -> DesiredTwin | None:
        """Read what a device should run."""
        row = await self._first(twins.select_twin(device))
        return None if row is None else twins.read_twin(device, row)

    async def trend(self, device: DeviceKey | None, since_ns: int, until_ns: int = NO_END_NS) -> tuple[TrendPoint, ...]:
        """Read the increments of each bucket, oldest first."""
        rows = await self._all(trends.select_trend(device, since_ns, until_ns))
        new = await self._new_devices(since_ns, device)
        return increments([trends.read_totals(row) for row in rows], since_ns, new)

    async def lately(self, since_ns: int, until_ns: int = NO_END_NS) -> tuple[TrendPoint, ...]:
        """Read what happened from each series' first bucket since then to its last, of all devices."""
        rows = await self._all(trends.select_ends(since_ns, until_ns))
        new = await self._new_devices(since_ns, None)
        return increments([trends.read_totals(row) for row in rows], since_ns, new)

    async def _new_devices(self, since_ns: int, device: DeviceKey | None) -> dict[DeviceKey, int]:
        rows = await self._all(trends.select_new_devices(since_ns, device))
        return {key_of(row): row.enrolled_at_ns for row in rows}

    async def record(self, happening: Happening) -> None:
        """Write an event that stands alone."""
        await self._write_and_tell(lambda connection: events.add(connection, (happening,)))

    async def events(self, after_id: EventId, limit: int, device: DeviceKey | None = None) -> tuple[HubEvent, ...]:
        """Read the outbox on from a cursor, oldest first."""
        rows = await self._all(events.select_after(after_id, limit, device))
        return tuple(events.read_event(row) for row in rows)

    async def recent_events(self, limit: int, device: DeviceKey | None = None) -> tuple[HubEvent, ...]:
        """Read the latest events, newest first."""
        rows = await self._all(events.select_recent(limit, device))
        return tuple(events.read_event(row) for row in rows)

    async def event_span(self) -> tuple[EventId, EventId]:
        """Read the ids of the oldest event that is kept and of the newest; both 0 when there is none."""
        (row,) = await self._all(events.select_span())
        return EventId(row.first_id or 0), EventId(row.last_id or 0)

    async def wait_for_event(self, after_id: EventId, timeout_s: float) -> bool:
        """Wait until there is an event behind the cursor, whichever process wrote it."""

        async def is_behind() -> bool:
            return (await self.event_span())[1] > after_id

        return await self._bell.wait_until(is_behind, timeout_s)

    # --- FleetWatchStore ---------------------------------------------------------------------------------------------

    async def heard(self) -> tuple[Heard, ...]:
        """Read when each accepted device was last heard, and what was told of it."""
        return tuple(liveness.read_heard(row) for row in await self._all(liveness.select_heard()))

    async def tell_liveness(self, changes: Sequence[LivenessChange], now_ns: int) -> None:
        """Note changes and write their events."""
        await self._write_and_tell(lambda connection: liveness.tell(connection, changes, now_ns))

    async def forget(self, before_ns: int) -> Forgotten:
        """Delete a page of answered items that came before then and cannot come again, with cases and verdicts."""
        found = [row.row_id for row in await self._all(forgetting.select_forgettable(before_ns, FORGET_PAGE))]
        if not found:
            return Forgotten(0, 0)
        return await self._writer.write(lambda connection: forgetting.forget(connection, found, before_ns))

    async def prune(self, *, events_before_ns: int, max_events: int, trends_before_ns: int) -> None:
        """Delete events and trends beyond their age, and the oldest events beyond their count."""

        async def both(connection: AsyncConnection) -> None:
            await events.prune(connection, before_ns=events_before_ns, max_events=max_events)
            await trends.prune(connection, before_ns=trends_before_ns)

        await self._writer.write(both)

    # --- EscalationStore ---------------------------------------------------------------------------------------------

    async def open_session(self, device: DeviceKey, hello: Hello, now_ns: int) -> OpenedSession:
        """Start a new epoch, and lift the verdict counter above what the device has seen."""
        opened = await self._greetings.write(sessions.Greeting(device, hello, now_ns))
        if opened.is_restored:
            self._bell.ring()
        self._incarnation = opened.incarnation
        return opened

    async def apply(self, device: DeviceKey, delivered: Sequence[Delivered], now_ns: int) -> tuple[Delivery, ...]:
        """Store items that came together, each at most once, and say again what is asked from a new place."""

        async def both(connection: AsyncConnection) -> tuple[Delivery, ...]:
            decided = await items.apply(connection, device, delivered, now_ns, self._rules.people_share)
            await forgetting.note_floors(connection, device, delivered)
            again = asked_again(zip((one.question.prediction_id for one in delivered), decided, strict=True))
            if again:
                await verdicts.repeat(connection, device, again)
            return decided

        return await self._writer.write(both)

    async def waiting(self, limit: int, except_packs: Collection[str] = ()) -> tuple[WaitingItem, ...]:
        """Read stored items without an answer: the newest and the oldest, in the order in which they came."""
        n_newest = (limit + 1) // 2
        rows = list(await self._all(items.select_newest_waiting(n_newest, except_packs)))
        if len(rows) == n_newest:
            rows += await self._all(items.select_waiting(limit - n_newest, except_packs))
        found = {row.row_id: items.waiting_item(row) for row in rows}
        return tuple(found[row_id] for row_id in sorted(found))

    async def waiting_by_device(self) -> Mapping[DeviceKey, int]:
        """Count the stored items without an answer."""
        return {key_of(row): row.n for row in await self._all(items.select_waiting_counts())}

    async def answer(self, answers: Sequence[Answer]) -> tuple[tuple[DeviceKey, Verdict], ...]:
        """Log verdicts in one transaction, each at the end of its device's log, and close the items."""
        return await self._writer.write(lambda connection: verdicts.answer(connection, answers, self._rules))

    async def verdicts(self, device: DeviceKey, after_seq: int, limit: int) -> tuple[Verdict, ...]:
        """Read a device's log from a cursor."""
        rows = await self._all(verdicts.select_log(device, after_seq, limit))
        return tuple(verdicts.read_verdict(row) for row in rows)

    async def acknowledge(self, device: DeviceKey, verdict_seq: int) -> None:
        """Advance the device's cursor; never back, and never past what was given out."""
        await self._writer.write(
            lambda connection: sessions.acknowledge(connection, device, verdict_seq), patience_s=LAZY_S
        )

    # --- CaseRecords -------------------------------------------------------------------------------------------------

    async def cases(self, wanted: CaseFilter, limit: int) -> CasePage:
        """List cases, newest first."""
        rows = await self._all(cases.select_cases(wanted, limit + 1))
        found = tuple(cases.read_case(row) for row in rows[:limit])
        return CasePage(found, found[-1].case_id if len(rows) > limit else None)

    async def case(self, device: DeviceKey, prediction_id: PredictionId) -> CaseDetail | None:
        """Read one case with its tensors, verdicts and feedback."""
        row = await self._first(cases.select_case(device, prediction_id))
        if row is None:
            return None
        payload = await self._first(items.select_payload(device, prediction_id))
        said = await self._all(verdicts.select_of_prediction(device, prediction_id))
        given = await self._all(judgements.select_of_predictions(device, (prediction_id,)))
        return CaseDetail(
            case=cases.read_case(row),
            escalation=None if payload is None else items.read_payload(payload.payload),
            verdicts=tuple(verdicts.read_verdict(one) for one in said),
            feedback=tuple(judgements.read_given(one) for one in given),
        )

    async def review_queue(self, limit: int, by: str) -> tuple[Case, ...]:
        """Read what to review next; rank by rank, so that each is read off the end of its index."""
        found: list[AnyRow] = []
        for rank in ReviewRank:
            found += await self._all(cases.select_for_review(rank, limit - len(found), by))
            if len(found) >= limit:
                break
        return tuple(cases.read_case(row) for row in found)

    async def review_count(self) -> int:
        """Count the cases without a label."""
        (row,) = await self._all(cases.select_review_count())
        return int(row.n)

    async def case_trend(self, since_ns: int, bucket_s: float, device: DeviceKey | None) -> tuple[CaseCount, ...]:
        """Count cases by bucket, device, binding and reason, oldest first."""
        bucket_ns = round(bucket_s * _NS_PER_S)
        rows = await self._all(cases.select_trend(since_ns, bucket_ns, device))
        return tuple(cases.read_count(row, bucket_ns) for row in rows)

    async def judgements(self, limit: int, before: int | None = None) -> GivenPage:
        """List what people said, newest first."""
        rows = await self._all(judgements.select_newest(limit + 1, before))
        found = tuple((row.row_id, judgements.read_given(row)) for row in rows[:limit])
        return GivenPage(found, found[-1][0] if len(rows) > limit else None)

    async def label(self, given: LabelGiven) -> LabelOutcome:
        """Store a person's label with its human verdict and its event, in one transaction."""
        return await self._write_and_tell(lambda connection: labels.label(connection, given, self._rules))

    async def receive_feedback(
        self,
        device: DeviceKey,
        batch: FeedbackBatch,
        refused: Sequence[FeedbackRefusal],
        now_ns: int,
    ) -> FeedbackTaken:
        """Store what people at a device say, once, in one transaction."""
        return await self._write_and_tell(lambda connection: labels.receive(connection, device, batch, refused, now_ns))

    # --- People ------------------------------------------------------------------------------------------------------

    async def people(self) -> tuple[Person, ...]:
        """List them by name."""
        return tuple(people.read_person(row) for row in await self._all(people.select_people()))

    async def add_person(self, person: Person, password_hash: str, *, actor: str) -> None:
        """Add one."""
        await self._write_and_tell(lambda connection: people.add(connection, person, password_hash, actor))

    async def remove_person(self, name: str, *, actor: str, now_ns: int) -> None:
        """Remove one with all sessions and tokens."""
        await self._write_and_tell(lambda connection: people.remove(connection, name, actor, now_ns))

    async def set_password(self, name: str, password_hash: str, *, actor: str, now_ns: int) -> None:
        """Replace the password and end all web sessions."""
        await self._write_and_tell(
            lambda connection: people.set_password(connection, name, password_hash, actor, now_ns)
        )

    async def password_hash(self, name: str) -> str | None:
        """Read what a password is compared with."""
        row = await self._first(people.select_password_hash(name))
        return None if row is None else str(row.password_hash)

    async def open_web_session(self, name: str, now_ns: int, life_s: float) -> str:
        """Make a session's secret."""
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        until_ns = now_ns + round(life_s * _NS_PER_S)
        await self._writer.write(lambda connection: people.open_session(connection, name, secret, now_ns, until_ns))
        return secret

    async def web_session(self, secret: str, now_ns: int) -> Person | None:
        """Find whose live session it is."""
        row = await self._first(people.select_session_owner(secret, now_ns))
        return None if row is None else people.read_person(row)

    async def close_web_session(self, secret: str) -> None:
        """End a session."""
        await self._writer.write(lambda connection: people.close_session(connection, secret))

    async def open_api_token(self, name: str, *, actor: str, now_ns: int) -> str:
        """Make an API token, valid until it is revoked."""
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        await self._write_and_tell(lambda connection: people.open_token(connection, name, secret, actor, now_ns))
        return secret

    async def api_token(self, secret: str) -> Person | None:
        """Find whose token it is."""
        row = await self._first(people.select_token_owner(secret))
        return None if row is None else people.read_person(row)

    async def revoke_api_tokens(self, name: str) -> int:
        """Revoke all of a person's tokens and count them."""
        return await self._writer.write(lambda connection: people.revoke_tokens(connection, name))

    # --- for `cloud-hub devices` and `cloud-hub tokens` --------------------------------------------------------------

    async def remove_device(self, key: DeviceKey, *, actor: str, now_ns: int) -> None:
        """Accept a device no longer, with its event."""
        await self._write_and_tell(lambda connection: devices.remove(connection, key, actor, now_ns))

    async def tokens(self) -> tuple[Token, ...]:
        """Read all join tokens, the newest first; of their secrets there are digests only."""
        return await self._writer.write(enrolments.read_tokens)

    async def add_token(self, token: Token, now_ns: int) -> None:
        """Store a new token."""
        await self._writer.write(lambda connection: enrolments.add_token(connection, token, now_ns))

    async def revoke_token(self, token_id: str, now_ns: int) -> Token | None:
        """End a join token's time; the token as it is now, None when there is none of that id."""
        return await self._writer.write(lambda connection: enrolments.revoke_token(connection, token_id, now_ns))

    # --- for `cloud-hub restored` ------------------------------------------------------------------------------------

    async def renew_incarnation(self, *, actor: str, now_ns: int) -> HubIncarnation:
        """Let devices know that this database was put back from a backup: a new incarnation, with an event."""
        renewed = await self._write_and_tell(
            lambda connection: identity.renew(connection, actor=actor, device=None, now_ns=now_ns)
        )
        self._incarnation = renewed.incarnation
        return renewed.incarnation

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _write_and_tell(self, job: Job[ResultT]) -> ResultT:
        """Run a job that may write events, and wake who waits for them once they are durable."""
        result = await self._writer.write(job)
        self._bell.ring()
        return result

    async def _all(self, query: AnySelect) -> Sequence[AnyRow]:
        (rows,) = await self._transactions.read(query)
        return rows

    async def _registered(self, keys: Sequence[DeviceKey]) -> Mapping[DeviceKey, RegisteredDevice]:
        answers = await self._transactions.read(*devices.select_devices(keys))
        found = (devices.registered(row) for rows in answers for row in rows)
        return {one.key: one for one in found}

    async def _first(self, query: AnySelect) -> AnyRow | None:
        rows = await self._all(query.limit(1))
        return rows[0] if rows else None
