"""What the store promises the escalation link: every question ends in one named way, and every answer counts once."""

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from edge_agent.adapters.sqlite.store import StoreSettings
from edge_agent.core.accounting import Count, of_reason
from edge_agent.core.outbox import OnFull
from edge_agent.errors import StoreError
from edge_agent.ports import ItemKey, Publish, Unit
from protos.messages.escalation import Ack, Credit, HubIncarnation, ItemClass, Reject, Welcome
from protos.messages.inference import ModelUse
from protos.status import Status
from tests.unit.edge_agent.adapters.sqlite.builders import (
    BINDING,
    Opened,
    TestClock,
    audited,
    decided,
    limits,
    open_store,
    record_unit,
    verdict,
)

NONE_IN_FLIGHT: frozenset[ItemKey] = frozenset()


def welcome(incarnation: str = "hub-1", applied: int = 0) -> Welcome:
    """A hub that has applied that many escalations of this store."""
    numbers = ((ItemClass.ESCALATION, applied),) if applied else ()
    return Welcome(1, HubIncarnation(incarnation), numbers, Credit(100, 1 << 20), hub_time_ns=0)


def with_escalations(folder: Path, count: int, settings: StoreSettings | None = None) -> Opened:
    """A store with predictions p1…pN, all of them escalated."""
    opened = open_store(folder, settings=settings)
    for number in range(1, count + 1):
        opened.commit(record_unit(opened.store, b"k%d" % number, decided(opened.store, f"p{number}")))
    return opened


def statuses(opened: Opened) -> list[tuple[str, str, int]]:
    """(id, status, revision) of everything that waits for the broker."""
    events = [json.loads(publish.payload) for publish in opened.store.publishable("plant", 100, ())]
    return [(event["id"], event["status"], event["revision"]) for event in events]


def waiting(opened: Opened) -> int:
    """Questions that still wait for the hub."""
    return sum(use.items for use in opened.store.outbox() if use.item_class is ItemClass.ESCALATION)


def test_an_audit_and_an_escalation_of_one_number_are_two_items(tmp_path: Path) -> None:
    """Each class counts for itself: what is in flight, sent or acked is named by class and number."""
    opened = open_store(tmp_path)
    book = opened.store.book
    opened.commit(Unit(decided=(decided(opened.store, "p1"), audited(opened.store, "p2"))))
    assert {(one.item_class, one.seq) for one in book.next_items(10, NONE_IN_FLIGHT)} == {
        (ItemClass.ESCALATION, 1),
        (ItemClass.AUDIT, 1),
    }
    (audit,) = book.next_items(10, frozenset({(ItemClass.ESCALATION, 1)}))
    assert (audit.item_class, audit.body.prediction_id) == (ItemClass.AUDIT, "p2")
    book.sent([(ItemClass.AUDIT, 1)])
    book.acked(Ack(ItemClass.AUDIT, ((1, 1),)))
    (left,) = book.next_items(10, NONE_IN_FLIGHT)
    assert left.item_class is ItemClass.ESCALATION
    assert book.hello().highest == ((ItemClass.ESCALATION, 1), (ItemClass.AUDIT, 1))
    assert opened.broken_equations() == []
    opened.store.close()


def test_items_come_newest_first_without_those_in_flight(tmp_path: Path) -> None:
    """Live questions overtake the backlog; the low-water mark tells the hub what it may forget."""
    opened = with_escalations(tmp_path, 3)
    items = opened.store.book.next_items(10, frozenset({(ItemClass.ESCALATION, 2)}))
    assert [(item.seq, item.body.prediction_id, item.low_water) for item in items] == [(3, "p3", 1), (1, "p1", 1)]
    assert items[0].age_ms == 0
    opened.store.close()


def test_an_item_goes_through_sent_and_acked_to_answered(tmp_path: Path) -> None:
    """Each step is in the store when the call returns, and the equations hold at each."""
    opened = with_escalations(tmp_path, 1)
    book = opened.store.book
    book.sent([(ItemClass.ESCALATION, 1)])
    assert book.next_items(10, NONE_IN_FLIGHT) == []
    assert opened.counts()["escalations_pending{sent}"] == 1
    book.acked(Ack(ItemClass.ESCALATION, ((1, 1),)))
    assert opened.counts()["escalations_pending{acked}"] == 1
    assert opened.broken_equations() == []
    book.answered(verdict("p1", 1)).result()
    assert opened.counts()[Count.ESCALATIONS_ANSWERED] == 1
    assert statuses(opened) == [("p1", "provisional", 0), ("p1", "revised", 1)]
    assert opened.broken_equations() == []
    assert book.hello().verdict_cursor == 1
    opened.store.close()


def test_a_verdict_may_overtake_its_ack(tmp_path: Path) -> None:
    """An ack that comes after the answer changes nothing."""
    opened = with_escalations(tmp_path, 1)
    opened.store.book.sent([(ItemClass.ESCALATION, 1)])
    opened.store.book.answered(verdict("p1", 1)).result()
    opened.store.book.acked(Ack(ItemClass.ESCALATION, ((1, 1),)))
    assert opened.counts()[Count.ESCALATIONS_ANSWERED] == 1
    assert opened.broken_equations() == []
    opened.store.close()


@pytest.mark.parametrize("revision", [1, 2])
def test_a_repeated_verdict_number_changes_nothing(tmp_path: Path, revision: int) -> None:
    """The hub may send its log again from any cursor; a number is applied once, whatever it carries."""
    opened = with_escalations(tmp_path, 1)
    opened.store.book.answered(verdict("p1", 1)).result()
    opened.store.book.answered(verdict("p1", 1, revision=revision)).result()
    assert len(statuses(opened)) == 2
    assert opened.counts()[Count.ESCALATIONS_ANSWERED] == 1
    opened.store.close()


def test_a_second_greater_revision_is_published_too(tmp_path: Path) -> None:
    """A later verdict for the same prediction is a message of its own; the escalation stays answered once."""
    opened = with_escalations(tmp_path, 1)
    opened.store.book.answered(verdict("p1", 1)).result()
    opened.store.book.answered(verdict("p1", 2, revision=2)).result()
    assert statuses(opened)[-1] == ("p1", "revised", 2)
    assert opened.broken_equations() == []
    opened.store.close()


def test_verdicts_that_fit_nothing_move_the_cursor_only(tmp_path: Path) -> None:
    """A forgotten prediction, or an answer to another input, must not stop the log."""
    opened = with_escalations(tmp_path, 1)
    opened.store.book.answered(verdict("p9", 1)).result()
    opened.store.book.answered(verdict("p1", 2, digest="sha256:" + "9" * 64)).result()
    assert opened.store.book.hello().verdict_cursor == 2
    assert statuses(opened) == [("p1", "provisional", 0)]
    assert opened.counts()["escalations_pending{queued}"] == 1
    opened.store.close()


def test_a_new_stream_queues_again_what_was_not_acked(tmp_path: Path) -> None:
    """After a lost connection sent items go again; acked ones are safe at the hub."""
    opened = with_escalations(tmp_path, 2)
    book = opened.store.book
    assert book.welcomed(welcome())
    book.sent([(ItemClass.ESCALATION, 1), (ItemClass.ESCALATION, 2)])
    book.acked(Ack(ItemClass.ESCALATION, ((1, 1),)))
    assert book.welcomed(welcome(applied=2))
    assert [item.seq for item in book.next_items(10, NONE_IN_FLIGHT)] == [2]
    opened.store.close()


def test_a_restored_hub_is_told_again(tmp_path: Path) -> None:
    """A new incarnation has forgotten: acked and answered questions are queued again, the log is read anew."""
    opened = with_escalations(tmp_path, 3)
    book = opened.store.book
    book.welcomed(welcome())
    book.sent([(ItemClass.ESCALATION, 1), (ItemClass.ESCALATION, 2)])
    book.acked(Ack(ItemClass.ESCALATION, ((1, 2),)))
    book.answered(verdict("p1", 7)).result()
    assert not book.welcomed(welcome("hub-2"))  # the stream's verdicts begin behind a cursor of the other log
    assert book.welcomed(welcome("hub-2"))
    assert [item.seq for item in book.next_items(10, NONE_IN_FLIGHT)] == [3, 2, 1]
    assert (book.hello().verdict_cursor, book.hello().hub_incarnation) == (0, "hub-2")
    opened.store.close()


def test_an_answered_question_that_is_told_again_changes_nothing_here(tmp_path: Path) -> None:
    """Only its row travels once more; its end, its revision and the sums stay as they were."""
    opened = with_escalations(tmp_path, 1)
    book = opened.store.book
    book.welcomed(welcome())
    book.sent([(ItemClass.ESCALATION, 1)])
    book.acked(Ack(ItemClass.ESCALATION, ((1, 1),)))
    book.answered(verdict("p1", 7)).result()
    assert waiting(opened) == 0
    assert not book.welcomed(welcome("hub-2"))
    assert book.welcomed(welcome("hub-2"))
    assert waiting(opened) == 1
    book.sent([(ItemClass.ESCALATION, 1)])
    assert book.next_items(10, NONE_IN_FLIGHT) == []
    assert book.welcomed(welcome("hub-2"))  # another stream: what was sent and not acked comes again
    assert [item.seq for item in book.next_items(10, NONE_IN_FLIGHT)] == [1]
    book.acked(Ack(ItemClass.ESCALATION, ((1, 1),)))
    assert (book.next_items(10, NONE_IN_FLIGHT), waiting(opened)) == ([], 0)
    book.answered(verdict("p1", 1)).result()
    counts = {name: value for (_, name), value in opened.store.figures().items()}
    assert (counts[Count.ESCALATIONS_ANSWERED], counts[Count.VERDICTS_APPLIED]) == (1, 1)
    assert counts[Count.VERDICTS_UNCHANGED] == 1
    assert opened.broken_equations() == []
    opened.store.close()


def test_a_verdict_alone_ends_the_telling(tmp_path: Path) -> None:
    """Who answers has the question: an answered row is not sent again because its ack was lost."""
    opened = with_escalations(tmp_path, 1)
    opened.store.book.welcomed(welcome())
    opened.store.book.answered(verdict("p1", 1)).result()
    assert opened.store.book.welcomed(welcome())
    assert opened.store.book.next_items(10, NONE_IN_FLIGHT) == []
    opened.store.close()


def test_a_hub_that_refuses_what_it_is_told_again_hears_it_once(tmp_path: Path) -> None:
    """The refusal ends the row, not the answer that is known already."""
    opened = with_escalations(tmp_path, 1)
    book = opened.store.book
    book.welcomed(welcome())
    book.answered(verdict("p1", 1)).result()
    assert not book.welcomed(welcome("hub-2"))
    book.rejected(Reject(ItemClass.ESCALATION, 1, Status.INVALID_ARGUMENT, "no", 0))
    assert book.welcomed(welcome("hub-2"))
    assert book.next_items(10, NONE_IN_FLIGHT) == []
    assert opened.counts()[Count.ESCALATIONS_ANSWERED] == 1
    assert opened.broken_equations() == []
    opened.store.close()


def test_what_the_hub_has_is_kept_for_a_day_from_its_ack(tmp_path: Path) -> None:
    """`retain_after_ack_s` is the age of the backup that a site may put back without a loss."""
    opened = with_escalations(tmp_path, 2)
    book = opened.store.book
    book.welcomed(welcome())
    opened.clock.pass_s(3000)
    book.acked(Ack(ItemClass.ESCALATION, ((1, 2),)))
    book.answered(verdict("p1", 1)).result()
    opened.clock.pass_s(86_300)
    opened.store.sweep()
    assert not book.welcomed(welcome("hub-2"))
    assert [item.seq for item in book.next_items(10, NONE_IN_FLIGHT)] == [1]  # p2 went unanswered, and expired
    book.acked(Ack(ItemClass.ESCALATION, ((1, 1),)))
    opened.clock.pass_s(86_500)
    opened.store.sweep()
    assert not book.welcomed(welcome("hub-3"))
    assert book.next_items(10, NONE_IN_FLIGHT) == []
    assert opened.broken_equations() == []
    opened.store.close()


def test_what_the_hub_has_gives_way_before_anything_that_waits(tmp_path: Path) -> None:
    """Also to another class that is beyond its share: nothing undelivered is lost for the sake of a copy."""
    settings = StoreSettings(limits(60_000), escalation_max_age_s=3600.0, dead_letter_max_bytes=1 << 18)
    opened = with_escalations(tmp_path, 15, settings)
    opened.store.book.acked(Ack(ItemClass.ESCALATION, ((1, 15),)))
    (answers,) = opened.store.outbox()
    for number in range(16, 60_000 // (answers.bytes // answers.items) - 1):
        answer = decided(opened.store, f"p{number}", escalate=False)
        opened.commit(record_unit(opened.store, b"k%d" % number, answer))
    assert not [name for name in opened.counts() if "evicted" in name]
    assert opened.store.book.welcomed(welcome("hub-1"))
    assert not opened.store.book.welcomed(welcome("hub-2"))
    assert 0 < len(opened.store.book.next_items(100, NONE_IN_FLIGHT)) < 15
    assert opened.broken_equations() == []
    opened.store.close()


def test_what_the_hub_has_costs_no_reading(tmp_path: Path) -> None:
    """However much is retained, the low-water mark and the age of what waits are found at once."""
    opened = with_escalations(tmp_path, 1)
    for first in range(0, 2000, 500):
        answers = tuple(decided(opened.store, f"more{number}") for number in range(first, first + 500))
        opened.store.submit(Unit(decided=answers))
    opened.store.sweep()
    opened.store.book.acked(Ack(ItemClass.ESCALATION, ((1, 2000),)))
    connection = opened.store._reader._connection
    assert connection is not None
    ticks: list[None] = []
    connection.set_progress_handler(lambda: ticks.append(None), 1000)
    (item,) = opened.store.book.next_items(10, NONE_IN_FLIGHT)
    assert (item.seq, item.low_water, waiting(opened)) == (2001, 2001, 1)
    connection.set_progress_handler(None, 1000)
    assert len(ticks) < 5
    opened.store.close()


def test_verdicts_of_an_earlier_hub_database_are_not_skipped(tmp_path: Path) -> None:
    """The stream that shows another log began behind a foreign cursor: what it brings is left, the next is taken."""
    opened = with_escalations(tmp_path, 4)
    book = opened.store.book
    assert book.welcomed(welcome("hub-1"))
    book.answered(verdict("p1", 1)).result()
    assert not book.welcomed(welcome("hub-2"))
    assert book.welcomed(welcome("hub-2"))
    for number in (2, 3):
        book.answered(verdict(f"p{number}", number - 1)).result()
    assert not book.welcomed(welcome("hub-1"))  # it would bring only what lies above 2
    assert book.hello().verdict_cursor == 0
    assert book.welcomed(welcome("hub-1"))
    book.answered(verdict("p1", 1)).result()
    book.answered(verdict("p4", 2)).result()
    assert opened.counts()[Count.ESCALATIONS_ANSWERED] == 4
    assert opened.broken_equations() == []
    opened.store.close()


def test_a_hub_that_applied_more_makes_the_store_take_a_new_id(tmp_path: Path) -> None:
    """An older copy of the file would number anew what the hub has applied already."""
    opened = with_escalations(tmp_path, 1)
    before = opened.store.book.hello().store_id
    assert not opened.store.book.welcomed(welcome(applied=5))
    assert opened.store.book.hello().store_id != before
    opened.store.close()


def test_a_place_that_the_hub_has_for_another_question_makes_the_store_take_a_new_id(tmp_path: Path) -> None:
    """An older copy that numbered on before it could greet the hub: nothing ends, all of it goes under the new id."""
    opened = with_escalations(tmp_path, 2)
    book = opened.store.book
    assert book.welcomed(welcome(applied=2))
    before = book.hello().store_id
    book.sent([(ItemClass.ESCALATION, 1), (ItemClass.ESCALATION, 2)])
    book.rejected(Reject(ItemClass.ESCALATION, 1, Status.ABORTED, "this place holds another"))
    assert book.hello().store_id != before
    assert book.welcomed(welcome())
    assert sorted(item.seq for item in book.next_items(10, NONE_IN_FLIGHT)) == [1, 2]
    assert opened.broken_equations() == []
    opened.store.close()


def test_numbers_are_never_used_again(tmp_path: Path) -> None:
    """Not after the item was trimmed, and not after a restart."""
    opened = with_escalations(tmp_path, 2)
    for number in (1, 2):
        opened.store.book.answered(verdict(f"p{number}", number)).result()
    opened.store.close()
    again = open_store(tmp_path)
    again.commit(record_unit(again.store, b"k3", decided(again.store, "p3")))
    assert [item.seq for item in again.store.book.next_items(10, NONE_IN_FLIGHT)] == [3]
    assert again.store.book.hello().highest == ((ItemClass.ESCALATION, 3),)
    again.store.close()


def test_a_final_rejection_ends_the_question_and_says_so(tmp_path: Path) -> None:
    """The hub's refusal is published as unrevised, under its own name."""
    opened = with_escalations(tmp_path, 1)
    opened.store.book.sent([(ItemClass.ESCALATION, 1)])
    opened.store.book.rejected(Reject(ItemClass.ESCALATION, 1, Status.INVALID_ARGUMENT, "wrong shape"))
    assert statuses(opened)[-1] == ("p1", "unrevised", 0)
    assert opened.counts()[Count.ESCALATIONS_REJECTED] == 1
    assert opened.broken_equations() == []
    opened.store.close()


def test_a_passing_rejection_holds_the_item_back(tmp_path: Path) -> None:
    """A hub that is short of something gets the item again after the time that it named."""
    opened = with_escalations(tmp_path, 1)
    book = opened.store.book
    book.sent([(ItemClass.ESCALATION, 1)])
    book.rejected(Reject(ItemClass.ESCALATION, 1, Status.RESOURCE_EXHAUSTED, "busy", retry_after_ms=5000))
    assert book.next_items(10, NONE_IN_FLIGHT) == []
    opened.clock.pass_s(5.1)
    assert [item.seq for item in book.next_items(10, NONE_IN_FLIGHT)] == [1]
    opened.store.close()


def test_rejections_come_in_while_items_are_read(tmp_path: Path) -> None:
    """The reader thread holds items back while the sender asks for more: neither breaks, and no hold-back is lost."""
    opened = open_store(tmp_path)
    book, count = opened.store.book, 300
    opened.commit(Unit(decided=tuple(decided(opened.store, f"p{n}") for n in range(count))))
    done = threading.Event()

    def send() -> None:
        while not done.is_set():
            book.next_items(1, NONE_IN_FLIGHT)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(1) as sender:
            sending = sender.submit(send)
            try:
                for seq in range(1, count + 1):
                    book.rejected(Reject(ItemClass.ESCALATION, seq, Status.NOT_FOUND, "no such pack", 30_000))
            finally:
                done.set()
            sending.result()
    finally:
        sys.setswitchinterval(before)
    assert book.next_items(count, NONE_IN_FLIGHT) == []
    opened.store.close()


def test_a_question_expires_and_a_late_answer_still_counts(tmp_path: Path) -> None:
    """Expired is said at once; the verdict that comes after all moves it to answered_late."""
    opened = with_escalations(tmp_path, 1)
    opened.clock.pass_s(3601)
    opened.store.sweep()
    assert opened.counts()[Count.ESCALATIONS_EXPIRED] == 1
    assert statuses(opened)[-1] == ("p1", "unrevised", 0)
    assert opened.store.book.next_items(10, NONE_IN_FLIGHT) == []
    opened.store.book.answered(verdict("p1", 1)).result()
    assert opened.counts()[Count.ESCALATIONS_ANSWERED_LATE] == 1
    assert opened.counts()[Count.ESCALATIONS_EXPIRED] == 0
    assert statuses(opened)[-1] == ("p1", "revised", 1)
    assert opened.broken_equations() == []
    opened.store.close()


def test_an_unknown_age_expires_no_question(tmp_path: Path) -> None:
    """After a reboot with an unsynchronised clock the item is sent, flagged as of unknown age."""
    with_escalations(tmp_path, 1).store.close()
    again = open_store(tmp_path, TestClock(monotonic=3.0, boot="boot-2", synced=False))
    again.store.sweep()
    assert [item.age_ms for item in again.store.book.next_items(10, NONE_IN_FLIGHT)] == [None]
    again.store.close()


@pytest.mark.parametrize("on_full", [OnFull.DROP_OLDEST, OnFull.DROP_NEWEST])
def test_a_full_outbox_evicts_counts_and_says_so(tmp_path: Path, on_full: OnFull) -> None:
    """However many are asked, the bytes stay within the bound and every question has a named end."""
    settings = StoreSettings(limits(40_000, on_full), escalation_max_age_s=3600.0, dead_letter_max_bytes=1 << 18)
    opened = with_escalations(tmp_path, 60, settings)
    assert sum(use.bytes for use in opened.store.outbox()) <= 40_000
    assert opened.counts()[of_reason(Count.ESCALATIONS_EVICTED, on_full.value)] > 0
    evicted = sum(n for name, n in opened.counts().items() if name.startswith(Count.ESCALATIONS_EVICTED))
    kept = [item.body.prediction_id for item in opened.store.book.next_items(100, NONE_IN_FLIGHT)]
    assert len(kept) == 60 - evicted
    assert ("p60" in kept) == (on_full is OnFull.DROP_OLDEST)
    assert any(status == "unrevised" for _, status, _ in statuses(opened))
    assert opened.broken_equations() == []
    opened.store.close()


def test_an_acked_question_gives_its_space_first_and_stays_open(tmp_path: Path) -> None:
    """What is durable at the hub is only a copy here: dropping it ends nothing, and its answer still counts."""
    settings = StoreSettings(limits(40_000), escalation_max_age_s=3600.0, dead_letter_max_bytes=1 << 18)
    opened = with_escalations(tmp_path, 3, settings)
    opened.store.book.acked(Ack(ItemClass.ESCALATION, ((2, 2),)))
    for number in range(4, 60):
        opened.commit(record_unit(opened.store, b"k%d" % number, decided(opened.store, f"p{number}")))
    assert opened.counts()[of_reason(Count.ESCALATIONS_EVICTED, "drop_oldest")] > 0
    assert opened.counts()["escalations_pending{acked}"] == 1
    opened.store.book.answered(verdict("p2", 1)).result()
    assert opened.counts()[Count.ESCALATIONS_ANSWERED] == 1
    assert opened.broken_equations() == []
    opened.store.close()


def test_predictions_are_forgotten_but_never_while_their_question_is_open(tmp_path: Path) -> None:
    """A verdict must find the event that it revises."""
    settings = StoreSettings(limits(), 3600.0, 1 << 18, predictions_kept=2)
    opened = open_store(tmp_path, settings=settings)
    opened.commit(record_unit(opened.store, b"k0", decided(opened.store, "open")))
    for number in range(6):
        answer = decided(opened.store, f"p{number}", escalate=False)
        opened.commit(record_unit(opened.store, b"k%d" % (number + 1), answer))
    opened.store.book.answered(verdict("p0", 1)).result()
    opened.store.book.answered(verdict("open", 2)).result()
    assert statuses(opened)[-1] == ("open", "revised", 1)
    assert sum(1 for _, status, _ in statuses(opened) if status == "revised") == 1
    opened.store.close()


def test_the_link_is_woken_by_a_commit(tmp_path: Path) -> None:
    """A new question does not wait for the link's next look."""
    opened = open_store(tmp_path)
    book = opened.store.book
    assert book.wait_for_items(0.0)
    assert not book.wait_for_items(0.0)
    opened.commit(Unit(counts={(BINDING, Count.RECORDS_RECEIVED): 0}))
    assert not book.wait_for_items(0.0)
    opened.commit(record_unit(opened.store, b"k1", decided(opened.store, "p1")))
    assert book.wait_for_items(5.0)
    opened.store.close()


def test_a_wide_range_costs_what_it_covers(tmp_path: Path) -> None:
    """A hub that acknowledges "everything so far, and all that comes" does not take the agent's memory."""
    opened = open_store(tmp_path)
    opened.commit(Unit(decided=tuple(decided(opened.store, f"p{n}") for n in range(3))))
    opened.store.book.acked(Ack(ItemClass.ESCALATION, ((2, 2**64 - 1),)))
    counts = opened.counts()
    opened.store.close()
    assert (counts["escalations_pending{queued}"], counts["escalations_pending{acked}"]) == (1, 2)


def test_a_backlog_of_one_class_does_not_starve_the_other(tmp_path: Path) -> None:
    """Questions and audits take turns by their shares, the newest of each first, also one at a time."""
    opened = open_store(tmp_path)
    questions = [decided(opened.store, f"q{number}") for number in range(40)]
    audits = [replace(decided(opened.store, f"a{number}"), escalate_class=ItemClass.AUDIT) for number in range(4)]
    opened.commit(Unit(decided=(*questions[:20], *audits, *questions[20:])))
    sent: list[ItemKey] = []
    for _ in range(30):
        (item,) = opened.store.book.next_items(1, frozenset(sent))
        sent.append((item.item_class, item.seq))
    assert {seq for item_class, seq in sent if item_class is ItemClass.AUDIT} != set()
    assert sent[0] == (ItemClass.ESCALATION, 40)
    opened.store.close()


def test_alarms_are_sent_beside_a_backlog_of_answers(tmp_path: Path) -> None:
    """To a broker, too, classes take turns: the oldest alarm is among the first messages after an outage."""
    own = limits()
    own = replace(own, shares=dict(own.shares) | {ItemClass.ESCALATION: 0.3, ItemClass.ALARM: 0.1})
    opened = open_store(tmp_path, settings=StoreSettings(own, 3600.0, 1 << 18))
    answers = [decided(opened.store, f"p{number}", escalate=False) for number in range(60)]
    alarm = Publish(opened.store.new_row(), "plant", "press/alarm", b"{}", 1)
    opened.commit(Unit(decided=(*answers, replace(decided(opened.store, "last", escalate=False), alarm=alarm))))
    first = opened.store.publishable("plant", 40, ())
    assert alarm in first
    assert [one for one in first if one != alarm] == [one.publish for one in answers[:39]]
    opened.store.close()


def test_verdicts_that_come_together_share_a_commit(tmp_path: Path) -> None:
    """Each is done after it, in order, and none waits for a commit of its own."""
    opened = with_escalations(tmp_path, 20)
    commits, done = len(opened.commits), list[int]()
    writer = opened.store._writer
    with writer._changed:
        for number in range(1, 21):
            stored = opened.store.book.answered(verdict(f"p{number}", number))
            stored.add_done_callback(lambda _, number=number: done.append(number))  # type: ignore[misc]
    opened.store.sweep()
    assert done == list(range(1, 21))
    assert len(opened.commits) - commits <= 2  # with the sweep's own
    assert opened.counts()[Count.ESCALATIONS_ANSWERED] == 20
    assert opened.store.book.hello().verdict_cursor == 20
    opened.store.close()


def test_no_verdict_passes_one_that_could_not_be_stored(tmp_path: Path) -> None:
    """The cursor stays before it, so the hub sends it again on the next stream, and those after it, too."""
    opened = with_escalations(tmp_path, 3)
    broken = replace(verdict("p1", 1), models=cast("tuple[ModelUse, ...]", 1))
    first, second = opened.store.book.answered(broken), opened.store.book.answered(verdict("p2", 2))
    with pytest.raises(TypeError):
        first.result()
    with pytest.raises(StoreError):
        second.result()
    assert opened.store.book.hello().verdict_cursor == 0
    assert opened.broken_equations() == []
    opened.store.book.welcomed(welcome())
    opened.store.book.answered(verdict("p1", 1)).result()
    opened.store.book.answered(verdict("p2", 2)).result()
    assert opened.store.book.hello().verdict_cursor == 2
    opened.store.close()
