"""What the journal promises a binding: how safe an acknowledged record is, and what a failing disk may do."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.adapters.sqlite import writer
from edge_agent.adapters.sqlite.store import StoreSettings
from edge_agent.core.accounting import Count, of_reason
from edge_agent.core.durability import Durability, JournalTerms, OnJournalFailure
from edge_agent.ports import BindingName, Unit
from protos.messages.escalation import ItemClass
from tests.simulators.waiting import wait_until
from tests.unit.edge_agent.adapters.sqlite.builders import (
    BINDING,
    Opened,
    TestClock,
    decided,
    limits,
    open_store,
    record_unit,
    rows,
)
from tests.unit.edge_agent.adapters.sqlite.test_disk_trouble import SHED, refusing_writes, wait_recovered

DEADLINE_S = 30.0
NORMAL, FULL = 1, 2
PROCESS = JournalTerms(Durability.PROCESS)
NONE = JournalTerms(Durability.NONE)
HOLD = JournalTerms(on_failure=OnJournalFailure.HOLD)


def synchronous(opened: Opened) -> int:
    """How the last commit was made."""
    connection = opened.store._writer._connection
    assert connection is not None
    return int(connection.execute("PRAGMA synchronous").fetchone()[0])


def commit(opened: Opened, *units: Unit) -> None:
    """Commit some units as one group."""
    thread = opened.store._writer
    total = len(opened.acknowledged) + sum(len(unit.acks) for unit in units)
    with thread._changed:
        for unit in units:
            thread.submit(unit)
    wait_until(lambda: len(opened.acknowledged) == total, DEADLINE_S, "acknowledgements")


def unit(opened: Opened, number: int, terms: JournalTerms, *, escalate: bool = True) -> Unit:
    """A record with its answer."""
    answer = decided(opened.store, f"p{number}", escalate=escalate)
    made = record_unit(opened.store, b"k%d" % number, answer, message_id=number)
    return replace(made, terms=terms)


def test_a_commit_reaches_the_disk_if_one_of_its_units_asks_for_it(tmp_path: Path) -> None:
    """Units that only have to outlive the process spare a sync, but not beside one that has to outlive a power cut."""
    opened = open_store(tmp_path)
    commit(opened, unit(opened, 0, PROCESS))  # says for later starts that there are such units
    assert synchronous(opened) == FULL
    commit(opened, unit(opened, 1, PROCESS))
    assert synchronous(opened) == NORMAL
    commit(opened, unit(opened, 2, PROCESS), unit(opened, 3, JournalTerms()))
    assert synchronous(opened) == FULL
    opened.store.published(rows(opened.store.publishable("plant", 10, ())))
    assert synchronous(opened) == NORMAL
    opened.store.close()


def test_a_binding_without_durability_is_acknowledged_before_anything_is_written(tmp_path: Path) -> None:
    """Nothing is promised, so nothing is waited for; what can be written is."""
    opened = open_store(tmp_path)
    with refusing_writes(tmp_path):
        opened.store.submit(unit(opened, 1, NONE))
        assert [handle.message_id for handle in opened.acknowledged] == [1]
        wait_until(lambda: opened.store.problem, DEADLINE_S, "a failed commit")
    wait_recovered(opened)
    opened.store.sweep()
    assert opened.counts()[Count.RECORDS_JOURNALED] == 1
    assert len(opened.acknowledged) == 1
    assert opened.broken_equations() == []
    opened.store.close()


def test_held_records_wait_for_the_disk_and_the_others_do_not(tmp_path: Path) -> None:
    """While nothing can be written, one binding's records are answered and shed, the other's are kept, whole."""
    opened = open_store(tmp_path)
    with refusing_writes(tmp_path):
        for number in range(700):  # more than a commit may have
            opened.store.submit(unit(opened, number, HOLD))
        opened.store.submit(unit(opened, 700, JournalTerms()))
        wait_until(lambda: opened.store.problem, DEADLINE_S, "a failed commit")
        opened.clock.pass_s(1.5)
        wait_until(lambda: opened.acknowledged, DEADLINE_S, "an acknowledgement without a commit")
        assert [handle.message_id for handle in opened.acknowledged] == [700]
        assert [opened.store.is_durable] == [False]
    wait_recovered(opened)
    opened.store.sweep()
    wait_until(lambda: len(opened.acknowledged) == 701, DEADLINE_S, "the held ones")
    counts = opened.counts()
    assert (counts[Count.RECORDS_JOURNALED], counts[SHED]) == (700, 1)
    assert of_reason(Count.PREDICTIONS_EVICTED, "journal_unavailable") not in counts
    assert len(opened.store.remembered(BINDING).journal) == 701
    assert opened.broken_equations() == []
    opened.store.close()


def test_held_records_wait_for_room_while_the_books_of_the_others_are_kept(tmp_path: Path) -> None:
    """A file at its bound sheds what may be shed; what may not is neither acknowledged nor lost."""
    settings = StoreSettings(limits(64 << 20), 3600.0, 1 << 18, max_file_bytes=2 << 20, reserve_bytes=1 << 20)
    opened = open_store(tmp_path, settings=settings)
    number = 0
    while opened.store.problem is None:
        opened.commit(unit(opened, number, JournalTerms(), escalate=False))
        number += 1
    opened.store.submit(unit(opened, number, HOLD))
    opened.commit(unit(opened, number + 1, JournalTerms()))
    assert opened.acknowledged[-1].message_id == number + 1
    assert number not in [handle.message_id for handle in opened.acknowledged]
    shed = opened.counts()[SHED]
    while waiting := opened.store.publishable("plant", 500, ()):
        opened.store.published(rows(waiting))

    def has_room() -> bool:
        opened.clock.pass_s(1.0)
        opened.store.sweep()
        return opened.store.problem is None

    wait_until(has_room, DEADLINE_S, "free pages")
    opened.store.sweep()
    assert opened.acknowledged[-1].message_id == number
    assert opened.counts()[SHED] == shed
    assert any(key == b"k%d" % number for key in opened.store.remembered(BINDING).seen)
    assert opened.broken_equations() == []
    opened.store.close()


def test_a_held_record_that_never_became_durable_is_never_acknowledged(tmp_path: Path) -> None:
    """An agent that ends on a broken disk leaves it to the broker, which has it still."""
    opened = open_store(tmp_path)
    with refusing_writes(tmp_path):
        opened.store.submit(unit(opened, 1, HOLD))
        wait_until(lambda: opened.store.problem, DEADLINE_S, "a failed commit")
        opened.clock.pass_s(5.0)
        opened.store.close()
    assert opened.acknowledged == []
    again = open_store(tmp_path)
    assert again.counts() == {}
    again.store.close()


def test_an_interval_gathers_what_comes_into_one_commit(tmp_path: Path) -> None:
    """The first record is committed at once, those after it together: here when the store closes."""
    settings = StoreSettings(limits(), 3600.0, 1 << 18, commit_interval_s=3600.0)
    opened = open_store(tmp_path, settings=settings)
    commit(opened, unit(opened, 0, JournalTerms()))
    for number in range(1, 50):
        opened.store.submit(unit(opened, number, JournalTerms()))
    opened.store.close()
    assert len(opened.acknowledged) == 50
    assert len(opened.commits) == 2


def test_records_that_nobody_waits_for_share_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of QoS 0 are kept by nobody: a commit for each would cost more than its answer."""
    monkeypatch.setattr(writer, "LINGER_S", 3600.0)
    opened = open_store(tmp_path)
    for number in range(50):
        opened.store.submit(replace(unit(opened, number, JournalTerms(), escalate=False), acks=()))
    opened.store.close()
    assert len(opened.commits) == 1


@pytest.mark.parametrize("is_asked", [False, True])
def test_a_commit_that_somebody_waits_for_takes_those_along_that_linger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_asked: bool
) -> None:
    """A sender waits for its acknowledgement, and the hub's link for what it is to ask."""
    monkeypatch.setattr(writer, "LINGER_S", 3600.0)
    opened = open_store(tmp_path)
    opened.store.submit(replace(unit(opened, 1, JournalTerms(), escalate=False), acks=()))
    awaited = unit(opened, 2, JournalTerms(), escalate=is_asked)
    opened.store.submit(replace(awaited, acks=()) if is_asked else awaited)
    wait_until(lambda: len(opened.commits) == 1, DEADLINE_S, "the commit")
    assert opened.counts()[Count.PREDICTIONS_DECIDED] == 2
    opened.store.close()


def test_what_nobody_waits_for_is_committed_soon(tmp_path: Path) -> None:
    """It lingers for others, not for ever."""
    opened = open_store(tmp_path)
    opened.store.submit(replace(unit(opened, 1, JournalTerms(), escalate=False), acks=()))
    wait_until(lambda: len(opened.commits) == 1, DEADLINE_S, "the commit")
    opened.store.close()


@pytest.mark.parametrize(
    ("terms", "boot", "skipped"),
    [(PROCESS, "boot-2", 1 << 20), (PROCESS, "boot-1", 0), (JournalTerms(), "boot-2", 0)],
)
def test_numbers_that_a_power_cut_may_have_taken_back_are_not_given_out_again(
    tmp_path: Path, terms: JournalTerms, boot: str, skipped: int
) -> None:
    """The hub would take another question under the same number for a repeat, and never answer it."""
    first = open_store(tmp_path)
    commit(first, unit(first, 1, terms))
    first.store.close()
    again = open_store(tmp_path, TestClock(boot=boot))
    commit(again, unit(again, 2, JournalTerms()))
    highest = dict(again.store.book.hello().highest)[ItemClass.ESCALATION]
    assert highest == 2 + skipped
    again.store.close()


def test_a_change_that_fails_takes_its_counts_and_letters_with_it(tmp_path: Path) -> None:
    """Of a part of a transaction that is rolled back nothing is left in the counters."""
    opened = open_store(tmp_path)

    def mistake(tx: object) -> None:
        tx.count(BindingName(BINDING), Count.RECORDS_RECEIVED)  # type: ignore[attr-defined]
        raise sqlite3.IntegrityError("a mistake")

    with pytest.raises(sqlite3.IntegrityError):
        opened.store._writer.call(mistake)
    assert opened.counts() == {}
    opened.store.close()
