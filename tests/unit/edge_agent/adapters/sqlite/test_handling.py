"""What a person does to what waits: every item's fate after it, and the books."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.adapters.sqlite.handling import Action, Handled, Refusal
from edge_agent.adapters.sqlite.outbox import Subject, broker_destination
from edge_agent.adapters.sqlite.selection import Selection
from edge_agent.core.escalation import Outcome
from protos.messages.escalation import Ack, ItemClass, PredictionId, Reject
from protos.messages.feedback import FeedbackReceipt
from protos.status import Status
from tests.unit.edge_agent.adapters.sqlite.builders import Opened, decided, open_store, record_unit, verdict
from tests.unit.edge_agent.adapters.sqlite.test_feedback import give, given, own, with_answers

PIECES = 120


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """A store with three questions: one queued, one sent, one acked; and their three provisional answers."""
    found = open_store(tmp_path)
    for name in ("p1", "p2", "p3"):
        found.commit(record_unit(found.store, name.encode(), decided(found.store, name)))
    found.store.book.sent([(ItemClass.ESCALATION, 2), (ItemClass.ESCALATION, 3)])
    found.store.book.acked(Ack(ItemClass.ESCALATION, ((3, 3),)))
    yield found
    assert found.broken_equations() == []
    found.store.close()


def questions(**named: object) -> Selection:
    """Questions to the hub."""
    return Selection(item_class=ItemClass.ESCALATION, **named)  # type: ignore[arg-type]  # each test names its own


def test_a_purged_question_ends_and_its_caller_is_told(opened: Opened) -> None:
    """It is counted as purged, its row goes, and `unrevised` waits for the broker."""
    done = opened.store.handling.handle(
        Action.PURGE, Selection(prediction_id=PredictionId("p1"), state=Outcome.QUEUED, item_class=ItemClass.ESCALATION)
    )
    assert done == Handled({Subject.ESCALATION: 1}, {})
    assert opened.counts()["escalations_purged"] == 1
    told = opened.store.publishable("plant", 10, ())[-1].payload
    assert b'"status":"unrevised"' in told
    assert b'"outcome":"purged"' in told
    assert [item.seq for item in opened.store.book.next_items(9, frozenset())] == []


def test_what_the_hub_has_is_not_purged(opened: Opened) -> None:
    """Its answer is on the way: purging would tell the caller that none comes."""
    done = opened.store.handling.handle(Action.PURGE, questions())
    assert done == Handled({Subject.ESCALATION: 2}, {Refusal.AT_THE_HUB: 1})
    assert opened.counts()["escalations_pending{acked}"] == 1


def test_purging_everything_keeps_the_news_of_it(opened: Opened) -> None:
    """Messages that tell of the purge are made after it began, so they are not part of it."""
    done = opened.store.handling.handle(Action.PURGE, Selection())
    assert done.changed == {Subject.ESCALATION: 2, Subject.PREDICTION: 3}
    assert opened.counts()["predictions_evicted{purged}"] == 3
    assert opened.counts()["revisions_pending_publish"] == 2


def test_a_verdict_for_a_purged_question_still_revises(opened: Opened) -> None:
    """Whoever purged is overruled by an answer that comes all the same; the question stays purged."""
    opened.store.handling.handle(Action.PURGE, questions(state=Outcome.SENT))
    opened.store.book.answered(verdict("p2", 1)).result()
    assert opened.counts()["escalations_purged"] == 1
    assert b'"status":"revised"' in opened.store.publishable("plant", 10, ())[-1].payload


def test_retry_sends_again_what_was_sent_or_acked(opened: Opened) -> None:
    """All three wait for the hub again; it applies each once, by its number."""
    done = opened.store.handling.handle(Action.RETRY, questions())
    assert done == Handled({Subject.ESCALATION: 3}, {})
    assert sorted(item.seq for item in opened.store.book.next_items(9, frozenset())) == [1, 2, 3]
    assert opened.counts()["escalations_pending{queued}"] == 3


def test_retry_ends_the_wait_that_a_refusal_asked_for(opened: Opened) -> None:
    """A hub that had not the pack said `not now`; a person who mended it need not wait."""
    opened.store.book.rejected(Reject(ItemClass.ESCALATION, 1, Status.FAILED_PRECONDITION, "no such pack", 600_000))
    assert opened.store.book.next_items(9, frozenset()) == []
    opened.store.handling.handle(Action.RETRY, Selection(prediction_id=PredictionId("p1")))
    assert [item.seq for item in opened.store.book.next_items(9, frozenset())] == [1]


def test_messages_for_a_broker_are_not_retried(opened: Opened) -> None:
    """Nothing holds them back but the broker."""
    done = opened.store.handling.handle(Action.RETRY, Selection(destination=broker_destination("plant")))
    assert done == Handled({}, {Refusal.GOES_BY_ITSELF: 3})


def test_judgements_are_purged_and_may_be_said_again(tmp_path: Path) -> None:
    """They are counted as dropped by hand, and the same words are not taken for a repeat."""
    opened = with_answers(tmp_path, "p1")
    give(opened, given("p1", label="ok"))
    done = opened.store.handling.handle(Action.PURGE, Selection(item_class=ItemClass.FEEDBACK))
    assert done == Handled({Subject.FEEDBACK: 1}, {})
    give(opened, given("p1", label="ok"))
    assert own(opened)["feedback_evicted{purged}"] == 1
    assert own(opened)["feedback_pending"] == 1
    assert opened.broken_equations() == []
    opened.store.close()


def test_retry_ends_the_wait_of_a_judgement(tmp_path: Path) -> None:
    """A judgement that the hub put off goes with the next batch."""
    opened = with_answers(tmp_path, "p1")
    give(opened, given("p1", label="ok"))
    batch = opened.store.feedback.next_batch(9)
    assert batch is not None
    opened.store.feedback.settled(batch, FeedbackReceipt((), ()))
    assert opened.store.feedback.next_batch(9) is None
    done = opened.store.handling.handle(Action.RETRY, Selection(item_class=ItemClass.FEEDBACK))
    assert done.changed == {Subject.FEEDBACK: 1}
    assert opened.store.feedback.next_batch(9) == batch
    opened.store.close()


def test_only_what_is_old_enough_is_chosen(opened: Opened) -> None:
    """Age is measured as everywhere: what is not known to be old is left."""
    opened.clock.pass_s(100)
    opened.commit(record_unit(opened.store, b"p4", decided(opened.store, "p4")))
    done = opened.store.handling.handle(Action.PURGE, questions(older_than_s=50.0))
    assert done.changed == {Subject.ESCALATION: 2}
    opened.clock.boot, opened.clock.synced = "boot-2", False
    assert opened.store.handling.handle(Action.PURGE, questions(older_than_s=0.0)) == Handled()


def test_more_items_than_one_transaction_takes_are_all_handled(opened: Opened) -> None:
    """Pieces follow each other until none is left."""
    many = [decided(opened.store, f"q{number}") for number in range(PIECES)]
    opened.commit(record_unit(opened.store, b"many", *many))
    done = opened.store.handling.handle(Action.PURGE, questions(state=Outcome.QUEUED))
    assert done.changed == {Subject.ESCALATION: PIECES + 1}


def test_what_ended_is_left_even_while_it_is_kept(opened: Opened) -> None:
    """An answered question is nobody's to drop or to send again."""
    opened.store.book.answered(verdict("p3", 1)).result()
    before = opened.counts()
    assert opened.store.handling.handle(Action.RETRY, Selection(prediction_id=PredictionId("p3"))).changed == {}
    assert opened.store.handling.handle(Action.PURGE, questions(state=Outcome.ACKED)) == Handled()
    assert opened.counts() == before
