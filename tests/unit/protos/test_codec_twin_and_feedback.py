"""The twin and the feedback cross the wire as they were, and what a peer breaks is named by field."""

from dataclasses import replace

import pytest

from protos.codec import feedback, fleet
from protos.codec.errors import CodecError
from protos.messages.feedback import FeedbackBatch, FeedbackReceipt, FeedbackRefusal, Judgement
from protos.messages.fleet import Desired, DesiredSlot, Heartbeat
from protos.status import Status
from protos.tandem.v1 import feedback_pb2, fleet_pb2
from tests.contract.wire_examples import EXAMPLES

BATCH = EXAMPLES["feedback_batch"][1]
TWIN = EXAMPLES["fleet_heartbeat_with_twin"][1]


def _wire_batch() -> feedback_pb2.FeedbackBatch:
    assert isinstance(BATCH, FeedbackBatch)
    return feedback.batch_to_wire(BATCH)


def _wire_twin() -> fleet_pb2.DeviceReport:
    assert isinstance(TWIN, Heartbeat)
    return fleet.report_to_wire(TWIN)


def test_a_twin_survives_the_wire_with_and_without_a_failure() -> None:
    """A slot that never failed and one that did are told apart."""
    assert isinstance(TWIN, Heartbeat)
    whole = replace(TWIN, slots=(replace(TWIN.slots[0], failure=None, previous_pack=None),))
    for report in (TWIN, whole):
        assert fleet.report_from_wire(fleet.report_to_wire(report)) == report


def test_a_desire_survives_the_wire_and_has_a_version() -> None:
    """Version 0 means that nothing is desired yet, so it is never sent."""
    desired = Desired(7, (DesiredSlot("motion", "a@1.0.0", "sha256:1"), DesiredSlot("digits", "b@1.0.0", "sha256:2")))
    assert fleet.directive_from_wire(fleet.directive_to_wire(desired)) == desired
    with pytest.raises(CodecError, match=r"desired\.version"):
        fleet.directive_from_wire(fleet_pb2.HubDirective(desired=fleet_pb2.Desired()))


@pytest.mark.parametrize(
    ("field", "name"), [("state", "slots[0].state"), ("phase", "slots[0].phase"), ("action", "slots[0].failure.action")]
)
def test_an_unknown_word_of_the_twin_names_its_field(field: str, name: str) -> None:
    """A word that this program does not know is refused, not guessed."""
    wire = _wire_twin()
    slot = wire.heartbeat.slots[0]
    setattr(slot.failure if field == "action" else slot, field, "someday")
    with pytest.raises(CodecError) as caught:
        fleet.report_from_wire(wire)
    assert name in str(caught.value)


@pytest.mark.parametrize("field", ["slots", "bindings"])
def test_a_heartbeat_of_too_many_entries_is_refused_by_name(field: str) -> None:
    """It is stored and compared as a whole, so it is bounded."""
    wire = _wire_twin()
    entries = getattr(wire.heartbeat, field)
    entries.extend([entries[0]] * (fleet.MAX_SLOTS - len(entries)))
    fleet.report_from_wire(wire)
    entries.append(entries[0])
    with pytest.raises(CodecError, match=rf"heartbeat\.{field}: 257 entries, wanted at most 256"):
        fleet.report_from_wire(wire)


@pytest.mark.parametrize("p95_ms", [float("nan"), float("inf"), -1.0])
def test_an_impossible_latency_is_refused(p95_ms: float) -> None:
    """What is shown to people is a time."""
    wire = _wire_twin()
    wire.heartbeat.bindings[0].answer_p95_ms = p95_ms
    with pytest.raises(CodecError, match="answer_p95_ms"):
        fleet.report_from_wire(wire)


@pytest.mark.parametrize(
    ("broken", "field"),
    [
        ({"prediction_id": ""}, "prediction_id"),
        ({"judgement": "maybe"}, "judgement"),
        ({"label": ""}, "label"),
        ({"judgement": "wrong"}, "label"),
        ({"confidence": 1.5}, "confidence"),
        ({"propensity": float("nan")}, "propensity"),
    ],
)
def test_broken_feedback_names_its_field(broken: dict[str, str | float], field: str) -> None:
    """A judgement that cannot be what it says is refused by the field that is wrong."""
    wire = _wire_batch()
    for name, value in broken.items():
        setattr(wire.items[0].feedback, name, value)
    with pytest.raises(CodecError) as caught:
        feedback.batch_from_wire(wire)
    assert caught.value.field == f"items[0].feedback.{field}"


def test_a_batch_needs_a_store_and_numbered_items() -> None:
    """Without them an item could not be applied once."""
    nameless, empty, unnumbered = _wire_batch(), _wire_batch(), _wire_batch()
    nameless.store_id = ""
    del empty.items[:]
    unnumbered.items[0].seq = 0
    for wire, field in ((nameless, "store_id"), (empty, "items"), (unnumbered, "items[0].seq")):
        with pytest.raises(CodecError) as caught:
            feedback.batch_from_wire(wire)
        assert caught.value.field == field


def test_feedback_rests_as_bytes_that_are_read_back() -> None:
    """What lies in the outbox is what was given."""
    assert isinstance(BATCH, FeedbackBatch)
    one = BATCH.items[0].feedback
    wrong = replace(one, judgement=Judgement.WRONG, label="")
    for given in (one, wrong):
        assert feedback.feedback_from_bytes(feedback.feedback_to_bytes(given)) == given
    with pytest.raises(CodecError, match="not a judgement"):
        feedback.feedback_from_bytes(b"\xff\xff\xff")


def test_a_receipt_of_a_newer_hub_is_read() -> None:
    """A status that this program does not know is no reason to lose the receipt."""
    receipt = FeedbackReceipt((1,), (FeedbackRefusal(2, Status.INVALID_ARGUMENT, "no such class"),))
    wire = feedback.receipt_to_wire(receipt)
    assert feedback.receipt_from_wire(wire) == receipt
    wire.refused[0].status = 99
    assert feedback.receipt_from_wire(wire).refused[0].status is Status.UNKNOWN
