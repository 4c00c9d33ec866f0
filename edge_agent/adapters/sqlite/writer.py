"""Owns the one write connection and its thread: group commits, acknowledgements after them, and life without a disk.

What a unit or a call writes is decided by who made them. The thread takes whatever waits and commits it as one
transaction. While commits fail it keeps trying; after `UNAVAILABLE_AFTER_S` it acknowledges what it holds anyway and
counts it as shed, so that inference goes on, and bounds what it holds in memory.

A disk without room is told apart from a broken one (`room.py`): then the books are committed without the payloads, so
a record is acknowledged after the commit that counts it as shed.

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
from functools import partial
from pathlib import Path
from typing import TypeVar

from edge_agent.adapters.sqlite import backlog
from edge_agent.adapters.sqlite.age import Stamp
from edge_agent.adapters.sqlite.errors import StoreClosedError, hanging_mend, mend
from edge_agent.adapters.sqlite.room import Room
from edge_agent.adapters.sqlite.schema import open_writer
from edge_agent.adapters.sqlite.transaction import NewRow, Transaction, read_meta
from edge_agent.errors import StoreError
from edge_agent.ports import AckHandle, Clock, Unit
from model_packs.process.crash_points import CrashPoint, crash_point
from protos.link.backoff import Backoff

UNAVAILABLE_AFTER_S = 1.0
HELD_MAX_BYTES = 16 << 20
THREAD_NAME = "store-writer"

_COMMIT_NUMBER = "commit_number"
_MAX_ENTRIES = 512
_FAILING_POLL_S = 0.05
_CLOSE_DEADLINE_S = 10.0

ResultT = TypeVar("ResultT")
logger = logging.getLogger(__name__)


class _Call:
    """Something to do in the next transaction, whose caller waits for the commit."""

    def __init__(self, change: Callable[[Transaction], object]) -> None:
        self.future: Future[object] = Future()
        self._change = change
        self._outcome: tuple[object, Exception | None] = (None, None)

    def run(self, tx: Transaction) -> None:
        """Apply the change behind a savepoint: a refused change leaves the rest of the transaction whole."""
        counts = tx.counts()
        tx.connection.execute("SAVEPOINT call")
        try:
            self._outcome = (self._change(tx), None)
        except sqlite3.OperationalError:
            raise  # the disk, not the change: the whole transaction is tried again
        except Exception as error:  # noqa: BLE001 - handed to the caller, who waits for it
            tx.connection.execute("ROLLBACK TO call")
            tx.restore_counts(counts)
            self._outcome = (None, error)
        tx.connection.execute("RELEASE call")

    def committed(self) -> None:
        """Give the caller what it waits for."""
        result, error = self._outcome
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class Writer:
    """The writer thread.

    Args:
        path: edge.db; opened (and migrated) by `open`.
        clock: For stamps and for the time without a commit.
        room: What the file may take.
        new_row: Row ids for transactions.
        apply: Writes one unit.
        acknowledge: Sends acknowledgements; called from the writer thread, in order, after their commit.
        committed: Told of every commit: the transaction and how long it took, in seconds.
        on_failure: Told, with the thread's name, when `acknowledge` or `committed` raised; the thread goes on.
        connect: Opens the file again after a failure.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        room: Room,
        *,
        new_row: NewRow,
        apply: Callable[[Transaction, Unit], None],
        acknowledge: Callable[[Sequence[AckHandle]], None],
        committed: Callable[[Transaction, float], None],
        on_failure: Callable[[str], None],
        connect: Callable[[Path], sqlite3.Connection] = open_writer,
    ) -> None:
        self._path = path
        self._clock = clock
        self._room = room
        self._new_row = new_row
        self._apply = apply
        self._acknowledge = acknowledge
        self._committed = committed
        self._on_failure = on_failure
        self._connect = connect
        self._changed = threading.Condition()
        self._entries: deque[Unit | _Call] = deque()
        self._waiting_bytes = 0
        self._held: list[Unit | _Call] = []
        self._tried = 0  # so many of them, from the oldest on, were in the last try, which may have been committed
        self._is_closing = False
        self._connection: sqlite3.Connection | None = None
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
        return self._room.problem or problem

    def open(self, connection: sqlite3.Connection) -> None:
        """Take over an open write connection and start the thread."""
        self._connection = connection
        self._commit_number = int(read_meta(connection, _COMMIT_NUMBER) or 0)
        self._thread.start()

    def submit(self, unit: Unit) -> None:
        """Queue a unit; never waits."""
        with self._changed:
            self._entries.append(unit)
            self._waiting_bytes += backlog.size_bytes(unit)
            if self._waiting_bytes > HELD_MAX_BYTES or len(self._entries) > _MAX_ENTRIES:
                self._bound_waiting()
            self._changed.notify()

    def call(self, change: Callable[[Transaction], ResultT]) -> ResultT:
        """Run `change` in the next transaction and wait for its commit.

        Raises:
            StoreClosedError: The store closed before the commit.
        """
        call = _Call(change)
        with self._changed:
            if self._is_closing:
                raise StoreClosedError(self._path)
            self._entries.append(call)
            self._changed.notify()
        return call.future.result()  # type: ignore[return-value]  # the future holds what `change` returned

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
                while self._entries and len(self._held) < _MAX_ENTRIES:
                    self._held.append(self._entries.popleft())
                self._waiting_bytes = sum(backlog.size_bytes(one) for one in self._entries if isinstance(one, Unit))
                is_last = self._is_closing and not self._entries
            while self._held and (is_last or self._clock.monotonic_s() >= self._retry_at_s):
                if not self._try_to_commit():  # else what came after a commit in doubt is still held
                    break
            if self._held and self._overdue_s() >= UNAVAILABLE_AFTER_S:
                self._shed()
            if is_last:
                self._give_up()
                return

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
        self._acknowledge_all(done)
        for entry in done:
            if isinstance(entry, _Call):
                entry.committed()
        if tx is not None:
            self._tell(partial(self._committed, tx, self._clock.monotonic_s() - began_s))
        return True

    def _acknowledge_all(self, entries: Sequence[Unit | _Call]) -> None:
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
            self._connection = self._connect(self._path)
            self._room.bind(self._connection)
            if int(read_meta(self._connection, _COMMIT_NUMBER) or 0) > self._commit_number:
                self._commit_number += 1
                return None
        connection = self._connection
        self._room.loosen(connection)
        if self._room.is_tight:
            self._held = _books(self._held)
        self._tried = 1 if self._room.is_tight else len(self._held)
        connection.execute("BEGIN IMMEDIATE")
        changes = connection.total_changes
        tx = Transaction(connection, Stamp.now(self._clock), self._new_row)
        for entry in self._held[: self._tried]:
            if isinstance(entry, Unit):
                self._apply(tx, entry)
            else:
                entry.run(tx)
        tx.write_counts()
        if connection.total_changes != changes:  # an empty commit costs no sync, so it stays empty
            tx.set_meta(_COMMIT_NUMBER, str(self._commit_number + 1))
        crash_point(CrashPoint.BEFORE_COMMIT)
        connection.execute("COMMIT")
        self._commit_number = int(read_meta(connection, _COMMIT_NUMBER) or 0)
        return tx

    def _failed(self, error: Exception, began_s: float) -> None:
        # After a failed sync nothing that the connection remembers can be trusted, so it is opened again.
        if self._connection is not None:
            self._connection.close()
            self._connection = None
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
        units = [entry for entry in self._entries if isinstance(entry, Unit)]
        calls = [entry for entry in self._entries if isinstance(entry, _Call)]
        whole = backlog.shed(units)
        self._entries, self._waiting_bytes = deque([whole, *calls]), backlog.size_bytes(whole)

    def _shed(self) -> None:
        """Acknowledge what cannot be made durable, and keep the memory that it takes bounded."""
        self._acknowledge_all(self._held)
        # What may be on disk already is never folded with what is not.
        tried, untried = _undurable(self._held[: self._tried]), _undurable(self._held[self._tried :])
        self._held, self._tried = [*tried, *untried], len(tried)

    def _give_up(self) -> None:
        for entry in self._held:
            if isinstance(entry, _Call):
                entry.future.set_exception(StoreClosedError(self._path))
        if self._held:
            logger.error("journal_closed_with_uncommitted_work", extra={"held": len(self._held)})
        self._held = []


def _books(entries: Sequence[Unit | _Call]) -> list[Unit | _Call]:
    """The same entries without payloads, units first, then the calls, another one at their head each time.

    They are committed one by one: a call that finds no room then keeps nothing else from its commit.
    """
    units = [entry for entry in entries if isinstance(entry, Unit)]
    calls = [entry for entry in entries if isinstance(entry, _Call)]
    return [*([backlog.shed(units)] if units else []), *calls[1:], *calls[:1]]


def _undurable(entries: Sequence[Unit | _Call]) -> list[Unit | _Call]:
    """The same entries once their messages are acknowledged; units that take too much memory are folded into one."""
    units = [backlog.undurable(entry) if entry.acks else entry for entry in entries if isinstance(entry, Unit)]
    if len(units) > _MAX_ENTRIES // 2 or sum(map(backlog.size_bytes, units)) > HELD_MAX_BYTES:
        units = [backlog.as_one(units)]
    return [*units, *(entry for entry in entries if isinstance(entry, _Call))]
