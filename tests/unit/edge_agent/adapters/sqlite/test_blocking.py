"""A class of the outbox that blocks: what has no room waits with its acknowledgement, and nothing of it is lost."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from edge_agent.adapters.sqlite.store import StoreSettings
from edge_agent.core.accounting import Count
from edge_agent.core.outbox import OnFull
from edge_agent.ports import Unit
from protos.messages.escalation import ItemClass
from tests.simulators.waiting import wait_until
from tests.unit.edge_agent.adapters.sqlite.builders import (
    BINDING,
    Opened,
    decided,
    limits,
    open_store,
    record_unit,
    rows,
    verdict,
)
from tests.unit.edge_agent.adapters.sqlite.test_disk_trouble import SHED, refusing_writes

DEADLINE_S = 30.0
MAX_BYTES = 8_000


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """An outbox with room for a few predictions, of which none may be lost."""
    own = limits(MAX_BYTES)
    own = replace(own, on_full=dict(own.on_full) | {ItemClass.PREDICTION: OnFull.BLOCK})
    return open_store(tmp_path, settings=StoreSettings(own, 3600.0, 1 << 18))


def fill(opened: Opened) -> int:
    """Submit answers until one waits; how many were taken before it."""
    number = 0
    while not opened.store.is_blocked:
        submit(opened, number)
        opened.store.sweep()
        number += 1
    return number - 1


def submit(opened: Opened, number: int) -> None:
    """One record with its answer."""
    answer = decided(opened.store, f"p{number}", escalate=False)
    opened.store.submit(record_unit(opened.store, b"k%d" % number, answer, message_id=number))


def _in_background(what: Callable[[], None]) -> Thread:
    """Something that waits for the store."""
    thread = Thread(target=what, daemon=True)
    thread.start()
    return thread


def is_blocked(opened: Opened) -> bool:
    """Whether a full class holds back what comes next, now."""
    return opened.store.is_blocked


def deliver(opened: Opened, limit: int) -> None:
    """The broker takes some messages."""
    opened.store.published(rows(opened.store.publishable("plant", limit, ())))


def test_what_has_no_room_is_not_acknowledged_before_it_has(opened: Opened) -> None:
    """The broker keeps the next messages; each delivery makes room for one, in order, and nothing is dropped."""
    taken = fill(opened)
    assert taken > 3
    for number in range(taken + 1, 3 * taken):
        submit(opened, number)
    opened.store.sweep()
    assert len(opened.acknowledged) == taken
    assert "no room for another prediction" in (opened.store.problem or "")
    assert sum(use.bytes for use in opened.store.outbox()) <= MAX_BYTES
    while len(opened.acknowledged) < 3 * taken:
        deliver(opened, 1)
        opened.store.sweep()
        assert sum(use.bytes for use in opened.store.outbox()) <= MAX_BYTES
    assert [handle.message_id for handle in opened.acknowledged] == list(range(3 * taken))
    assert not opened.store.is_blocked
    assert opened.store.problem is None
    counts = opened.counts()
    assert counts[Count.PREDICTIONS_DECIDED] == counts[Count.RECORDS_JOURNALED] == 3 * taken
    assert not [name for name in counts if name.startswith(Count.PREDICTIONS_EVICTED)]
    assert opened.broken_equations() == []
    opened.store.close()


def test_what_its_broker_has_is_not_published_again_after_a_wait(opened: Opened) -> None:
    """A unit that finds no room is written later: what was acknowledged before its first try needs no row then."""
    fill(opened)
    deliver(opened, 1)
    opened.store.sweep()
    assert not is_blocked(opened)  # and full
    had, waits = (decided(opened.store, name, escalate=False) for name in ("had", "waits"))
    opened.store.delivered([had.publish.row])
    opened.store.submit(record_unit(opened.store, b"late", had, waits))
    opened.store.sweep()
    assert is_blocked(opened)
    deliver(opened, 2)
    opened.store.sweep()
    assert not is_blocked(opened)
    assert had.publish.row not in rows(opened.store.publishable("plant", 100, ()))
    assert waits.publish.row in rows(opened.store.publishable("plant", 100, ()))
    assert opened.broken_equations() == []
    opened.store.close()


def test_a_verdict_waits_for_room_without_holding_up_what_makes_it(opened: Opened) -> None:
    """Its revision is no less than an answer: it comes when there is room."""
    opened.commit(Unit(decided=(decided(opened.store, "asked"),)))
    fill(opened)
    opened.store.book.sent([(ItemClass.ESCALATION, 1)])
    before = opened.counts().get(Count.REVISIONS_MADE, 0)
    call = opened.store._writer
    waiting = len(call._aside)
    answered = _in_background(lambda: opened.store.book.answered(verdict("asked", 1)).result())
    wait_until(lambda: len(call._aside) > waiting, DEADLINE_S, "a verdict that waits")
    assert opened.counts().get(Count.REVISIONS_MADE, 0) == before
    deliver(opened, 3)
    opened.store.sweep()
    answered.join(DEADLINE_S)
    assert not answered.is_alive()
    assert opened.counts()[Count.REVISIONS_MADE] == 1
    assert opened.broken_equations() == []
    opened.store.close()


def test_an_answer_larger_than_all_room_is_refused_and_counted(opened: Opened) -> None:
    """Waiting would be for ever: nothing that could be delivered makes enough room."""
    many = tuple(decided(opened.store, f"p{number}", escalate=False) for number in range(40))
    opened.commit(Unit(decided=many))
    counts = opened.counts()
    assert not opened.store.is_blocked
    assert counts["predictions_evicted{no_room}"] + counts[Count.PREDICTIONS_PENDING_PUBLISH] == 40
    assert opened.broken_equations() == []
    opened.store.close()


def test_a_disk_that_fails_meanwhile_sheds_what_waits(opened: Opened, tmp_path: Path) -> None:
    """Waiting for room is not waiting for the disk: with the default terms records are answered and acknowledged."""
    taken = fill(opened)
    with refusing_writes(tmp_path):
        submit(opened, taken + 1)
        deliver_later = _in_background(lambda: deliver(opened, 1))
        wait_until(lambda: opened.store.problem and "broken" in opened.store.problem, DEADLINE_S, "a failed commit")
        opened.clock.pass_s(1.5)
        wait_until(lambda: len(opened.acknowledged) == taken + 2, DEADLINE_S, "acknowledgements without a commit")

    def delivered() -> bool:
        opened.clock.pass_s(1.0)
        return not deliver_later.is_alive()

    wait_until(delivered, DEADLINE_S, "a commit")
    opened.store.sweep()
    assert len(opened.acknowledged) == taken + 2
    assert opened.counts()[SHED] > 0
    assert opened.broken_equations() == []
    opened.store.close()


def test_what_still_waits_at_the_end_is_left_to_the_broker(opened: Opened, tmp_path: Path) -> None:
    """It was never acknowledged, so it comes again."""
    taken = fill(opened)
    opened.store.close()
    assert len(opened.acknowledged) == taken
    again = open_store(tmp_path)
    assert again.store.remembered(BINDING).seen == tuple(b"k%d" % number for number in range(taken))
    again.store.close()
