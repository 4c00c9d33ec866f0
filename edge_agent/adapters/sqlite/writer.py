"""Owns the one write connection and its thread: group commits, acknowledgements after them, and life without a disk.

What a unit or a call writes is decided by who made them. The thread takes whatever waits and commits it as one
transaction. While commits fail it keeps trying; after `UNAVAILABLE_AFTER_S` it acknowledges what it holds anyway and
counts it as shed, so that inference goes on, and bounds what it holds in memory.

A disk without room is told apart from a broken one (`room.py`): then the books are committed without the payloads, so
a record is acknowledged after the commit that counts it as shed.

A unit that nobody waits for waits a little for others: to commit each by itself would cost more than all the rest that
is done for it. It is of records of QoS 0, or of such as are acknowledged before they are kept, or of time that went by;
its answers are out, or cannot go out now.

What has to wait for something else than the disk is set aside and tried again with each commit: units of a class that
is full and blocks (`core/outbox.py`), and, on a full disk, units whose terms forbid to shed them. It is not
acknowledged, so the broker holds back what comes after its window of unacknowledged messages.

A commit reaches the disk before anything in it is acknowledged if one of its parts asks for that; what the parts may
ask for is `core/durability.py`, how they are told apart is `entries.py`.

A commit that hangs (another program's lock, a stalling disk) is said after the same time, and what waits behind it is
bounded, too. What is in it is neither acknowledged nor given up before it ends, since it may still succeed: until then
a broker holds back what exceeds its window of unacknowledged messages.
"""

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from edge_agent.adapters.sqlite import backlog, quarantine
from edge_agent.adapters.sqlite.age import Stamp
from edge_agent.adapters.sqlite.entries import (
    HELD_MAX_BYTES,
    MAX_ENTRIES,
    Call,
    Entry,
    books,
    durability_of,
    is_awaited,
    is_in_order,
    is_kept,
    parted,
    undurable,
)
from edge_agent.adapters.sqlite.errors import NoRoomYetError, StoreClosedError, hanging_mend, is_damage, mend
from edge_agent.adapters.sqlite.outbox import UNSYNCED_BOOT
from edge_agent.adapters.sqlite.room import Room
from edge_agent.adapters.sqlite.schema import open_writer
from edge_agent.adapters.sqlite.transaction import NewRow, Transaction, read_meta
from edge_agent.core.durability import Durability, needs_sync
from edge_agent.errors import StoreError
from edge_agent.ports import AckHandle, Clock, Unit
from model_packs.process.crash_points import CrashPoint, crash_point
from protos.link.backoff import Backoff

UNAVAILABLE_AFTER_S = 1.0
LINGER_S = 0.02
"""How long a unit that nobody waits for may wait for others to be committed with it; a long commit holds answers up."""

THREAD_NAME = "store-writer"

_COMMIT_NUMBER = "commit_number"
_FAILING_POLL_S = 0.05
_LINGERING_MAX_BYTES = 1 << 20
_CLOSE_DEADLINE_S = 10.0

ResultT = TypeVar("ResultT")
logger = logging.getLogger(__name__)


class Writer:
    """The writer thread.

    Args:
        path: edge.db; opened (and migrated) by `open`.
        clock: For stamps and for the time without a commit.
        room: What the file may take.
        commit_interval_s: From one commit to the next, at least; 0 commits what waits as soon as it can.
        new_row: Row ids for transactions.
        apply: Writes one unit.
        acknowledge: Sends acknowledgements; called from the writer thread, in order, after their commit.
        committed: Told of every commit: the transaction and how long it took, in seconds.
        on_failure: Told, with the thread's name, when `acknowledge` or `committed` raised; the thread goes on.
        may_block: Whether a unit may find no room and wait (`NoRoomYetError`).
        connect: Opens the file again after a failure.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        room: Room,
        *,
        commit_interval_s: float = 0.0,
        new_row: NewRow,
        apply: Callable[[Transaction, Unit], None],
        acknowledge: Callable[[Sequence[AckHandle]], None],
        committed: Callable[[Transaction, float], None],
        on_failure: Callable[[str], None],
        may_block: bool = False,
        connect: Callable[[Path], sqlite3.Connection] = open_writer,
    ) -> None:
        self._path = path
        self._clock = clock
        self._room = room
        self._commit_interval_s = commit_interval_s
        self._new_row = new_row
        self._apply = apply
        self._acknowledge = acknowledge
        self._committed = committed
        self._on_failure = on_failure
        self._may_block = may_block
        self._connect = connect
        self._changed = threading.Condition()
        self._entries: deque[Entry] = deque()
        self._waiting_bytes = 0
        self._held: list[Entry] = []
        self._aside: list[Entry] = []  # in order, and all of it later than what is held
        self._waits_for: str | None = None
        self._tried = 0  # so many of them, from the oldest on, were in the last try, which may have been committed
        self._is_closing = False
        self._is_awaited = False  # somebody waits for one of the entries
        self._connection: sqlite3.Connection | None = None
        self._is_synced: bool | None = None  # whether a commit on the connection reaches the disk
        self._unsynced_boot: str | None = None
        self._committed_at_s: float | None = None
        self._commit_number = 0
        self._failing_since_s: float | None = None
        self._trying_since_s: float | None = None
        self._retry_at_s = 0.0
        self._backoff = Backoff(initial_s=0.1, cap_s=5.0)
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
        self._problem: str | None = None

    @property
    def is_durable(self) -> bool:
        """False without room for records, and after `UNAVAILABLE_AFTER_S` without a commit that is due."""
        return self._overdue_s() < UNAVAILABLE_AFTER_S and not self._room.is_tight and not self._has_ended

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs; without it nothing is committed or acknowledged."""
        return self._thread.is_alive()

    @property
    def problem(self) -> str | None:
        """Why there are no commits, with the mend; None while there are."""
        if self._has_ended:
            return f"journal: the thread {THREAD_NAME} has ended; restart the agent, and report it with its log"
        problem, overdue_s = self._problem, self._overdue_s()
        if problem is None and overdue_s >= UNAVAILABLE_AFTER_S:
            return f"journal: a commit has been running for {overdue_s:.0f} s; {hanging_mend(self._path)}"
        return self._room.problem or problem or self._waits_for

    @property
    def is_blocked(self) -> bool:
        """Whether a full class of the outbox holds units back."""
        return self._waits_for is not None

    def open(self, connection: sqlite3.Connection) -> None:
        """Take over an open write connection and start the thread."""
        self._connection = connection
        self._commit_number = int(read_meta(connection, _COMMIT_NUMBER) or 0)
        self._thread.start()

    def submit(self, unit: Unit) -> None:
        """Queue a unit; never waits. What need not be durable is acknowledged now."""
        if unit.acks and unit.terms.durability is Durability.NONE:
            self._tell(partial(self._acknowledge, unit.acks))
            unit = replace(unit, acks=())
        with self._changed:
            self._entries.append(unit)
            self._waiting_bytes += backlog.size_bytes(unit)
            if self._waiting_bytes > HELD_MAX_BYTES or len(self._entries) > MAX_ENTRIES:
                self._bound_waiting()
            self._is_awaited = self._is_awaited or is_awaited(unit)
            if len(self._entries) == 1 or self._is_ripe():
                self._changed.notify()

    def call(
        self,
        change: Callable[[Transaction], ResultT],
        durability: Durability = Durability.POWER,
        *,
        is_in_order: bool = False,
    ) -> ResultT:
        """Run `change` in the next transaction and wait for its commit.

        Args:
            change: What to do.
            durability: Less than a power cut for what would only be done once more after one.
            is_in_order: Not before every unit that was handed in earlier, whatever that waits for.

        Returns:
            What `change` returned.

        Raises:
            StoreClosedError: The store closed before the commit.
        """
        return self.post(change, durability, is_in_order=is_in_order).result()

    def post(
        self,
        change: Callable[[Transaction], ResultT],
        durability: Durability = Durability.POWER,
        *,
        is_in_order: bool = False,
    ) -> "Future[ResultT]":
        """Run `change` in the next transaction; as `call`, for a caller who has more to hand in before its commit.

        Returns:
            Done after the commit, on the writer's thread.

        Raises:
            StoreClosedError: The store is closing.
        """
        call = Call(change, durability, is_in_order=is_in_order)
        with self._changed:
            if self._is_closing:
                raise StoreClosedError(self._path)
            self._entries.append(call)
            self._is_awaited = True
            self._changed.notify()
        return call.future  # type: ignore[return-value]  # it holds what `change` returned

    def close(self) -> None:
        """Commit what waits, end the thread, close the connection; a second call does nothing."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_DEADLINE_S)
        if self._connection is not None and not self._thread.is_alive():
            self._connection.close()
            self._connection = None

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._entries or self._held or self._is_closing):
                    self._changed.wait()
                if self._failing_since_s is not None and not self._is_closing:
                    self._changed.wait(_FAILING_POLL_S)
                elif not self._held:
                    self._changed.wait_for(self._is_ripe, LINGER_S)
                    self._changed.wait_for(self._is_pressing, self._too_early_s())
                self._gather()
                is_last = self._is_closing and not self._entries
            while self._held and (is_last or self._clock.monotonic_s() >= self._retry_at_s):
                if not self._try_to_commit():  # else what came after a commit in doubt is still held
                    break
            if self._held and self._overdue_s() >= UNAVAILABLE_AFTER_S:
                self._shed()
            if is_last:
                self._give_up()
                return

    def _gather(self) -> None:
        """Take what waits, as much as one commit may have, behind what is held and what was set aside."""
        self._held += self._aside
        self._aside = []
        left = MAX_ENTRIES - sum(not is_kept(one) for one in self._held)
        while self._entries and left > 0:
            self._held.append(self._entries.popleft())
            left -= 1
        self._is_awaited = any(map(is_awaited, self._entries))
        self._waiting_bytes = sum(backlog.size_bytes(one) for one in self._entries if isinstance(one, Unit))

    def _is_ripe(self) -> bool:
        """Whether what waits need not wait for more; the next commit may have to, all the same."""
        return self._is_awaited or self._waiting_bytes > _LINGERING_MAX_BYTES or self._is_pressing()

    def _is_pressing(self) -> bool:
        """Whether the next commit may not wait for its time."""
        return self._is_closing or len(self._entries) >= MAX_ENTRIES

    def _too_early_s(self) -> float:
        """How long the next commit has to wait for its time."""
        if self._committed_at_s is None or not self._commit_interval_s:
            return 0.0
        return max(0.0, self._committed_at_s + self._commit_interval_s - self._clock.monotonic_s())

    def _try_to_commit(self) -> bool:
        began_s = self._trying_since_s = self._clock.monotonic_s()
        try:
            tx = self._commit()
        except Exception as error:  # noqa: BLE001 - top of a supervised loop: logged, shown as a problem, backed off
            self._failed(error, began_s)
            return False
        self._trying_since_s = None
        if self._failing_since_s is not None:
            logger.info("journal_recovered", extra={"path": str(self._path)})
        self._failing_since_s, self._problem = None, None
        self._backoff.reset()
        done, self._held = self._held[: self._tried], self._held[self._tried :]
        self._tried = 0
        if self._aside and any(isinstance(one, Call) for one in done):  # one of them may have made room
            self._held, self._aside = [*self._held, *self._aside], []
        self._acknowledge_all(done)
        for entry in done:
            if isinstance(entry, Call):
                entry.committed()
        if tx is not None:
            self._tell(partial(self._committed, tx, self._clock.monotonic_s() - began_s))
        return True

    def _acknowledge_all(self, entries: Sequence[Entry]) -> None:
        acks = [ack for entry in entries if isinstance(entry, Unit) for ack in entry.acks]
        if acks:
            # Where it fails, the broker sends the messages again, and they are found to be repeats.
            crash_point(CrashPoint.AFTER_COMMIT)
            self._tell(partial(self._acknowledge, acks))
            crash_point(CrashPoint.AFTER_ACK)

    def _tell(self, told: Callable[[], None]) -> None:
        try:
            told()
        except Exception:  # top of a supervised loop: whoever is told may fail, the next commit must come
            logger.exception("after_commit_failed")
            self._on_failure(THREAD_NAME)

    def _commit(self) -> Transaction | None:
        """One transaction with everything held; None when the last try, of less, turns out to have been committed."""
        if self._connection is None:
            self._connection = self._connect(self._path)  # what is found in it now is durable (`write_ahead_log.py`)
            self._room.bind(self._connection)
            if int(read_meta(self._connection, _COMMIT_NUMBER) or 0) > self._commit_number:
                self._commit_number += 1
                return None
        connection = self._connection
        self._room.loosen(connection)
        entries, kept = self._held, list[Entry]()
        if self._room.is_tight:
            kept, entries = parted(entries)
            entries = books(entries)
        self._tried = 1 if self._room.is_tight else len(entries)
        self._held = [*entries, *kept]
        tried, rest = entries[: self._tried], entries[self._tried :]
        now = Stamp.now(self._clock)
        is_synced = needs_sync(durability_of(one) for one in tried)
        # The commit that says that there are unsynced ones has to be synced itself.
        is_first = not is_synced and self._unsynced_boot != now.boot_id and any(isinstance(one, Unit) for one in tried)
        is_synced = is_synced or is_first
        if is_synced is not self._is_synced:
            connection.execute(f"PRAGMA synchronous = {'FULL' if is_synced else 'NORMAL'}")
            self._is_synced = is_synced
        connection.execute("BEGIN IMMEDIATE")
        changes = connection.total_changes
        tx = Transaction(connection, now, self._new_row)
        done, aside = self._written(tx, tried)
        tx.write_counts()
        if connection.total_changes != changes:  # an empty commit costs no sync, so it stays empty
            tx.set_meta(_COMMIT_NUMBER, str(self._commit_number + 1))
            self._committed_at_s = now.monotonic_s
        if is_first:
            tx.set_meta(UNSYNCED_BOOT, now.boot_id)
        self._held, self._tried = [*done, *rest], len(done)
        self._aside += [*aside, *kept]
        crash_point(CrashPoint.BEFORE_COMMIT)
        connection.execute("COMMIT")
        self._commit_number = int(read_meta(connection, _COMMIT_NUMBER) or 0)
        if is_first:
            self._unsynced_boot = now.boot_id
        return tx

    def _written(self, tx: Transaction, entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
        """Write what has room; what is done, and what has to wait: behind a unit that waits no other one is written."""
        done: list[Entry] = []
        aside: list[Entry] = []
        waits_for = None
        for entry in entries:
            if aside and is_in_order(entry):
                aside.append(entry)
                continue
            try:
                if isinstance(entry, Call):
                    entry.run(tx)
                else:
                    self._write(tx, entry)
                done.append(entry)
            except NoRoomYetError as error:
                aside.append(entry)
                waits_for = str(error)
        self._waits_for = waits_for
        return done, aside

    def _write(self, tx: Transaction, unit: Unit) -> None:
        if not self._may_block:
            self._apply(tx, unit)
            return
        with tx.savepoint():
            self._apply(tx, unit)

    def _failed(self, error: Exception, began_s: float) -> None:
        # After a failed sync nothing that the connection remembers can be trusted, so it is opened again.
        if self._connection is not None:
            self._connection.close()
            self._connection, self._is_synced = None, None
        if is_damage(error):
            quarantine.mark(self._path)
        help_text = error.mend if isinstance(error, StoreError) else mend(error, self._path)
        self._problem = f"journal: {error}; {help_text}"
        if self._failing_since_s is None:
            self._failing_since_s = began_s
        self._trying_since_s = None  # not before the failure is noted: the one passes into the other
        is_worth_a_try = self._room.is_missing(error) and self._room.tighten()
        self._retry_at_s = self._clock.monotonic_s() + (0.0 if is_worth_a_try else self._backoff.next_s())
        logger.error("journal_commit_failed", exc_info=error, extra={"mend": help_text, "held": len(self._held)})

    @property
    def _has_ended(self) -> bool:
        """Whether the thread ended without being asked to."""
        return self._thread.ident is not None and not self._thread.is_alive() and not self._is_closing

    def _overdue_s(self) -> float:
        """How long a commit has been failing or running."""
        since_s = self._failing_since_s
        since_s = self._trying_since_s if since_s is None else since_s
        return 0.0 if since_s is None else self._clock.monotonic_s() - since_s

    def _bound_waiting(self) -> None:
        """Fold what waits behind a commit that fails or hangs; one that runs goes on to take it as it is."""
        if self.is_durable:
            return
        kept = [one for one in self._entries if is_kept(one)]
        units = [one for one in self._entries if isinstance(one, Unit) and not is_kept(one)]
        calls = [one for one in self._entries if isinstance(one, Call)]
        whole = backlog.shed(units)
        self._entries = deque([whole, *kept, *calls])
        self._waiting_bytes = backlog.size_bytes(whole) + sum(map(backlog.size_bytes, kept))

    def _shed(self) -> None:
        """Acknowledge what cannot be made durable and need not, and keep the memory that it takes bounded."""
        self._acknowledge_all([one for one in self._held if not is_kept(one)])
        # What may be on disk already is never folded with what is not.
        tried, untried = undurable(self._held[: self._tried]), undurable(self._held[self._tried :])
        self._held, self._tried = [*tried, *untried], len(tried)

    def _give_up(self) -> None:
        left = [*self._held, *self._aside]
        for entry in left:
            if isinstance(entry, Call):
                entry.future.set_exception(StoreClosedError(self._path))
        if left:
            logger.error("journal_closed_with_uncommitted_work", extra={"held": len(left)})
        self._held, self._aside = [], []
