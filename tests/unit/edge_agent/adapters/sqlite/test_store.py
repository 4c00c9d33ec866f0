"""What the store promises the pipeline: whole units, acks after commits, everything again after a restart."""

import sqlite3
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.adapters.sqlite import schema
from edge_agent.adapters.sqlite.errors import StoreVersionError
from edge_agent.adapters.sqlite.store import FILE_NAME, StoreSettings
from edge_agent.core.accounting import Count, of_reason
from edge_agent.errors import StoreError
from edge_agent.ports import AckHandle, DeadLetter, RowId, Unit
from tests.unit.edge_agent.adapters.sqlite.builders import (
    BINDING,
    TestClock,
    decided,
    limits,
    open_store,
    record_unit,
    rows,
)


def test_a_unit_is_acknowledged_after_its_commit(tmp_path: Path) -> None:
    """When the acknowledgement is out, another process can read all of the unit."""
    opened = open_store(tmp_path)
    opened.commit(record_unit(opened.store, b"k1", decided(opened.store, "p1")))
    assert opened.acknowledged == [AckHandle("plant", 1, 1, 1)]
    assert opened.counts()[Count.PREDICTIONS_DECIDED] == 1
    assert opened.broken_equations() == []
    opened.store.close()


def test_acknowledgements_keep_the_order_of_arrival(tmp_path: Path) -> None:
    """MQTT wants PUBACKs in the order of the PUBLISHes, also over many units."""
    opened = open_store(tmp_path)
    for number in range(50):
        opened.store.submit(record_unit(opened.store, b"k%d" % number, message_id=number))
    opened.store.sweep()
    assert [handle.message_id for handle in opened.acknowledged] == list(range(50))
    opened.store.close()


def test_a_restart_remembers_what_was_committed(tmp_path: Path) -> None:
    """Journal rows, dedupe keys, window states and row ids go on where the last commit was."""
    first = open_store(tmp_path)
    first.commit(record_unit(first.store, b"k1"))
    last_row = first.store.new_row() - 1
    first.store.close()
    second = open_store(tmp_path)
    remembered = second.store.remembered(BINDING)
    assert [row.row for row in remembered.journal] == [last_row]
    assert remembered.journal[0].pending == 4
    assert remembered.seen == (b"k1",)
    assert remembered.states == {"a": '{"state": 1}'}
    assert second.store.new_row() > last_row
    second.store.close()


def test_released_rows_and_forgotten_keys_go(tmp_path: Path) -> None:
    """What no window and no memory needs any more leaves the file with the unit that says so."""
    opened = open_store(tmp_path)
    unit = record_unit(opened.store, b"k1")
    opened.commit(unit)
    opened.commit(
        Unit(
            counts={(BINDING, Count.SAMPLES_USED): 4},
            released=(unit.journal[0].row,),
            forgotten=((BINDING, b"k1"),),
            states={(BINDING, "a"): None},
        )
    )
    remembered = opened.store.remembered(BINDING)
    assert (remembered.journal, remembered.seen, remembered.states) == ((), (), {})
    assert opened.broken_equations() == []
    opened.store.close()


def test_a_transaction_that_was_not_committed_leaves_nothing(tmp_path: Path) -> None:
    """A process that dies inside a transaction has changed nothing: the record will come again, whole."""
    opened = open_store(tmp_path)
    opened.commit(record_unit(opened.store, b"k1"))
    opened.store.close()
    dying = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    dying.execute("BEGIN IMMEDIATE")
    dying.execute("DELETE FROM journal")
    dying.execute("UPDATE counter SET value = value + 1")
    dying.close()
    again = open_store(tmp_path)
    assert len(again.store.remembered(BINDING).journal) == 1
    assert again.counts()[Count.RECORDS_RECEIVED] == 1
    again.store.close()


def test_publishable_rows_are_trimmed_when_acknowledged(tmp_path: Path) -> None:
    """A message stays until its broker has it, and is counted as published once."""
    opened = open_store(tmp_path)
    opened.commit(record_unit(opened.store, b"k1", decided(opened.store, "p1", escalate=False)))
    waiting = opened.store.publishable("plant", 10, ())
    assert len(waiting) == 1
    assert opened.store.publishable("plant", 10, {waiting[0].row}) == []
    assert opened.store.publishable("other", 10, ()) == []
    opened.store.published(rows(waiting))
    opened.store.published(rows(waiting))
    assert opened.store.publishable("plant", 10, ()) == []
    assert opened.counts()[Count.PREDICTIONS_PUBLISHED] == 1
    assert opened.broken_equations() == []
    opened.store.close()


def test_a_message_that_its_broker_has_already_is_never_written(tmp_path: Path) -> None:
    """Its decision and its publication are counted by the same commit, and nothing is left to trim."""
    opened = open_store(tmp_path)
    unit = record_unit(opened.store, b"k1", decided(opened.store, "p1", escalate=False))
    early = [one.publish.row for one in unit.decided]
    opened.store.delivered([RowId(0), *early])
    opened.store.published(early)
    opened.commit(unit)
    assert opened.store.publishable("plant", 10, ()) == []
    assert opened.counts()[Count.PREDICTIONS_PUBLISHED] == 1
    assert opened.broken_equations() == []
    again = record_unit(opened.store, b"k2", decided(opened.store, "p2", escalate=False))
    opened.commit(again)
    assert len(opened.store.publishable("plant", 10, ())) == 1, "what was settled is forgotten"
    opened.store.close()


def test_a_message_older_than_its_expiry_is_dropped_and_counted(tmp_path: Path) -> None:
    """`expiry_s` of a result bounds how long it waits for its broker."""
    opened = open_store(tmp_path)
    opened.commit(record_unit(opened.store, b"k1", decided(opened.store, "p1", escalate=False, expiry_s=60)))
    opened.clock.pass_s(61)
    opened.store.sweep()
    assert opened.store.publishable("plant", 10, ()) == []
    assert opened.counts()[Count.PREDICTIONS_EXPIRED] == 1
    assert opened.broken_equations() == []
    opened.store.close()


def test_an_unknown_age_expires_nothing(tmp_path: Path) -> None:
    """After a reboot with an unsynchronised clock nobody knows how old a message is, so it stays."""
    opened = open_store(tmp_path)
    opened.commit(record_unit(opened.store, b"k1", decided(opened.store, "p1", escalate=False, expiry_s=60)))
    opened.store.close()
    later = TestClock(wall=opened.clock.wall + 10**15, monotonic=5.0, boot="boot-2", synced=False)
    again = open_store(tmp_path, later)
    again.store.sweep()
    assert len(again.store.publishable("plant", 10, ())) == 1
    assert again.store.outbox()[0].oldest_age_s is None
    again.store.close()


def test_dead_letters_have_a_share_of_their_own(tmp_path: Path) -> None:
    """The oldest give way, a large one keeps its head, length and digest."""
    settings = StoreSettings(limits(), escalation_max_age_s=3600.0, dead_letter_max_bytes=100_000)
    opened = open_store(tmp_path, settings=settings)
    for number in range(3):
        letter = DeadLetter(BINDING, "press/raw", "malformed", f"number {number}", 5, b"x" * 70_000)
        opened.commit(Unit(dead_letters=(letter,)))
    opened.store.close()
    kept = sqlite3.connect(tmp_path / FILE_NAME).execute(
        "SELECT detail, length(head), length, truncated FROM dead_letter"
    )
    assert kept.fetchall() == [("number 2", 65536, 70_000, 1)]


def test_two_agents_cannot_share_a_state_folder(tmp_path: Path) -> None:
    """The second one is told whose fault it is, at start."""
    opened = open_store(tmp_path)
    with pytest.raises(StoreError, match="another agent") as caught:
        open_store(tmp_path)
    assert "state_dir" in caught.value.mend
    opened.store.close()


def test_a_file_of_a_newer_major_is_refused(tmp_path: Path) -> None:
    """Nothing is written into a format that this program does not know."""
    open_store(tmp_path).store.close()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute(f"PRAGMA user_version = {schema.VERSION + schema.MAJOR_STEP}")
    connection.close()
    with pytest.raises(StoreVersionError, match="database format 2"):
        open_store(tmp_path)
    with pytest.raises(StoreVersionError):
        schema.open_reader(tmp_path / FILE_NAME)


def test_a_newer_minor_is_used(tmp_path: Path) -> None:
    """A newer minor only adds, so the older program goes on."""
    open_store(tmp_path).store.close()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()
    open_store(tmp_path).store.close()


def test_a_failed_migration_changes_nothing(tmp_path: Path) -> None:
    """Each step is a transaction: a power cut or a mistake inside it leaves the version before it."""
    path = tmp_path / FILE_NAME
    open_store(tmp_path).store.close()
    broken = (*schema.MIGRATIONS, (schema.VERSION + 1, ("ALTER TABLE meta ADD COLUMN more TEXT", "no SQL at all")))
    with pytest.raises(StoreError):
        schema.open_writer(path, broken)
    mended = (*schema.MIGRATIONS, (schema.VERSION + 1, ("ALTER TABLE meta ADD COLUMN more TEXT",)))
    connection = schema.open_writer(path, mended)
    assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION + 1,)
    connection.close()


def test_stubs_of_a_full_disk_are_settled_at_start(tmp_path: Path) -> None:
    """A journal row that was kept without its samples cannot rebuild a window: its samples count as unused."""
    opened = open_store(tmp_path)
    unit = record_unit(opened.store, b"k1")
    opened.commit(unit)
    opened.store.close()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute("UPDATE journal SET times_ns = x'', vectors = x''")
    connection.commit()
    connection.close()
    again = open_store(tmp_path)
    assert again.store.remembered(BINDING).journal == ()
    assert again.counts()[of_reason(Count.SAMPLES_UNUSED, "journal_unavailable")] == 4
    assert again.broken_equations() == []
    assert again.store.new_row() > RowId(unit.journal[0].row)
    again.store.close()


def steps_with_backlog(folder: Path, backlog: int) -> tuple[int, int]:
    """Thousands of SQLite's steps for one answer while the outbox is full, and for two sweeps."""
    opened = open_store(folder, settings=StoreSettings(limits(1 << 32), 3600.0, 1 << 18))
    store = opened.store
    for first in range(0, backlog, 500):
        store.submit(Unit(decided=tuple(decided(store, f"p{n}", expiry_s=86_400) for n in range(first, first + 500))))
    store.remembered(BINDING)
    store._fates._limits = replace(store._fates._limits, max_bytes=sum(one.bytes for one in store.outbox()))
    ticks: list[None] = []
    connection = store._writer._connection
    assert connection is not None
    connection.set_progress_handler(lambda: ticks.append(None), 1000)
    store.submit(Unit(decided=(decided(store, "one more", expiry_s=86_400),)))
    store.remembered(BINDING)
    answer = len(ticks)
    store.sweep()
    store.sweep()
    connection.set_progress_handler(None, 1000)
    assert opened.broken_equations() == []
    store.close()
    return answer, len(ticks) - answer


def test_a_long_backlog_makes_nothing_slower(tmp_path: Path) -> None:
    """Five times the backlog is not five times the work, for an answer or a sweep."""
    short = steps_with_backlog(tmp_path / "short", 1000)
    long = steps_with_backlog(tmp_path / "long", 5000)
    assert long[0] <= 2 * short[0] + 5
    assert long[1] <= 2 * short[1] + 5


def test_what_is_shown_and_what_is_sent_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Counting a long backlog for the status holds up no message, and the other way round."""
    opened = open_store(tmp_path)
    opened.commit(record_unit(opened.store, b"k1", decided(opened.store, "p1")))
    with ThreadPoolExecutor(1) as other, opened.store._onlooker.transaction():
        assert len(other.submit(opened.store.publishable, "plant", 10, ()).result(10.0)) == 1
    with ThreadPoolExecutor(1) as other, opened.store._reader.transaction():
        assert other.submit(opened.store.figures).result(10.0)
        assert other.submit(opened.store.outbox).result(10.0)
    opened.store.close()


def test_a_restart_with_a_long_backlog_reads_none_of_it(tmp_path: Path) -> None:
    """What waits stays on disk: opening, counting and the first items take memory for themselves only."""
    settings = StoreSettings(limits(1 << 30), 1e6, 1 << 18)
    first = open_store(tmp_path, settings=settings)
    backlog = 10_000
    for number in range(0, backlog, 500):
        answers = tuple(decided(first.store, f"p{n}") for n in range(number, number + 500))
        first.store.submit(Unit(decided=answers))
        first.store.sweep()
    used = sum(use.bytes for use in first.store.outbox())
    first.store.close()
    tracemalloc.start()
    again = open_store(tmp_path, settings=settings)
    assert again.store.remembered(BINDING).journal == ()
    assert again.counts()["escalations_pending{queued}"] == backlog
    assert len(again.store.book.next_items(10, frozenset())) == 10
    assert len(again.store.publishable("plant", 10, ())) == 10
    again.store.sweep()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < used // 8
    again.store.close()


def test_a_row_id_is_never_given_out_again_whether_it_was_written_or_not(tmp_path: Path) -> None:
    """What brokers had early has no row, and windows remember such ids: the next start may not begin before them."""
    given = 0
    for start in range(3):
        opened = open_store(tmp_path)
        answer = decided(opened.store, f"p{start}", escalate=False)
        assert answer.publish.row > given
        opened.store.delivered([answer.publish.row])
        opened.commit(Unit(decided=(answer,)))
        given = answer.publish.row
        opened.store.close()
