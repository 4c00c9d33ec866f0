"""Owns a recorded life of the real store, and the examination of what a power cut left of it.

The life is one device's: records come alone or in bursts that share a commit, some are dead letters, answers are
published, escalations go to the hub and come back as verdicts, journal rows are released, time passes. Every step
waits for its commit, so one seed is one sequence of writes: a cut can be repeated.

What happens to the files is recorded by `tests/simulators/power_cut_recorder.py`, what a cut leaves of them is decided
by `tests/simulators/power_cut.py`.
"""

import random
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edge_agent.adapters.sqlite.book import STORE_ID
from edge_agent.adapters.sqlite.schema import open_writer
from edge_agent.adapters.sqlite.store import FILE_NAME, Store, StoreSettings
from edge_agent.adapters.sqlite.upkeep import AUDIT_KEY
from edge_agent.adapters.sqlite.write_ahead_log import write_anew
from edge_agent.core.accounting import Count, equations, of_reason
from edge_agent.errors import StoreError
from edge_agent.ports import AckHandle, DeadLetter, Decided, RowId, Unit
from protos.link.backoff import Backoff
from protos.messages.escalation import Ack, Credit, HubIncarnation, ItemClass, Welcome
from tests.simulators.power_cut import Promised, Trace
from tests.simulators.power_cut_recorder import PowerCutRecorder
from tests.simulators.seeds import seeded
from tests.unit.edge_agent.adapters.sqlite.builders import (
    BINDING,
    TestClock,
    decided,
    limits,
    record_unit,
    verdict,
)

STEPS = 60

_COMMIT_DEADLINE_S = 60.0
_DRAWN = frozenset({STORE_ID, AUDIT_KEY})
_SETTINGS = StoreSettings(limits(), escalation_max_age_s=3600.0, dead_letter_max_bytes=4 << 20)

Contents = dict[str, list[tuple[Any, ...]]]
"""Rows by table."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A life of the store.

    Attributes:
        trace: What SQLite did to the files, and what the store promised.
        commits: The store's contents after each commit, by its number; 0 is the empty store.
    """

    trace: Trace
    commits: Mapping[int, Contents]


class RecordedStore:
    """A store in a folder whose writes, promises and commits are recorded; use it as a context manager.

    Args:
        folder: Exists; may hold a store.
        synchronous: What SQLite waits for, in place of the store's own choice.
        is_alone: Whether nobody reads beside the writer: then a failure that closes its connection closes the last one.
    """

    def __init__(self, folder: Path, synchronous: str | None = None, *, is_alone: bool = False) -> None:
        self.clock = TestClock()
        self.commits: dict[int, Contents] = {}
        self._path = folder / FILE_NAME
        self._synchronous = synchronous
        self._recorder = PowerCutRecorder(folder)
        settle = partial(write_anew, write=self._recorder.write, sync=self._recorder.sync)
        self._is_alone = is_alone
        self._promises: dict[int, tuple[Promised, ...]] = {}  # by message, until it is acknowledged
        self._burst: list[Unit] = []
        self._changed = threading.Condition()
        self._acknowledged = 0
        self.store = Store(
            folder,
            self.clock,
            _SETTINGS,
            agent_version="1.2.3",
            acknowledge=self._acknowledge,
            on_publishable=lambda: None,
            on_commit=lambda *_: self._look(),
            connect=partial(open_writer, settle=settle),
        )
        self.store._writer._backoff = Backoff(initial_s=0.0, cap_s=0.0)  # the clock stands still meanwhile

    def __enter__(self) -> Self:
        """Open the store, recorded."""
        self._recorder.__enter__()
        self.store.open()
        if self._synchronous is not None:
            connection = self.store._writer._connection
            assert connection is not None
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.set_authorizer(_leaving_synchronous)
        with closing(self._onlooker()) as onlooker:
            (store_id,) = onlooker.execute("SELECT value FROM meta WHERE name = 'store_id'").fetchone()
        self.promise("the store's id", "SELECT value = ? FROM meta WHERE name = 'store_id'", store_id)
        self._look()
        if self._is_alone:
            self.store._close_readers()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """Close the store in an orderly way, recorded, too."""
        if kind is None:
            self.store._writer.call(lambda tx: None, is_in_order=True)  # noqa: ARG005 - after it, every commit before it was looked at
        self.store.close()
        self._recorder.__exit__(kind, exc, tb)

    def recording(self) -> Recording:
        """What was recorded so far."""
        return Recording(self._recorder.trace(), dict(self.commits))

    def promise(self, fact: str, sql: str, *parameters: object) -> None:
        """Note a fact that somebody counts on from now on."""
        self._recorder.promise(Promised(fact, sql, parameters))

    def fail_syncs(self, times: int) -> None:
        """Let the next so many syncs fail."""
        self._recorder.fail_syncs(times)

    def commit(self, *units: tuple[Unit, Sequence[Promised]]) -> None:
        """Let the first unit come and, while it is committed, the others at once; wait for all acknowledgements."""
        for unit, promises in units:
            self._promises[unit.acks[0].message_id] = tuple(promises)
        awaited = self._acknowledged + len(units)
        self._burst = [unit for unit, _ in units[1:]]
        self.store.submit(units[0][0])
        with self._changed:
            is_done = self._changed.wait_for(lambda: self._acknowledged >= awaited, _COMMIT_DEADLINE_S)
        assert is_done, f"no acknowledgement within {_COMMIT_DEADLINE_S:g} s: {self.store.problem}"

    def _acknowledge(self, handles: Sequence[AckHandle]) -> None:
        """In the writer's thread: what is acknowledged is promised, and what came meanwhile waits for one commit."""
        for handle in handles:
            for promised in self._promises.pop(handle.message_id):
                self._recorder.promise(promised)
        burst, self._burst = self._burst, []
        for unit in burst:
            self.store.submit(unit)
        with self._changed:
            self._acknowledged += len(handles)
            self._changed.notify()

    def _look(self) -> None:
        with closing(self._onlooker()) as onlooker:
            self.commits[commit_number(onlooker)] = contents(onlooker)

    def _onlooker(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, isolation_level=None)


class StoreLife:
    """What the world does to one store, by a seed.

    Args:
        recorded: The store.
        rng: Decides everything.
        is_failing: Whether the disk fails now and then.
    """

    def __init__(self, recorded: RecordedStore, rng: random.Random, *, is_failing: bool = False) -> None:
        self._recorded = recorded
        self._store = recorded.store
        self._rng = rng
        self._is_failing = is_failing
        self._messages = 0
        self._predictions = 0
        self._journal: list[RowId] = []
        self._unanswered: list[str] = []
        self._verdicts = 0

    def run(self, steps: int = STEPS) -> None:
        """Live for so many steps."""
        self._welcome()
        acts: list[Callable[[], None]] = [
            self.record, self._burst, self._bury, self._publish, self._exchange, self._release, self._pass_time,
        ]  # fmt: skip
        weights = [6, 4, 1, 4, 4, 2, 1]
        if self._is_failing:
            acts, weights = [*acts, self._record_on_a_failing_disk], [*weights, 4]
        for act in self._rng.choices(acts, weights=weights, k=steps):
            act()

    def _welcome(self) -> None:
        welcome = Welcome(1, HubIncarnation("hub-1"), (), Credit(100, 1 << 20), hub_time_ns=0)
        self._store.book.welcomed(welcome)

    def record(self) -> None:
        """Take one record."""
        self._recorded.commit(self._arrival())

    def _record_on_a_failing_disk(self) -> None:
        self._recorded.fail_syncs(self._rng.randint(1, 3))
        self.record()

    def _burst(self) -> None:
        self._recorded.commit(*(self._arrival() for _ in range(self._rng.randint(2, 6))))

    def _arrival(self) -> tuple[Unit, list[Promised]]:
        message_id = self._next_message()
        key = b"key %d" % message_id
        answers = [self._answer() for _ in range(self._rng.randint(0, 2))]
        unit = record_unit(self._store, key, *answers, message_id=message_id)
        self._journal.append(unit.journal[0].row)
        promises = [Promised(f"record {message_id}", "SELECT count(*) FROM seen WHERE key = ?", (key,))]
        for one in answers:
            name = one.prediction_id
            promises.append(Promised(f"prediction {name}", "SELECT count(*) FROM prediction WHERE id = ?", (name,)))
            if one.escalate is not None:
                asked = "SELECT count(*) FROM escalation WHERE prediction_id = ?"
                promises.append(Promised(f"escalation {name}", asked, (name,)))
        return unit, promises

    def _answer(self) -> Decided:
        self._predictions += 1
        name = f"p{self._predictions}"
        is_escalated = self._rng.random() < 0.6
        if is_escalated:
            self._unanswered.append(name)
        return decided(self._store, name, escalate=is_escalated, expiry_s=self._rng.choice([None, 900]))

    def _bury(self) -> None:
        message_id = self._next_message()
        payload = self._rng.randbytes(self._rng.randint(1, 80_000))
        letter = DeadLetter(BINDING, "press/raw", "malformed", f"dead letter {message_id}", 5, payload)
        counts = {
            (BINDING, Count.RECORDS_RECEIVED): 1,
            (BINDING, of_reason(Count.RECORDS_DEAD_LETTERED, letter.reason)): 1,
        }
        unit = Unit(counts=counts, dead_letters=(letter,), acks=(AckHandle("plant", 1, message_id, 1),))
        # Never given up for a later one: a life holds fewer than the share does, and `commits` compares each byte.
        sql = "SELECT count(*) FROM dead_letter WHERE detail = ? AND length = ?"
        self._recorded.commit((unit, [Promised(letter.detail, sql, (letter.detail, len(payload)))]))

    def _publish(self) -> None:
        """Trim what the broker has; no promise: after a cut it is only published once more."""
        rows = [publish.row for publish in self._store.publishable("plant", self._rng.randint(1, 12), ())]
        self._store.published(rows)

    def _exchange(self) -> None:
        """Send what waits, hear that some is durable at the hub (after a cut it is sent again), take some verdicts."""
        book = self._store.book
        items = [(one.item_class, one.seq) for one in book.next_items(self._rng.randint(1, 8), frozenset())]
        book.sent(items)
        for _, seq in items[: self._rng.randint(0, len(items))]:
            book.acked(Ack(ItemClass.ESCALATION, ((seq, seq),)))
        for _ in range(self._rng.randint(0, min(4, len(self._unanswered)))):
            self._hear(self._unanswered.pop(0))

    def _hear(self, name: str) -> None:
        self._verdicts += 1
        self._store.book.answered(verdict(name, self._verdicts)).result()
        sql = "SELECT CAST(value AS INTEGER) >= ? FROM meta WHERE name = 'verdict_cursor'"
        self._recorded.promise(f"verdict {self._verdicts} is taken", sql, self._verdicts)
        self._recorded.promise(f"{name} is revised", "SELECT revision >= 1 FROM prediction WHERE id = ?", name)

    def _release(self) -> None:
        rows, self._journal = self._journal[:3], self._journal[3:]
        unit = Unit(
            counts={(BINDING, Count.SAMPLES_USED): 4 * len(rows)},
            released=tuple(rows),
            acks=(AckHandle("plant", 1, self._next_message(), 1),),
        )
        sql = "SELECT count(*) = 0 FROM journal WHERE row = ?"
        self._recorded.commit((unit, [Promised(f"journal row {row} is released", sql, (row,)) for row in rows]))

    def _pass_time(self) -> None:
        self._recorded.clock.pass_s(600.0)
        self._store.sweep()

    def _next_message(self) -> int:
        self._messages += 1
        return self._messages


def record_life(folder: Path, seed: int, synchronous: str | None = None, *, is_failing: bool = False) -> Recording:
    """Live a whole life in an empty folder, from the first opening to an orderly close.

    Args:
        folder: Exists, and is empty.
        seed: Decides everything.
        synchronous: What SQLite waits for, in place of the store's own choice.
        is_failing: Whether syncs fail now and then.
    """
    with RecordedStore(folder, synchronous) as recorded:
        StoreLife(recorded, seeded(seed), is_failing=is_failing).run()
    return recorded.recording()


def record_doubt(folder: Path, failing_syncs: int) -> Recording:
    """Take one record whose commit fails at its sync, with nobody reading: what the log holds may be found again.

    Args:
        folder: Exists, and is empty.
        failing_syncs: How many fail, from that one on.
    """
    with RecordedStore(folder, is_alone=True) as recorded:
        life = StoreLife(recorded, seeded(0))
        life.record()
        recorded.fail_syncs(failing_syncs)
        life.record()
    return recorded.recording()


def record_return(folder: Path, before: Recording) -> Recording:
    """Open the store that a cut left, take one more record, close.

    Args:
        folder: Holds what the cut left.
        before: The life up to the cut; its commits are known.
    """
    with RecordedStore(folder) as recorded:
        unit = record_unit(recorded.store, b"key of the return")
        again = Promised("the return", "SELECT count(*) FROM seen WHERE key = ?", (b"key of the return",))
        recorded.commit((unit, [again]))
    after = recorded.recording()
    return replace(after, commits={**before.commits, **after.commits})


def lay(folder: Path, files: Mapping[str, bytes], rng: random.Random) -> Path:
    """Make a folder of what a cut left; the shared memory, which was never synced, comes back as rubbish."""
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / f"{FILE_NAME}-shm").write_bytes(rng.randbytes(32_768))
    return folder


def examine(folder: Path, promises: Sequence[Promised], commits: Mapping[int, Contents]) -> list[str]:
    """Open a store that a power cut left, as the agent does at start, and look at everything.

    Args:
        folder: Holds what the cut left.
        promises: What the store promised before it.
        commits: What the store held after each commit.

    Returns:
        What is wrong, in words; empty when nothing acknowledged is missing, nothing is half there or there twice, every
        equation holds, and the store takes another record.
    """
    acknowledged: list[AckHandle] = []
    store = Store(
        folder,
        TestClock(),
        _SETTINGS,
        agent_version="1.2.3",
        acknowledge=acknowledged.extend,
        on_publishable=lambda: None,
        on_commit=lambda *_: None,
    )
    try:
        store.open()
    except StoreError as error:
        return [f"it does not open: {error}"]
    connection = sqlite3.connect(folder / FILE_NAME, isolation_level=None)
    try:
        problems = [
            *_damage(connection),
            *_lost(connection, promises),
            *_other_than_committed(connection, commits),
            *_given_out_again(store, connection, commits),
            *_unbalanced(store),
        ]
        return problems or _unable_to_go_on(store, acknowledged)
    except (sqlite3.DatabaseError, StoreError) as error:
        return [f"it cannot be read: {error}"]
    finally:
        connection.close()
        store.close()


def contents(connection: sqlite3.Connection) -> Contents:
    """Every row of every table, but for what each start moves on and what is drawn by lot when a store is made."""
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'sqlite_sequence' ORDER BY name"
    ).fetchall()
    found = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in tables}  # noqa: S608 - own names
    found["meta"] = [row for row in found["meta"] if row[0] not in _DRAWN]
    return found


def _leaving_synchronous(action: int, name: str | None, *_: str | None) -> int:
    """Let the store's own choice of what SQLite waits for have no effect."""
    is_choice = action == sqlite3.SQLITE_PRAGMA and name == "synchronous"
    return sqlite3.SQLITE_IGNORE if is_choice else sqlite3.SQLITE_OK


def commit_number(connection: sqlite3.Connection) -> int:
    """How many commits the store has counted."""
    (number,) = connection.execute("SELECT value FROM meta WHERE name = 'commit_number'").fetchone() or (0,)
    return int(number)


def _damage(connection: sqlite3.Connection) -> list[str]:
    (verdict_of_sqlite,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    return [] if verdict_of_sqlite == "ok" else [f"it is damaged: {verdict_of_sqlite}"]


def _lost(connection: sqlite3.Connection, promises: Sequence[Promised]) -> list[str]:
    answers = [(one.fact, connection.execute(one.sql, one.parameters).fetchone()) for one in promises]
    return [f"promised, and not so: {fact} ({answer})" for fact, answer in answers if answer != (1,)]


def _other_than_committed(connection: sqlite3.Connection, commits: Mapping[int, Contents]) -> list[str]:
    """Compare with the one commit that the store says was its last: no half of one, nothing twice, payloads intact."""
    number, found = commit_number(connection), contents(connection)
    expected = commits.get(number)
    if expected is None:
        return [f"commit {number} was never made"]
    names = sorted(found.keys() | expected.keys())
    return [f"table {name} differs from commit {number}" for name in names if found.get(name) != expected.get(name)]


def _given_out_again(store: Store, connection: sqlite3.Connection, commits: Mapping[int, Contents]) -> list[str]:
    """The next row's id is above all that were ever committed: what was published is not trimmed in another's name."""
    known = [found for number, found in commits.items() if number <= commit_number(connection)]
    rows = [row[0] for found in known for name in ("journal", "outbox") for row in found.get(name, ())]
    row = store.new_row()
    return [f"row {row} is given out again; {max(rows)} was committed"] if row <= max(rows, default=0) else []


def _unbalanced(store: Store) -> list[str]:
    figures = {(str(binding), name): value for (binding, name), value in store.figures().items()}
    return [f"equation {one.name} does not hold: {one}" for one in equations(figures) if not one.holds]


def _unable_to_go_on(store: Store, acknowledged: Sequence[AckHandle]) -> list[str]:
    store.submit(record_unit(store, b"key after the cut"))
    store.sweep()
    return [] if acknowledged and not _unbalanced(store) else ["it takes no further record"]
