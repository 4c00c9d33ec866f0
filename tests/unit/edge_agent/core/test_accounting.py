"""Equations of conservation."""

import json
from pathlib import Path

import jsonschema
import pytest

from edge_agent.core import accounting
from edge_agent.core.accounting import BY_REASON, DEVICE, Count, audit_document, equations, of_reason
from edge_agent.core.escalation import PENDING, TERMINAL
from edge_agent.core.window_changes import Unused

SCHEMAS = Path(accounting.__file__).parents[1] / "schemas"

GOOD = {
    ("b", Count.RECORDS_RECEIVED.value): 10,
    ("b", Count.RECORDS_JOURNALED.value): 6,
    ("b", Count.RECORDS_DUPLICATE.value): 1,
    ("b", of_reason(Count.RECORDS_DEAD_LETTERED, "malformed")): 2,
    ("b", of_reason(Count.RECORDS_SHED, "queue_full")): 1,
    ("b", Count.DECISIONS_MADE.value): 7,
    ("b", Count.DECISIONS_KEPT.value): 2,
    ("b", Count.DECISIONS_AUDITED.value): 1,
    ("b", of_reason(Count.DECISIONS_DOUBTED, "low_confidence")): 4,
    ("b", Count.AUDITS_DRAWN.value): 2,
    ("b", Count.AUDITS_ESCALATED.value): 1,
    ("b", Count.AUDITS_CREATED.value): 1,
    ("b", of_reason(Count.AUDITS_LOST, "expired")): 1,
    ("b", Count.ESCALATIONS_WANTED.value): 4,
    ("b", of_reason(Count.ESCALATIONS_SUPPRESSED_BUDGET, "calls")): 1,
    ("b", Count.ESCALATIONS_CREATED.value): 3,
    ("b", Count.ESCALATIONS_ANSWERED.value): 1,
    ("b", of_reason(Count.ESCALATIONS_PENDING, "sent")): 2,
}


def test_every_counter_is_in_an_equation() -> None:
    """A counter that nobody audits would hide a loss."""
    (empty,) = {equation.binding for equation in equations({("b", Count.WINDOWS_CLOSED.value): 0})}
    device = {count for count in Count if count.startswith(("feedback_", "verdicts_"))}
    counted = {(DEVICE if c in device else "b", of_reason(c, "r") if c in BY_REASON else c.value): 1 for c in Count}
    found = equations(counted)
    named = {term.name.partition("{")[0] for equation in found for term in (equation.left, *equation.terms)}
    assert empty == "b"
    assert named == set(Count)


def test_every_end_of_an_escalation_is_counted() -> None:
    """States of the table and names of counters are the same words."""
    assert {f"escalations_{state}" for state in TERMINAL} <= set(Count)
    assert "escalations_pending" in BY_REASON
    assert {of_reason(Count.ESCALATIONS_PENDING, state) for state in PENDING} == {
        "escalations_pending{queued}",
        "escalations_pending{sent}",
        "escalations_pending{acked}",
    }
    assert of_reason(Count.SAMPLES_UNUSED, Unused.GAP) == "samples_unused{gap}"


def test_every_term_of_a_binding_that_received_nothing_is_there() -> None:
    """A term is never left out because it is zero; one by reason stands without a reason then."""
    found = equations({}, ["idle"])
    assert {equation.name: [term.name for term in equation.terms] for equation in found} == {
        "records": ["records_journaled", "records_duplicate", "records_dead_lettered", "records_shed"],
        "samples": ["samples_used", "samples_late", "samples_out_of_range", "samples_unused", "samples_pending"],
        "windows": ["windows_inferred", "windows_skipped", "windows_pending"],
        "predictions": [
            "predictions_published",
            "predictions_expired",
            "predictions_evicted",
            "predictions_pending_publish",
            "predictions_returned",
        ],
        "decisions": ["decisions_kept", "decisions_audited", "decisions_doubted"],
        "audits drawn": ["audits_escalated", "audits_created"],
        "audits created": ["audits_agreed", "audits_disagreed", "audits_unjudged", "audits_lost", "audits_pending"],
        "revisions": ["revisions_published", "revisions_expired", "revisions_evicted", "revisions_pending_publish"],
        "alarms": ["alarms_published", "alarms_expired", "alarms_evicted", "alarms_pending_publish"],
        "escalations wanted": ["escalations_suppressed_budget", "escalations_created"],
        "escalations created": [
            "escalations_answered",
            "escalations_answered_late",
            "escalations_rejected",
            "escalations_expired",
            "escalations_evicted",
            "escalations_dead_lettered",
            "escalations_purged",
            "escalations_pending",
        ],
    }
    assert all(equation.holds and equation.right == 0 for equation in found)


def test_a_configured_binding_is_audited_once() -> None:
    """Whether something of it was counted or not, and beside one that is no longer configured."""
    found = equations(GOOD, ["b", "idle"])
    assert [equation.binding for equation in found] == ["b"] * 11 + ["idle"] * 11


def test_equations_hold_when_everything_is_somewhere() -> None:
    """Terms by reason are listed one by one."""
    found = equations(GOOD)
    assert all(equation.holds for equation in found)
    assert [term.name for term in found[0].terms] == [
        "records_journaled",
        "records_duplicate",
        "records_dead_lettered{malformed}",
        "records_shed{queue_full}",
    ]


@pytest.mark.parametrize("key", sorted(GOOD))
def test_one_thing_lost_or_counted_twice_is_seen(key: tuple[str, str]) -> None:
    """Whatever number is off by one, an equation fails."""
    assert not all(equation.holds for equation in equations({**GOOD, key: GOOD[key] + 1}))


def test_a_negative_count_does_not_hold() -> None:
    """Sums may agree by accident."""
    counts = {("b", Count.WINDOWS_INFERRED.value): 1, ("b", Count.WINDOWS_PENDING.value): -1}
    assert [equation.name for equation in equations(counts) if not equation.holds] == ["windows"]


def test_bindings_are_kept_apart() -> None:
    """One binding's surplus does not make up for the other's loss."""
    counts = {("a", Count.WINDOWS_CLOSED.value): 1, ("b", Count.WINDOWS_INFERRED.value): 1}
    assert [(e.binding, e.name) for e in equations(counts) if not e.holds] == [("a", "windows"), ("b", "windows")]


def test_the_devices_own_equations_stand_apart() -> None:
    """Feedback and verdicts belong to no binding; a binding's counter of them, or the other way, is in no equation."""
    counts = {(DEVICE, Count.FEEDBACK_RECEIVED.value): 2, (DEVICE, Count.FEEDBACK_DELIVERED.value): 2}
    found = equations(counts, ["b"])
    assert [(one.binding, one.name) for one in found[:3]] == [
        (DEVICE, "feedback"),
        (DEVICE, "verdicts"),
        ("b", "records"),
    ]
    assert found[0].to_json()["binding"] is None
    assert all(one.holds for one in found)
    for binding, name in (("b", Count.FEEDBACK_RECEIVED), (DEVICE, Count.RECORDS_RECEIVED)):
        with pytest.raises(ValueError, match="is in no equation"):
            equations({(binding, name.value): 1})


@pytest.mark.parametrize("name", ["records_lost", "records_shed", "samples_used{x}", "records_shed{x"])
def test_an_unknown_counter_is_an_error(name: str) -> None:
    """It would be counted and not audited."""
    with pytest.raises(ValueError, match="is in no equation"):
        equations({("b", name): 1})


def test_the_audit_document_fits_its_schema() -> None:
    """As `edge-agent audit --json` prints it."""
    schema = json.loads((SCHEMAS / "edge.audit.1.json").read_text())
    document = audit_document("press-07", equations(GOOD))
    jsonschema.Draft202012Validator(schema).validate(document)
    assert document["holds"]
    assert not audit_document("d", equations({("b", Count.WINDOWS_CLOSED.value): 1}))["holds"]
