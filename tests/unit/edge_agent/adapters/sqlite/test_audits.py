"""What becomes of audited answers, and that each policy's totals say it."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.adapters.sqlite.backlog import as_one
from edge_agent.adapters.sqlite.policy_totals import PolicyTotals, read_totals
from edge_agent.adapters.sqlite.reading import Reader
from edge_agent.adapters.sqlite.store import FILE_NAME
from edge_agent.core.escalation import Move
from edge_agent.ports import Decided, Unit
from model_packs.outputs import Classification
from protos.messages.escalation import Ack, ItemClass, PredictionId, Reason, Verdict
from protos.messages.inference import Tier
from tests.unit.edge_agent.adapters.sqlite.builders import Opened, audited, decided, open_store, verdict

AGREES = Classification("ok", {"ok": 0.9, "worn": 0.1})


def totals(folder: Path) -> PolicyTotals:
    """The one policy's."""
    reader = Reader(folder / FILE_NAME)
    reader.open()
    (found,) = read_totals(reader)
    reader.close()
    return found


def with_audit(folder: Path) -> Opened:
    """A store with one audit, p1, that the hub has."""
    opened = open_store(folder)
    opened.commit(Unit(decided=(audited(opened.store, "p1"),)))
    book = opened.store.book
    book.sent([(ItemClass.AUDIT, 1)])
    book.acked(Ack(ItemClass.AUDIT, ((1, 1),)))
    return opened


@pytest.mark.parametrize(
    ("answer", "name", "messages"),
    [
        (replace(verdict("p1", 1), output=AGREES), "audits_agreed", 1),
        (verdict("p1", 1), "audits_disagreed", 2),
        (replace(verdict("p1", 1), output=None), "audits_unjudged", 1),
        (replace(verdict("p1", 1, digest=""), tier=Tier.HUMAN, output=AGREES), "audits_agreed", 2),
    ],
)
def test_only_a_disagreeing_hub_or_a_person_revises_an_audited_answer(
    tmp_path: Path, answer: Verdict, name: str, messages: int
) -> None:
    """The audit ends either way, and both the device's books and the policy's totals know it."""
    opened = with_audit(tmp_path)
    assert (totals(tmp_path).audits_drawn, totals(tmp_path).audits_open) == (1, 1)
    opened.store.book.answered(answer).result()
    assert opened.counts()[name] == 1
    assert "escalations_wanted" not in opened.counts()
    assert len(opened.store.publishable("plant", 10, ())) == messages
    assert (totals(tmp_path).audits_answered, totals(tmp_path).audits_open) == (1, 0)
    assert opened.broken_equations() == []
    opened.store.close()


def test_the_end_of_an_audit_is_kept_in_its_event_without_a_message(tmp_path: Path) -> None:
    """Who looks the prediction up sees that it was checked."""
    opened = with_audit(tmp_path)
    opened.store.book.answered(replace(verdict("p1", 1), output=AGREES)).result()
    reader = Reader(tmp_path / FILE_NAME)
    reader.open()
    with reader.transaction() as read:
        ((text,),) = read("SELECT event FROM prediction WHERE id = 'p1'")
    reader.close()
    assert json.loads(text)["escalation"] == {
        "reason": "audit",
        "outcome": "answered",
        "propensity": 0.1,
        "policy_version": 2,
    }
    opened.store.close()


def test_a_lost_audit_is_counted_and_a_late_answer_takes_that_back(tmp_path: Path) -> None:
    """Lost ones are a bias of the sample: they are never forgotten, and never counted twice."""
    opened = open_store(tmp_path)
    opened.commit(Unit(decided=(audited(opened.store, "p1"), audited(opened.store, "p2"))))
    opened.clock.pass_s(4000.0)
    opened.store.sweep()
    assert opened.counts()["audits_lost{expired}"] == 2
    assert totals(tmp_path).audits_lost == 2
    assert len(opened.store.publishable("plant", 10, ())) == 2, "nothing is told: both answers were final"
    opened.store.book.answered(verdict("p1", 1)).result()
    assert (opened.counts()["audits_lost{expired}"], opened.counts()["audits_disagreed"]) == (1, 1)
    assert (totals(tmp_path).audits_lost, totals(tmp_path).audits_answered) == (1, 1)
    assert opened.broken_equations() == []
    opened.store.close()


def test_the_same_prediction_again_is_drawn_once(tmp_path: Path) -> None:
    """A redelivered record repeats the id, the draw and nothing else."""
    opened = open_store(tmp_path)
    for _ in range(2):
        opened.commit(Unit(decided=(audited(opened.store, "p1"),)))
    assert (opened.counts()["audits_drawn"], opened.counts()["audits_created"]) == (1, 1)
    assert (totals(tmp_path).decided, totals(tmp_path).audits_drawn) == (1, 1)
    assert opened.broken_equations() == []
    opened.store.close()


def test_totals_tell_kept_escalated_and_suppressed_apart(tmp_path: Path) -> None:
    """Each decision adds to exactly one of them."""
    opened = open_store(tmp_path)
    use = audited(opened.store, "x").decided_by
    assert use is not None
    asked = replace(decided(opened.store, "p1"), decided_by=replace(use, is_kept=False))
    short = replace(decided(opened.store, "p2", escalate=False), decided_by=replace(use, is_kept=False, is_short=True))
    drawn = replace(decided(opened.store, "p3"), decided_by=replace(use, is_kept=False, is_short=True))
    opened.commit(Unit(decided=(asked, short, drawn, audited(opened.store, "p4"))))
    found = totals(tmp_path)
    assert (found.decided, found.kept, found.escalated, found.suppressed, found.suppressed_asked) == (4, 1, 2, 1, 1)
    assert (found.version, found.threshold, found.audit_rate) == (2, 0.9, 0.1)
    opened.store.close()


def doubted(opened: Opened, name: str, propensity: float) -> Decided:
    """An escalation of the policy; with a propensity below 1, one that only the lottery got past the budget."""
    sample = audited(opened.store, name, propensity=propensity)
    event = json.loads(sample.publish.payload) | {"status": "provisional"}
    event["escalation"]["reason"] = "low_confidence"
    assert sample.escalate is not None
    assert sample.decided_by is not None
    return replace(
        sample,
        status="provisional",
        publish=replace(sample.publish, payload=json.dumps(event).encode()),
        escalate=replace(sample.escalate, reason=Reason.LOW_CONFIDENCE),
        escalate_class=ItemClass.ESCALATION,
        decided_by=replace(sample.decided_by, is_kept=False, is_short=propensity < 1.0),
    )


def outcomes(folder: Path) -> tuple[int, int, int, int, int]:
    """What a policy's questions came to."""
    found = totals(folder)
    return found.answered, found.corrected, found.sampled, found.sampled_wrong, found.unanswered


def test_totals_tell_what_questions_bought_and_what_nobody_answered(tmp_path: Path) -> None:
    """Corrections of what was asked for sure, and of the sample of what was not, are never mixed."""
    opened = open_store(tmp_path)
    opened.commit(Unit(decided=tuple(doubted(opened, name, 1.0) for name in ("p1", "p2", "p3", "p4"))))
    opened.commit(Unit(decided=tuple(doubted(opened, name, 0.1) for name in ("s1", "s2", "s3"))))
    book = opened.store.book
    book.answered(verdict("p1", 1)).result()
    book.answered(replace(verdict("p2", 2), output=AGREES)).result()
    book.answered(verdict("s1", 3)).result()
    book.answered(replace(verdict("s2", 4), output=AGREES)).result()
    assert outcomes(tmp_path) == (2, 1, 2, 1, 0)
    opened.clock.pass_s(4000.0)
    opened.store.sweep()
    assert outcomes(tmp_path) == (2, 1, 2, 1, 3), "p3, p4 and s3 have expired"
    book.answered(verdict("p3", 5)).result()
    book.answered(verdict("s3", 6)).result()
    book.answered(verdict("s3", 6)).result()
    assert outcomes(tmp_path) == (3, 2, 3, 2, 1), "a late answer takes back that there was none, once"
    assert opened.broken_equations() == []
    opened.store.close()


def test_a_first_answer_where_the_edge_had_none_is_a_correction(tmp_path: Path) -> None:
    """An input without a score is worth a question; nothing can be compared with it."""
    opened = open_store(tmp_path)
    for name, propensity in (("p1", 1.0), ("s1", 0.1)):
        one = doubted(opened, name, propensity)
        event = json.loads(one.publish.payload) | {"output": None}
        blind = replace(one, publish=replace(one.publish, payload=json.dumps(event).encode()))
        opened.commit(Unit(decided=(blind,)))
    opened.store.book.answered(verdict("p1", 1)).result()
    opened.store.book.answered(verdict("s1", 2)).result()
    assert outcomes(tmp_path) == (1, 1, 0, 0, 0)
    opened.store.close()


def test_audits_that_could_never_be_written_are_lost_and_counted(tmp_path: Path) -> None:
    """A disk that fails cannot make the sample look whole."""
    opened = open_store(tmp_path)
    opened.commit(as_one([Unit(decided=(audited(opened.store, "p1"), decided(opened.store, "p2")))]))
    assert opened.counts()["audits_lost{journal_unavailable}"] == 1
    assert opened.broken_equations() == []
    opened.store.close()


def test_a_person_may_purge_an_audit(tmp_path: Path) -> None:
    """It counts as lost by that name."""
    opened = open_store(tmp_path)
    opened.commit(Unit(decided=(audited(opened.store, "p1"),)))
    opened.store._writer.call(lambda tx: opened.store._fates.end(tx, PredictionId("p1"), Move.PURGE))
    assert opened.counts()["audits_lost{purged}"] == 1
    assert opened.broken_equations() == []
    opened.store.close()


def test_the_secret_of_the_lottery_lives_as_long_as_the_file(tmp_path: Path) -> None:
    """A restart draws the same windows; another device draws others."""
    opened = open_store(tmp_path)
    key = opened.store.audit_key
    opened.store.close()
    again = open_store(tmp_path)
    assert again.store.audit_key == key
    again.store.close()
    other = open_store(tmp_path / "other")
    assert other.store.audit_key != key
    other.store.close()


def test_a_late_answer_takes_back_no_end_that_was_never_added(tmp_path: Path) -> None:
    """An older program let the question expire; the hub would take no report with a number below 0."""
    opened = open_store(tmp_path)
    opened.commit(Unit(decided=(doubted(opened, "p1", 1.0), doubted(opened, "p2", 1.0))))
    opened.clock.pass_s(4000.0)
    opened.store.sweep()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:  # as the migration finds it
        connection.execute("DELETE FROM policy_outcome")
    connection.close()
    for seq, name in enumerate(("p1", "p2"), start=1):
        opened.store.book.answered(verdict(name, seq)).result()
        assert outcomes(tmp_path) == (seq, seq, 0, 0, 0)
    opened.store.close()
