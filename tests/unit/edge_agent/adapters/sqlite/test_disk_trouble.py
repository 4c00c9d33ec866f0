"""What happens while commits fail: nothing stops, nothing is lost from the books, and it is said what to mend."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from edge_agent.adapters.sqlite import backlog
from edge_agent.adapters.sqlite.errors import mend
from edge_agent.adapters.sqlite.store import FILE_NAME, Store, StoreSettings
from edge_agent.core.accounting import Count, of_reason
from edge_agent.ports import AckHandle, CounterKey, JournalRow, PolicyUse, Returned, RowId, Unit
from protos.link.backoff import Backoff
from protos.messages.inference import ModelUse
from tests.simulators.waiting import wait_until
from tests.unit.edge_agent.adapters.sqlite.builders import (
    BINDING,
    Opened,
    TestClock,
    decided,
    limits,
    open_store,
    record_unit,
)

DEADLINE_S = 10.0
SHED = of_reason(Count.RECORDS_SHED, backlog.JOURNAL_UNAVAILABLE)


class InDoubt:
    """A connection whose COMMIT reaches the disk and is then reported as failed, as after a failed sync."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: tuple[str, ...] = ()) -> sqlite3.Cursor:
        """As the real one, but for COMMIT."""
        cursor = self._connection.execute(sql, parameters)
        if sql == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        return cursor

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)


def in_doubt(opened: Opened) -> None:
    """Let the next commit end in doubt, and the try after it wait until `wait_recovered`."""
    opened.store.sweep()
    writer = opened.store._writer
    assert writer._connection is not None
    writer._connection = cast("sqlite3.Connection", InDoubt(writer._connection))
    writer._backoff = Backoff(initial_s=60.0, cap_s=60.0)
    opened.store.submit(record_unit(opened.store, b"k1", decided(opened.store, "p1"), message_id=1))
    wait_until(lambda: opened.store.problem, DEADLINE_S, "a commit in doubt")


@contextmanager
def refusing_writes(folder: Path) -> Iterator[None]:
    """Every insert into the journal fails, as on a broken disk."""
    other = sqlite3.connect(folder / FILE_NAME, isolation_level=None)
    other.execute("CREATE TRIGGER broken BEFORE INSERT ON journal BEGIN SELECT RAISE(ABORT, 'the disk is broken'); END")
    try:
        yield
    finally:
        other.execute("DROP TRIGGER broken")
        other.close()


def wait_recovered(opened: Opened) -> None:
    """Let time pass until a commit succeeds."""

    def recovered() -> bool:
        opened.clock.pass_s(1.0)
        return opened.store.problem is None

    wait_until(recovered, DEADLINE_S, "a commit")


def test_a_short_failure_delays_the_acknowledgement_and_nothing_else(tmp_path: Path) -> None:
    """Within a second nothing is given up: the commit is tried again, then the record is acknowledged as journaled."""
    opened = open_store(tmp_path)
    with refusing_writes(tmp_path):
        opened.store.submit(record_unit(opened.store, b"k1", decided(opened.store, "p1")))
        wait_until(lambda: opened.store.problem, DEADLINE_S, "a failed commit")
        assert opened.store.is_durable
        assert opened.acknowledged == []
    wait_recovered(opened)
    assert opened.counts()[Count.RECORDS_JOURNALED] == 1
    assert len(opened.acknowledged) == 1
    assert opened.broken_equations() == []
    opened.store.close()


def test_after_a_second_records_are_acknowledged_and_counted_as_shed(tmp_path: Path) -> None:
    """The flow goes on without the disk; what was held in memory is written when it is back."""
    opened = open_store(tmp_path)
    with refusing_writes(tmp_path):
        opened.store.submit(record_unit(opened.store, b"k1", decided(opened.store, "p1"), message_id=1))
        wait_until(lambda: opened.store.problem, DEADLINE_S, "a failed commit")
        opened.clock.pass_s(1.5)
        wait_until(lambda: opened.acknowledged, DEADLINE_S, "an acknowledgement without a commit")
        assert [opened.store.is_durable] == [False]
        assert "the disk is broken" in (opened.store.problem or "")
        opened.store.submit(record_unit(opened.store, b"k2", decided(opened.store, "p2"), message_id=2))
        wait_until(lambda: len(opened.acknowledged) == 2, DEADLINE_S, "the next record, too")
    wait_recovered(opened)
    assert [handle.message_id for handle in opened.acknowledged] == [1, 2]
    counts = opened.counts()
    assert (counts.get(Count.RECORDS_JOURNALED, 0), counts[SHED]) == (0, 2)
    assert counts[Count.PREDICTIONS_DECIDED] == 2
    assert len(opened.store.publishable("plant", 10, ())) == 2
    assert opened.store.is_durable
    assert opened.broken_equations() == []
    opened.store.close()


def test_what_came_after_a_commit_in_doubt_is_written_too(tmp_path: Path) -> None:
    """The try that was reported as failed is found on disk: only what was in it is done, the rest is still to do."""
    opened = open_store(tmp_path)
    in_doubt(opened)
    opened.store.submit(record_unit(opened.store, b"k2", decided(opened.store, "p2"), message_id=2))
    wait_recovered(opened)
    opened.store.sweep()
    counts = opened.counts()
    assert (counts[Count.RECORDS_RECEIVED], counts[Count.PREDICTIONS_DECIDED]) == (2, 2)
    assert set(opened.store.remembered(BINDING).seen) == {b"k1", b"k2"}
    assert [handle.message_id for handle in opened.acknowledged] == [1, 2]
    assert opened.broken_equations() == []
    opened.store.close()


def test_closing_after_a_commit_in_doubt_writes_what_came_after_it(tmp_path: Path) -> None:
    """The last try of all is made with everything that is left."""
    opened = open_store(tmp_path)
    in_doubt(opened)
    opened.store.submit(record_unit(opened.store, b"k2", decided(opened.store, "p2"), message_id=2))
    opened.store.close()
    again = open_store(tmp_path)
    assert set(again.store.remembered(BINDING).seen) == {b"k1", b"k2"}
    again.store.close()


def test_a_commit_that_hangs_is_said_and_what_waits_behind_it_is_bounded(tmp_path: Path) -> None:
    """Another program holds the lock: events are no longer called durable, memory stays, and the end settles all."""
    opened = open_store(tmp_path)
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    opened.store.submit(record_unit(opened.store, b"k0", decided(opened.store, "p0"), message_id=0))

    def is_noticed() -> bool:
        opened.clock.pass_s(0.5)
        return not opened.store.is_durable

    wait_until(is_noticed, DEADLINE_S, "a commit that takes too long")
    assert "a commit has been running for" in (opened.store.problem or "")
    assert opened.acknowledged == []
    total = 1500
    for number in range(1, total):
        answer = decided(opened.store, f"p{number}")
        opened.store.submit(record_unit(opened.store, b"k%d" % number, answer, message_id=number))
    assert len(opened.store._writer._entries) <= 513
    other.execute("ROLLBACK")
    other.close()
    wait_until(lambda: len(opened.acknowledged) == total, DEADLINE_S, "all acknowledged")
    wait_recovered(opened)
    assert [handle.message_id for handle in opened.acknowledged] == list(range(total))
    counts = opened.counts()
    assert counts[Count.RECORDS_RECEIVED] == total
    assert counts[SHED] > 0
    assert counts[Count.PREDICTIONS_DECIDED] == total
    assert opened.store.is_durable
    assert opened.broken_equations() == []
    opened.store.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_writer_that_ended_is_a_problem(tmp_path: Path) -> None:
    """Nothing would be committed or acknowledged any more, so it is said."""
    opened = open_store(tmp_path)
    assert opened.store.is_alive

    def end(handles: Sequence[AckHandle]) -> None:
        raise SystemExit(len(handles))

    opened.store._writer._acknowledge = end
    opened.store.submit(record_unit(opened.store, b"k1"))
    wait_until(lambda: not opened.store.is_alive, DEADLINE_S, "the end of the thread")
    assert "the thread store-writer has ended" in (opened.store.problem or "")
    assert not opened.store.is_durable
    opened.store.close()


def test_the_writer_outlives_those_whom_it_tells(tmp_path: Path) -> None:
    """A connection or an observer that fails costs no later commit and no later acknowledgement; it is counted."""
    acknowledged: list[int] = []
    failures: list[str] = []

    def acknowledge(handles: Sequence[AckHandle]) -> None:
        acknowledged.extend(handle.message_id for handle in handles)
        if acknowledged == [1]:
            raise OSError("the connection is gone")

    def on_commit(took_s: float, counts: Mapping[CounterKey, int]) -> None:
        raise ValueError(f"an observer broke after {took_s} s on {counts}")

    store = Store(
        tmp_path,
        TestClock(),
        StoreSettings(limits(), 3600.0, 1 << 18),
        agent_version="1",
        acknowledge=acknowledge,
        on_publishable=lambda: None,
        on_commit=on_commit,
        on_failure=failures.append,
    )
    store.open()
    for number in (1, 2):
        store.submit(record_unit(store, b"k%d" % number, message_id=number))
        wait_until(partial(acknowledged.count, number), DEADLINE_S, "an acknowledgement")
    store.close()
    assert failures == ["store-writer"] * 3


def test_a_long_failure_keeps_memory_bounded_and_the_books_whole(tmp_path: Path) -> None:
    """Beyond the bound the answers' rows are given up, each counted as evicted; windows and samples stay accounted."""
    opened = open_store(tmp_path)
    total = 700
    with refusing_writes(tmp_path):
        for number in range(total):
            opened.store.submit(
                record_unit(opened.store, b"k%d" % number, decided(opened.store, f"p{number}"), message_id=number)
            )
            if number == 0:
                wait_until(lambda: opened.store.problem, DEADLINE_S, "a failed commit")
                opened.clock.pass_s(1.5)
        wait_until(lambda: len(opened.acknowledged) == total, DEADLINE_S, "all acknowledged")
    wait_recovered(opened)
    counts = opened.counts()
    assert counts[SHED] == total
    assert counts[Count.PREDICTIONS_DECIDED] == total
    assert counts[of_reason(Count.PREDICTIONS_EVICTED, backlog.JOURNAL_UNAVAILABLE)] > 0
    assert counts[of_reason(Count.ESCALATIONS_EVICTED, backlog.JOURNAL_UNAVAILABLE)] > 0
    assert opened.broken_equations() == []
    opened.store.close()
    again = open_store(tmp_path)
    assert again.broken_equations() == []
    again.store.close()


def test_a_change_that_is_refused_leaves_the_rest_of_its_transaction(tmp_path: Path) -> None:
    """One caller's mistake costs the records beside it nothing."""
    opened = open_store(tmp_path)
    opened.store.submit(record_unit(opened.store, b"k1"))

    def mistake(tx: object) -> None:
        del tx
        raise ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        opened.store._writer.call(mistake)
    assert opened.counts()[Count.RECORDS_JOURNALED] == 1
    opened.store.close()


def test_folding_keeps_only_rows_that_are_still_open() -> None:
    """However many units are folded, what they hold is bounded by the open windows."""
    whole = Unit()
    for number in range(1, 50):
        times, values = b"\0" * 80, b"\0" * 160
        row = JournalRow(RowId(number), BINDING, "a", 5, times, values, pending=4)
        unit = Unit(
            counts={(BINDING, Count.SAMPLES_USED): 1},
            journal=(row,),
            pending={RowId(number - 1): 2},
            released=(RowId(number - 2),),
        )
        whole = backlog.folded(whole, unit)
    assert whole.counts == {(BINDING, Count.SAMPLES_USED): 49}
    assert [(row.row, row.pending) for row in whole.journal] == [(48, 2), (49, 4)]
    assert backlog.size_bytes(whole) == 0


def test_folding_keeps_what_callers_were_answered_in_their_policy_s_totals() -> None:
    """Their callers hold these answers: the counters go on, so the totals, which change with them, do, too."""
    use = PolicyUse(0, ModelUse("tiny-edge@1.0.0", "sha256:1"), 0.5, 0.1, is_kept=True, is_short=False)
    units = [
        Unit(counts={(BINDING, Count.PREDICTIONS_RETURNED): amount}, returned=(Returned(BINDING, use, amount),))
        for amount in (1, 2, 3)
    ]
    whole = backlog.shed(units)
    assert whole.counts[BINDING, Count.PREDICTIONS_RETURNED] == 6
    assert whole.returned == (Returned(BINDING, use, 6),)


def test_each_kind_of_disk_trouble_has_its_own_mend(tmp_path: Path) -> None:
    """Full, read-only and broken disks are different work for different people."""
    path = tmp_path / FILE_NAME
    texts = set()
    for code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR | 10 << 8, sqlite3.SQLITE_BUSY):
        error = sqlite3.OperationalError("trouble")
        error.sqlite_errorcode = code
        texts.add(mend(error, path))
    assert len(texts) == 4
    assert any("free space" in text for text in texts)
