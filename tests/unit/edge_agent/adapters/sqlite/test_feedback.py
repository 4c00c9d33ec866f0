"""What the store promises about feedback: kept once, within its share, delivered or named; human verdicts applied."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from edge_agent.adapters.sqlite import backlog, schema
from edge_agent.adapters.sqlite.store import FILE_NAME, StoreSettings
from edge_agent.core.accounting import DEVICE, Count, of_reason
from edge_agent.core.feedback import read_feedback
from edge_agent.ports import BindingName, DeadLetter, Decided, GivenFeedback, Unit
from protos.messages.escalation import Credit, HubIncarnation, ItemClass, Verdict, Welcome
from protos.messages.feedback import FeedbackReceipt, FeedbackRefusal, Judgement
from protos.messages.inference import Tier
from protos.status import Status
from tests.unit.edge_agent.adapters.sqlite.builders import (
    DIGEST,
    Opened,
    decided,
    limits,
    open_store,
    record_unit,
    verdict,
)

Announce = Callable[[Sequence[DeadLetter]], None]

TOPIC = "edge/press-07/feedback"
OWN = BindingName(DEVICE)
EDGE_OUTPUT = {"task": "classification", "label": "ok", "scores": {"ok": 0.6, "worn": 0.4}}


def answer(opened: Opened, name: str, *, escalate: bool = True) -> Decided:
    """A prediction whose event holds all that feedback needs."""
    one = decided(opened.store, name, escalate=escalate)
    event = json.loads(one.publish.payload) | {
        "binding": "press",
        "window": {"start": "2026-11-21T08:00:00.000Z", "end": "2026-11-21T08:00:01.000Z", "n": 4, "fill": 1.0},
        "output": EDGE_OUTPUT,
        "models": [{"pack": "bearing-edge@1.0.0", "digest": "sha256:aa", "role": "active"}],
    }
    return replace(one, publish=replace(one.publish, payload=json.dumps(event).encode()))


def with_answers(
    folder: Path,
    *names: str,
    escalate: bool = True,
    settings: StoreSettings | None = None,
    announce: Announce = lambda letters: None,  # noqa: ARG005 - nobody listens
) -> Opened:
    """A store with these predictions."""
    opened = open_store(folder, settings=settings, announce=announce)
    for number, name in enumerate(names):
        opened.commit(record_unit(opened.store, b"k%d" % number, answer(opened, name, escalate=escalate)))
    return opened


def given(name: str, **words: object) -> GivenFeedback:
    """One message."""
    payload = json.dumps({"id": name, **words}).encode()
    return GivenFeedback(read_feedback(payload), TOPIC, 5, payload)


def give(opened: Opened, *messages: GivenFeedback) -> None:
    """Let them come in one pass."""
    opened.commit(Unit(counts={(OWN, Count.FEEDBACK_RECEIVED): len(messages)}, feedback=messages))


def own(opened: Opened) -> dict[str, int]:
    """The device's own numbers that are not 0."""
    return {name: value for (binding, name), value in opened.store.figures().items() if binding == OWN and value}


def receipt(*applied: int, refused: Sequence[FeedbackRefusal] = ()) -> FeedbackReceipt:
    """What a hub says."""
    return FeedbackReceipt(applied, tuple(refused))


def human(name: str, seq: int, revision: int = 1, digest: str = "") -> Verdict:
    """A person's verdict."""
    return replace(verdict(name, seq, revision, digest), tier=Tier.HUMAN, models=(), confidence=1.0)


def test_feedback_is_joined_with_its_answer_and_waits_for_the_hub(tmp_path: Path) -> None:
    """With the partition, the edge's own output and the propensity; trimmed when the hub has it."""
    opened = with_answers(tmp_path, "p1")
    give(opened, given("p1", label="worn", by="anna"))
    batch = opened.store.feedback.next_batch(10)
    assert batch is not None
    assert batch.store_id == opened.store.book.hello().store_id
    (item,) = batch.items
    assert (item.seq, item.feedback.judgement, item.feedback.label) == (1, Judgement.LABEL, "worn")
    assert (item.feedback.partition, item.feedback.propensity, item.feedback.confidence) == ("a", 1.0, 0.4)
    assert item.feedback.edge_output is not None
    assert item.feedback.edge_output.to_json() == EDGE_OUTPUT
    assert own(opened)["feedback_pending"] == 1
    opened.store.feedback.settled(batch, receipt(1, 99))
    assert opened.store.feedback.next_batch(10) is None
    assert own(opened) == {"feedback_received": 1, "feedback_delivered": 1}
    assert opened.broken_equations() == []
    opened.store.close()


def test_the_edges_own_answer_is_known_after_a_revision_and_the_escalation_queue_holds_no_feedback(
    tmp_path: Path,
) -> None:
    """What the hub said in between changes neither the edge's part nor what the escalation link sends."""
    opened = with_answers(tmp_path, "p1")
    opened.store.book.answered(verdict("p1", 1)).result()
    opened.store.book.answered(human("p1", 2, revision=2)).result()
    give(opened, given("p1", right=True))
    batch = opened.store.feedback.next_batch(10)
    assert batch is not None
    feedback = batch.items[0].feedback
    assert feedback.edge_output is not None
    assert (feedback.label, feedback.edge_output.told, feedback.edge_model.pack) == (
        "worn",
        "ok",
        "bearing-edge@1.0.0",
    )
    assert opened.store.book.next_items(10, frozenset()) == []
    opened.store.book.welcomed(Welcome(1, HubIncarnation("hub-1"), (), Credit(1, 1), 0))
    assert own(opened)["feedback_pending"] == 1
    assert opened.broken_equations() == []
    opened.store.close()


def test_a_redelivered_message_is_counted_once_and_a_changed_mind_is_not_a_repeat(tmp_path: Path) -> None:
    """Only the words that came last are compared, so that the last word of a person always stands."""
    opened = with_answers(tmp_path, "p1", "p2")
    give(opened, given("p1", label="ok"), given("p1", label="ok"), given("p2", label="ok"))
    give(opened, given("p1", label="worn"), given("p1", label="ok"))
    assert own(opened) == {"feedback_received": 5, "feedback_duplicate": 1, "feedback_pending": 4}
    assert opened.broken_equations() == []
    opened.store.close()


def test_what_speaks_about_nothing_is_a_dead_letter_that_the_commit_announces(tmp_path: Path) -> None:
    """Unknown predictions, labels that the pack does not have, and nothing that could be right."""
    told: list[DeadLetter] = []
    opened = with_answers(tmp_path, "p1", announce=told.extend)
    give(opened, given("nobody", right=True), given("p1", label="flying"))
    assert own(opened) == {
        "feedback_received": 2,
        of_reason(Count.FEEDBACK_DEAD_LETTERED, "unknown_prediction"): 1,
        of_reason(Count.FEEDBACK_DEAD_LETTERED, "unknown_label"): 1,
    }
    assert [(letter.reason, letter.topic, letter.binding) for letter in told] == [
        ("unknown_prediction", TOPIC, OWN),
        ("unknown_label", TOPIC, OWN),
    ]
    assert opened.broken_equations() == []
    opened.store.close()


def test_refusals_go_by_their_status(tmp_path: Path) -> None:
    """For ever: a dead letter, and the same words may come again. For now: held back. Unmentioned: for now, too."""
    told: list[DeadLetter] = []
    opened = with_answers(tmp_path, "p1", "p2", "p3", "p4", announce=told.extend)
    give(opened, *(given(name, label="ok") for name in ("p1", "p2", "p3", "p4")))
    store = opened.store.feedback
    batch = store.next_batch(10)
    assert batch is not None
    refused = [
        FeedbackRefusal(1, Status.INVALID_ARGUMENT, "no such label"),
        FeedbackRefusal(2, Status.UNAVAILABLE, "busy"),
        FeedbackRefusal(3, Status.NOT_FOUND, "no such pack"),
        FeedbackRefusal(77, Status.INVALID_ARGUMENT, "never sent"),
    ]
    store.settled(batch, receipt(refused=refused))
    assert [(letter.reason, letter.detail) for letter in told] == [
        ("refused_by_hub", "the hub refuses it (INVALID_ARGUMENT): no such label")
    ]
    assert json.loads(told[0].payload)["label"] == "ok"
    assert store.next_batch(10) is None
    opened.clock.pass_s(1.5)
    assert [item.seq for item in (store.next_batch(10) or batch).items] == [2, 4]
    opened.clock.pass_s(30.0)
    assert [item.seq for item in (store.next_batch(2) or batch).items] == [2, 3]
    give(opened, given("p1", label="ok"))
    assert own(opened)["feedback_pending"] == 4
    assert opened.broken_equations() == []
    opened.store.close()


def test_a_full_share_refuses_the_newest_and_counts_it(tmp_path: Path) -> None:
    """Feedback evicts nothing, and what was refused may come again when there is room."""
    settings = StoreSettings(limits(64 << 10), escalation_max_age_s=3600.0, dead_letter_max_bytes=1 << 18)
    opened = with_answers(tmp_path, "p0", settings=settings)
    names = [f"p{number}" for number in range(1, 120)]
    for name in names:
        opened.commit(Unit(decided=(answer(opened, name, escalate=False),)))
    give(opened, *(given(name, label="ok") for name in names))
    figures = own(opened)
    refused = figures[of_reason(Count.FEEDBACK_EVICTED, "drop_newest")]
    assert figures["feedback_pending"] + refused == len(names)
    assert figures["feedback_pending"] >= 2
    share = 0.05 * (64 << 10)
    kept = sum(use.bytes for use in opened.store.outbox() if use.item_class is ItemClass.FEEDBACK)
    assert kept <= share + 700
    give(opened, given(names[-1], label="ok"))
    assert Count.FEEDBACK_DUPLICATE not in own(opened)
    assert opened.broken_equations() == []
    opened.store.close()


def test_feedback_survives_a_restart_with_its_number(tmp_path: Path) -> None:
    """What is committed is given to the hub under the same (store_id, seq), however often."""
    opened = with_answers(tmp_path, "p1")
    give(opened, given("p1", label="worn"))
    before = opened.store.feedback.next_batch(10)
    opened.store.close()
    again = open_store(tmp_path)
    assert again.store.feedback.next_batch(10) == before
    give(again, given("p1", label="worn"))
    assert own(again)["feedback_duplicate"] == 1
    again.store.close()


def test_a_human_verdict_without_a_digest_revises_what_was_never_escalated(tmp_path: Path) -> None:
    """A final answer becomes a revised one, tier human."""
    opened = with_answers(tmp_path, "p1", escalate=False)
    opened.store.book.answered(human("p1", 1)).result()
    (first, revision) = [json.loads(one.payload) for one in opened.store.publishable("plant", 10, ())]
    assert (first["status"], revision["status"], revision["tier"], revision["revision"]) == (
        "final",
        "revised",
        "human",
        1,
    )
    assert own(opened) == {"verdicts_received": 1, "verdicts_applied": 1}
    assert opened.broken_equations() == []
    opened.store.close()


def test_a_human_verdict_about_an_open_escalation_lets_it_go_on(tmp_path: Path) -> None:
    """The hub is still asked about the window, and its answer, being less, changes nothing any more."""
    opened = with_answers(tmp_path, "p1")
    opened.store.book.answered(human("p1", 1)).result()
    assert opened.counts()["escalations_pending{queued}"] == 1
    revised = json.loads(opened.store.publishable("plant", 10, ())[-1].payload)
    assert (revised["status"], revised["escalation"]["outcome"]) == ("revised", "queued")
    assert [item.body.prediction_id for item in opened.store.book.next_items(10, frozenset())] == ["p1"]
    opened.store.book.answered(verdict("p1", 2, revision=2)).result()
    assert opened.counts()["escalations_answered"] == 1
    newest = json.loads(opened.store.publishable("plant", 10, ())[-1].payload)
    assert (newest["tier"], newest["revision"]) == ("human", 1)
    assert own(opened) == {"verdicts_received": 2, "verdicts_applied": 1, "verdicts_unchanged": 1}
    opened.store.close()


def test_verdicts_for_nothing_known_are_counted_by_kind(tmp_path: Path) -> None:
    """Forgotten predictions, other inputs, and inputs that were never sent."""
    opened = with_answers(tmp_path, "p1")
    opened.commit(record_unit(opened.store, b"k9", answer(opened, "p2", escalate=False)))
    opened.store.book.answered(human("nobody", 1)).result()
    opened.store.book.answered(verdict("p1", 2, digest="sha256:" + "9" * 64)).result()
    opened.store.book.answered(verdict("p2", 3, digest=DIGEST)).result()
    assert own(opened) == {"verdicts_received": 3, "verdicts_forgotten": 1, "verdicts_other_input": 2}
    assert opened.broken_equations() == []
    opened.store.close()


def test_a_forgotten_prediction_takes_its_provenance_along(tmp_path: Path) -> None:
    """Nothing is left behind that would grow for ever."""
    settings = StoreSettings(limits(), 3600.0, 1 << 18, predictions_kept=1)
    opened = with_answers(tmp_path, "p1", "p2", "p3", escalate=False, settings=settings)
    opened.store.sweep()
    opened.store.close()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    assert connection.execute("SELECT prediction_id FROM provenance").fetchall() == [("p3",)]
    connection.close()


def test_a_database_of_the_first_version_is_migrated_with_its_predictions(tmp_path: Path) -> None:
    """Answers from before the update can be judged after it, but for those whose edge answer was not kept."""
    connection = schema.open_writer(tmp_path / FILE_NAME, schema.MIGRATIONS[:1])
    assert connection.execute("PRAGMA user_version").fetchone() == (1000,)
    source = with_answers(tmp_path / "other", "p1", "p2", escalate=False)
    source.store.book.answered(human("p2", 1)).result()
    source.store.close()
    other = sqlite3.connect(tmp_path / "other" / FILE_NAME)
    rows = other.execute("SELECT * FROM prediction").fetchall()
    connection.executemany("INSERT INTO prediction VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)", rows)
    other.close()
    connection.close()
    opened = open_store(tmp_path)
    give(opened, given("p1", label="worn"), given("p1", label="worn"), given("p2", label="worn"))
    assert own(opened) == {
        "feedback_received": 3,
        "feedback_pending": 1,
        "feedback_duplicate": 1,
        of_reason(Count.FEEDBACK_DEAD_LETTERED, "unknown_prediction"): 1,
    }
    batch = opened.store.feedback.next_batch(10)
    assert batch is not None
    assert batch.items[0].feedback.partition == ""
    opened.store.close()


def test_feedback_that_a_failing_disk_lost_is_counted() -> None:
    """Folded units hold no payloads; what they held is shed by its cause."""
    one = Unit(counts={(OWN, Count.FEEDBACK_RECEIVED): 1}, feedback=(given("p1", right=True),))
    assert backlog.size_bytes(one) == len(one.feedback[0].payload)
    whole = backlog.folded(one, one)
    assert whole.counts == {(OWN, Count.FEEDBACK_RECEIVED): 2, (OWN, "feedback_shed{journal_unavailable}"): 2}
    assert whole.feedback == ()


def test_the_feedback_link_is_woken_by_a_commit(tmp_path: Path) -> None:
    """It waits for news, not for a time."""
    opened = with_answers(tmp_path, "p1")
    opened.store.feedback.wait_for_feedback(0.0)
    give(opened, given("p1", right=True))
    opened.store.feedback.wait_for_feedback(60.0)
    assert opened.store.feedback.next_batch(1) is not None
    opened.store.close()
