"""Feedback passes through the pipeline like a record: read or buried, handed to the store, and acknowledged with it."""

import json
from typing import cast

from edge_agent.core.accounting import DEVICE, Count, equations
from edge_agent.inference.draft import Draft
from edge_agent.inference.feedback_lane import FeedbackLane
from edge_agent.inference.lane import DECODER
from edge_agent.ports import AckHandle, BindingName, Delivery

TOPIC = "edge/press-07/feedback"
ACK = AckHandle("plant", 1, 7, 1)


def delivery(payload: bytes, ack: AckHandle | None = ACK) -> Delivery:
    """A message as it arrives."""
    return Delivery(BindingName(DEVICE), TOPIC, payload, False, 5, ack)


def passed(*payloads: bytes) -> Draft:
    """A pass with these."""
    draft, lane = Draft(), FeedbackLane(lambda _: None)
    lane.restore(0.0)
    for payload in payloads:
        lane.accept(delivery(payload), 0.0, draft)
    lane.tick(0.0, 0, draft)
    lane.answer(draft, is_durable=True)
    return draft


def test_feedback_is_handed_to_the_store_with_its_ack() -> None:
    """It is acknowledged after the commit that keeps it, and counted by it."""
    payload = json.dumps({"id": "p1", "label": "idle"}).encode()
    unit = passed(payload).unit()
    assert unit is not None
    (given,) = unit.feedback
    assert (given.said.label, given.topic, given.received_ns, given.payload) == ("idle", TOPIC, 5, payload)
    assert unit.acks == (ACK,)
    assert unit.counts == {(DEVICE, Count.FEEDBACK_RECEIVED): 1}


def test_what_is_no_feedback_is_buried_and_acknowledged_all_the_same() -> None:
    """A message that can never be used must not come again."""
    draft = passed(b"right", b"{}")
    assert [letter.reason for letter in draft.dead_letters] == ["malformed", "missing_field"]
    assert draft.acks == [ACK, ACK]
    counts = {(str(binding), name): amount for (binding, name), amount in draft.counts.items()}
    assert all(one.holds for one in equations(counts))


def test_messages_that_were_never_looked_at_are_counted() -> None:
    """A full queue sheds feedback, too."""
    draft = Draft()
    FeedbackLane(lambda _: None).shed("queue_full", 3, draft)
    assert draft.counts == {(DEVICE, "feedback_received"): 3, (DEVICE, "feedback_shed{queue_full}"): 3}


def test_a_message_at_qos_0_has_nothing_to_acknowledge() -> None:
    """And counts as any other."""
    draft = Draft()
    FeedbackLane(lambda _: None).accept(delivery(b"", None), 0.0, draft)
    assert draft.acks == []
    assert draft.counts[BindingName(DEVICE), Count.FEEDBACK_RECEIVED] == 1


def test_a_fault_of_the_reader_is_the_agents_own() -> None:
    """The message is a dead letter, the failure is told, and the flow goes on."""
    failures: list[str] = []
    draft = Draft()
    FeedbackLane(failures.append).accept(delivery(cast("bytes", None)), 0.0, draft)
    assert [letter.reason for letter in draft.dead_letters] == ["decoder_failed"]
    assert failures == [DECODER]
