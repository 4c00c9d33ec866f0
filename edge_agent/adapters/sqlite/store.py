"""Owns the store as one thing: opens edge.db, gives its parts to those who need them, closes it.

schema.py        tables, migrations, connections
writer.py        the one write connection and its thread; entries.py: what waits for it; backlog.py: what is shed
room.py          how large the file may grow, and what is done when the disk is full
units.py         what one pass of the pipeline writes
fates.py         what becomes of predictions and escalations; outbox.py: the rows that wait; age.py: how old they are
book.py          the store as the escalation link sees it; feedback.py: as the feedback link sees it
handling.py      what a person does to it by hand; selection.py: which rows; fate_report.py: what is told of them
news.py          what came and changed, for those who watch
budget_ledger.py what may be asked of the hub; policy_totals.py: what each policy decided
dead_letters.py  what could not be used, within a share of its own
reading.py       snapshots, also for other processes
quarantine.py    a damaged file is put aside, and a new one begun
upkeep.py        expiry, pruning, mending at start
"""

import itertools
import logging
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from edge_agent.adapters.sqlite import quarantine, upkeep
from edge_agent.adapters.sqlite.age import Stamp
from edge_agent.adapters.sqlite.book import Book
from edge_agent.adapters.sqlite.budget_ledger import BucketUse, BudgetLedger, read_budget
from edge_agent.adapters.sqlite.dead_letters import DeadLetters
from edge_agent.adapters.sqlite.early_acks import EarlyAcks
from edge_agent.adapters.sqlite.errors import translated
from edge_agent.adapters.sqlite.fates import Fates
from edge_agent.adapters.sqlite.feedback import FeedbackOutbox, Judgements
from edge_agent.adapters.sqlite.handling import Handling
from edge_agent.adapters.sqlite.lock import StateLock
from edge_agent.adapters.sqlite.news import News
from edge_agent.adapters.sqlite.outbox import RowState, broker_destination, pass_over_lost_numbers
from edge_agent.adapters.sqlite.policy_totals import PolicyTotals, read_totals
from edge_agent.adapters.sqlite.reading import ClassUse, LastPrediction, Read, Reader
from edge_agent.adapters.sqlite.room import Room, release
from edge_agent.adapters.sqlite.schema import open_writer
from edge_agent.adapters.sqlite.transaction import Transaction
from edge_agent.adapters.sqlite.units import Units
from edge_agent.adapters.sqlite.writer import Writer
from edge_agent.core.budget import BudgetSettings
from edge_agent.core.durability import Durability
from edge_agent.core.outbox import Limits, OnFull, Turns
from edge_agent.errors import StoreError
from edge_agent.ports import (
    AckHandle,
    BindingName,
    Clock,
    CounterKey,
    DeadLetter,
    Event,
    Publish,
    Remembered,
    RowId,
    Unit,
)
from protos.messages.escalation import ItemClass
from protos.status import Status

FILE_NAME = "edge.db"
LOCK_NAME = "edge.db.lock"

_NOTE = "note:"

_BROKER_CLASSES = {ItemClass.ALARM: "outbox_by_class", ItemClass.PREDICTION: "outbox_by_destination"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """The store's bounds.

    Attributes:
        limits: The outbox's.
        escalation_max_age_s: Older escalations expire.
        dead_letter_max_bytes: The dead letters' own share.
        predictions_kept: Predictions remembered for their revisions; open escalations keep theirs beyond it.
        predictions_max_age_s: Older ones are forgotten, too.
        retain_after_ack_s: How long what the hub has is kept for a hub that is put back to an older state.
        max_file_bytes: How large edge.db may grow, whatever is in it.
        reserve_bytes: Disk space kept in reserve for a full disk; 0 keeps none.
        budget: What may be asked of the hub; without buckets there is no bound.
        commit_interval_s: From one commit to the next, at least.
    """

    limits: Limits
    escalation_max_age_s: float
    dead_letter_max_bytes: int
    predictions_kept: int = 50_000
    predictions_max_age_s: float = 7 * 86_400.0
    retain_after_ack_s: float = 86_400.0
    max_file_bytes: int = 1 << 40
    reserve_bytes: int = 0
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    commit_interval_s: float = 0.0


class Store:
    """edge.db. Implements `UnitStore`; `book` implements `EscalationBook`, `feedback` `FeedbackBook`.

    Args:
        folder: The device's state folder; made if missing.
        clock: For ages.
        settings: The bounds.
        agent_version: Said to the hub.
        acknowledge: Sends acknowledgements after their commit.
        on_publishable: Called after a commit that added messages for brokers.
        on_dead_letters: Told, after their commit, of dead letters that no unit held.
        on_commit: Told how long each commit took, in seconds, and what it counted.
        on_failure: Told, with the writer's name, when one of the callbacks above raised.
        on_revised: Told, after their commit, of the new events of predictions that changed.
        connect: Opens the file for writing, at start and after a failure.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        settings: StoreSettings,
        *,
        agent_version: str,
        acknowledge: Callable[[Sequence[AckHandle]], None],
        on_publishable: Callable[[], None],
        on_commit: Callable[[float, Mapping[CounterKey, int]], None],
        on_dead_letters: Callable[[Sequence[DeadLetter]], None] = lambda letters: None,  # noqa: ARG005 - nobody listens
        on_failure: Callable[[str], None] = lambda name: None,  # noqa: ARG005 - the log says it, too
        on_revised: Callable[[Sequence[Event]], None] = lambda events: None,  # noqa: ARG005 - nobody waits
        connect: Callable[[Path], sqlite3.Connection] = open_writer,
    ) -> None:
        self._path = folder / FILE_NAME
        self._connect = connect
        self._is_new = False
        self._clock = clock
        self._settings = settings
        self._on_publishable = on_publishable
        self._on_commit = on_commit
        self._on_dead_letters = on_dead_letters
        self._on_revised = on_revised
        self._rows = itertools.count(1)
        self._lock = StateLock(folder / LOCK_NAME)
        self._early = EarlyAcks()
        self._fates = Fates(settings.limits, settings.escalation_max_age_s, settings.retain_after_ack_s, self._early)
        dead_letters = DeadLetters(settings.dead_letter_max_bytes)
        judgements = Judgements(self._fates, dead_letters)
        self._units = Units(self._fates, judgements, dead_letters)
        self._reader = Reader(self._path, is_marking=True)
        self._onlooker = Reader(self._path, is_marking=True)  # a long backlog is counted here: nobody else waits
        self._room = Room(self._path, settings.max_file_bytes, settings.reserve_bytes)
        self._writer = Writer(
            self._path,
            clock,
            self._room,
            commit_interval_s=settings.commit_interval_s,
            new_row=self.new_row,
            apply=self._units.apply,
            acknowledge=acknowledge,
            committed=self._committed,
            on_failure=on_failure,
            may_block=OnFull.BLOCK in settings.limits.on_full.values(),
            connect=connect,
        )
        self._pruner = upkeep.Pruner(settings.predictions_kept, settings.predictions_max_age_s)
        self._turns: defaultdict[str, Turns] = defaultdict(partial(Turns, settings.limits))  # by broker
        turns = Turns(settings.limits)
        self.budget = BudgetLedger(self._writer, settings.budget)
        self.book = Book(self._writer, self._reader, self._fates, clock, agent_version, turns=turns)
        self.feedback = FeedbackOutbox(self._writer, self._reader, judgements, clock)
        self.news = News(self._path)
        self.handling = Handling(self._path, self._writer, self._fates, self.book, self.feedback, clock=clock)

    @property
    def is_durable(self) -> bool:
        """False while commits fail or hang."""
        return self._writer.is_durable

    @property
    def is_blocked(self) -> bool:
        """Whether a full class holds back what comes next (`block`)."""
        return self._writer.is_blocked

    @property
    def is_alive(self) -> bool:
        """Whether the writer's thread runs; without it nothing is committed or acknowledged."""
        return self._writer.is_alive

    @property
    def problem(self) -> str | None:
        """Why there are no commits, with the mend; None while there are."""
        return self._writer.problem or quarantine.problem(self._path)

    @property
    def audit_key(self) -> bytes:
        """The secret of the audit lottery; it lives as long as the file."""
        with self._reader.transaction() as read:
            ((key,),) = read("SELECT value FROM meta WHERE name = ?", upkeep.AUDIT_KEY)
        return bytes.fromhex(key)

    def open(self) -> None:
        """Open or make the file, mend what a full disk left, start the writer.

        Raises:
            StoreError: The file cannot be used, or another agent uses it.
        """
        self._lock.take()
        try:
            connection = self._prepared() if not quarantine.is_marked(self._path) else self._begun_anew()
            try:
                self._open_parts(connection)
            except StoreError as error:
                if error.status is not Status.DATA_LOSS or self._is_new:
                    raise
                self._close_readers()
                connection.close()
                self._open_parts(self._begun_anew())
        except BaseException:
            self.close()
            raise

    def _open_parts(self, connection: sqlite3.Connection) -> None:
        self._reader.open()
        self._onlooker.open()
        self.news.open()
        with translated(self._path):
            self._writer.open(connection)

    def _close_readers(self) -> None:
        self.news.close()
        self._reader.close()
        self._onlooker.close()

    def _prepared(self) -> sqlite3.Connection:
        """Open the file and mend it; a full disk gives up the reserve for that."""
        connection = None
        try:
            is_unclean = quarantine.is_unclean(self._path)
            connection = self._connect(self._path)
            with translated(self._path):
                if is_unclean:
                    quarantine.examine(connection, self._path)
                self._rows = itertools.count(upkeep.prepare(connection))
                pass_over_lost_numbers(connection, self._clock.boot_id())
                self._room.keep_reserve()
                self._room.bind(connection)
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, StoreError) and self._room.is_missing(error) and self._room.tighten():
                return self._prepared()
            if isinstance(error, StoreError) and error.status is Status.DATA_LOSS and not self._is_new:
                return self._begun_anew()
            raise
        return connection

    def _begun_anew(self) -> sqlite3.Connection:
        """Put a damaged file aside and make a new one, once: a disk that damages that, too, is no place for a store."""
        self._is_new = True
        try:
            quarantine.put_aside(self._path)
        except OSError as error:
            raise StoreError(
                f"{self._path} is damaged and cannot be put aside: {error.strerror}",
                f"move {self._path} away (keep it for support) and start again",
                Status.DATA_LOSS,
            ) from error
        return self._prepared()

    def close(self) -> None:
        """Commit what waits and close; may be called twice."""
        self._writer.close()
        self._close_readers()
        self._lock.release()

    def new_row(self) -> RowId:
        """A row id that was never given out before."""
        return RowId(next(self._rows))

    def submit(self, unit: Unit) -> None:
        """Hand a pass to the writer; never waits."""
        self._writer.submit(unit)

    def remembered(self, binding: BindingName) -> Remembered:
        """What is left of a binding after everything submitted so far is committed."""
        self._writer.call(lambda tx: None, is_in_order=True)  # noqa: ARG005 - nothing to write, only to wait for
        return self._reader.remembered(binding)

    def publishable(self, broker: str, limit: int, in_flight: Collection[RowId]) -> list[Publish]:
        """Committed messages for a broker, without those in flight: the classes in turn, the oldest of each first."""
        with self._reader.transaction() as read:
            waiting = {one: _waiting(read, broker, one, in_flight, limit) for one in _BROKER_CLASSES}
            turns = self._turns[broker].order({one: [size for _, size in rows] for one, rows in waiting.items()}, limit)
            queues = {one: iter(rows) for one, rows in waiting.items()}
            chosen = [next(queues[item_class])[0] for item_class in turns]
            found = [
                read("SELECT row, topic, payload, qos, retain, expiry_s FROM outbox WHERE row = ?", row)[0]
                for row in chosen
            ]
        return [
            Publish(RowId(row), broker, topic, payload, qos, bool(retain), expiry_s)
            for row, topic, payload, qos, retain, expiry_s in found
        ]

    def delivered(self, rows: Sequence[RowId]) -> None:
        """Brokers have acknowledged these; one that is not written yet need not be. `published` trims the others."""
        self._early.add(rows)

    def published(self, rows: Sequence[RowId]) -> None:
        """Trim what brokers have acknowledged; returns after the commit."""
        self._writer.call(lambda tx: self._fates.published(tx, rows), Durability.PROCESS)

    def sweep(self) -> None:
        """Expire and forget what is too old; returns after the commit."""
        self._writer.call(self._sweep, Durability.PROCESS)

    def figures(self) -> dict[CounterKey, int]:
        """Every counter, and what rows say is pending, at one commit."""
        return self._onlooker.figures()

    def note(self, name: str) -> str | None:
        """What was kept under a name; None: nothing."""
        with self._reader.transaction() as read:
            found = read("SELECT value FROM meta WHERE name = ?", _NOTE + name)
        return str(found[0][0]) if found else None

    def set_note(self, name: str, text: str) -> None:
        """Keep something under a name; returns after the commit."""
        self._writer.call(lambda tx: tx.set_meta(_NOTE + name, text))

    def budget_use(self) -> tuple[BucketUse, ...]:
        """The budget at its last debits; nothing of a resource that was never bounded."""
        return read_budget(self._onlooker)

    def policy_totals(self) -> tuple[PolicyTotals, ...]:
        """What each policy did."""
        return read_totals(self._onlooker)

    def outbox(self) -> tuple[ClassUse, ...]:
        """The outbox by class."""
        return self._onlooker.outbox(Stamp.now(self._clock))

    def last_predictions(self) -> tuple[LastPrediction, ...]:
        """The newest prediction of each binding."""
        return self._onlooker.last_predictions(Stamp.now(self._clock))

    def _sweep(self, tx: Transaction) -> None:
        self._fates.expire(tx)
        self._pruner.prune(tx)
        release(tx.connection)

    def _committed(self, tx: Transaction, took_s: float) -> None:
        self._early.settle(tx.published)
        self._on_commit(took_s, tx.counts())
        if tx.wakes_link:
            self.book.wake()
        if tx.wakes_feedback:
            self.feedback.wake()
        if tx.wakes_publisher:
            self._on_publishable()
            self.news.wake()
        if tx.revised:
            self._on_revised(tx.revised)
        if tx.dead_letters:
            self._on_dead_letters(tx.dead_letters)


def _waiting(
    read: Read, broker: str, item_class: ItemClass, in_flight: Collection[RowId], limit: int
) -> list[tuple[int, int]]:
    """Row and size of the oldest messages of a class for a broker.

    Of the two indexes that fit, each class has the one in which it is not looked for among many others: alarms are few
    beside predictions, and the predictions for one broker may be few beside those for another.
    """
    index = _BROKER_CLASSES[item_class]
    rows = read(
        f"SELECT row, bytes FROM outbox INDEXED BY {index} "  # noqa: S608 - own names
        "WHERE destination = ? AND state = ? AND class = ? ORDER BY row LIMIT ?",
        broker_destination(broker),
        RowState.QUEUED,
        item_class,
        limit + len(in_flight),
    )
    return [(row, size) for row, size in rows if row not in in_flight][:limit]
