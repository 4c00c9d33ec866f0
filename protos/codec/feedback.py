"""Feedback between its frozen values and its generated classes, and one judgement as bytes at rest."""

import math

from google.protobuf.message import DecodeError

from protos.codec.errors import CodecError
from protos.codec.inference import model_from_wire, model_to_wire, output_from_wire, output_to_wire
from protos.messages.escalation import PredictionId, StoreId
from protos.messages.feedback import (
    Feedback,
    FeedbackBatch,
    FeedbackItem,
    FeedbackReceipt,
    FeedbackRefusal,
    Judgement,
)
from protos.status import Status
from protos.tandem.v1 import feedback_pb2 as pb

MAX_BATCH = 256


def batch_to_wire(batch: FeedbackBatch) -> pb.FeedbackBatch:
    """What a device delivers in one call."""
    items = [pb.FeedbackItem(seq=item.seq, feedback=_feedback_to_wire(item.feedback)) for item in batch.items]
    return pb.FeedbackBatch(store_id=batch.store_id, items=items)


def batch_from_wire(wire: pb.FeedbackBatch) -> FeedbackBatch:
    """What a device delivers in one call.

    Raises:
        CodecError: A field is missing or cannot be what it says.
    """
    if not wire.store_id:
        raise CodecError("store_id", "is empty")
    if not 1 <= len(wire.items) <= MAX_BATCH:
        raise CodecError("items", f"{len(wire.items)} items, wanted 1 to {MAX_BATCH}")
    items = []
    for index, one in enumerate(wire.items):
        if one.seq == 0:
            raise CodecError(f"items[{index}].seq", "is 0; sequences start at 1")
        items.append(FeedbackItem(one.seq, _feedback_from_wire(one.feedback, f"items[{index}].feedback")))
    return FeedbackBatch(StoreId(wire.store_id), tuple(items))


def receipt_to_wire(receipt: FeedbackReceipt) -> pb.FeedbackReceipt:
    """What the hub made of a batch."""
    refused = [pb.FeedbackRefusal(seq=one.seq, status=one.status.value, message=one.message) for one in receipt.refused]
    return pb.FeedbackReceipt(applied=receipt.applied, refused=refused)


def receipt_from_wire(wire: pb.FeedbackReceipt) -> FeedbackReceipt:
    """What the hub made of a batch; a status that is not known here is UNKNOWN."""
    known = {status.value for status in Status}
    refused = tuple(
        FeedbackRefusal(one.seq, Status(one.status) if one.status in known else Status.UNKNOWN, one.message)
        for one in wire.refused
    )
    return FeedbackReceipt(tuple(wire.applied), refused)


def feedback_to_bytes(feedback: Feedback) -> bytes:
    """The judgement as it rests in the device's outbox."""
    return _feedback_to_wire(feedback).SerializeToString(deterministic=True)


def feedback_from_bytes(data: bytes) -> Feedback:
    """Read what `feedback_to_bytes` wrote.

    Raises:
        CodecError: The bytes are not a judgement.
    """
    try:
        wire = pb.Feedback.FromString(data)
    except DecodeError as exc:
        raise CodecError("feedback", "the bytes are not a judgement") from exc
    return _feedback_from_wire(wire, "feedback")


def _feedback_to_wire(feedback: Feedback) -> pb.Feedback:
    return pb.Feedback(
        prediction_id=feedback.prediction_id,
        judgement=feedback.judgement.value,
        label=feedback.label,
        given_by=feedback.given_by,
        note=feedback.note,
        given_at_ns=feedback.given_at_ns,
        binding=feedback.binding,
        partition=feedback.partition,
        window_start_ns=feedback.window_start_ns,
        window_end_ns=feedback.window_end_ns,
        edge_model=model_to_wire(feedback.edge_model),
        edge_output=output_to_wire(feedback.edge_output),
        confidence=feedback.confidence,
        propensity=feedback.propensity,
        codec_version=feedback.codec_version,
    )


def _feedback_from_wire(wire: pb.Feedback, field: str) -> Feedback:
    if not wire.prediction_id:
        raise CodecError(f"{field}.prediction_id", "is empty")
    try:
        judgement = Judgement(wire.judgement)
    except ValueError as exc:
        raise CodecError(f"{field}.judgement", f"{wire.judgement[:64]!r} is unknown") from exc
    if bool(wire.label) is (judgement is Judgement.WRONG):
        raise CodecError(f"{field}.label", f"{wire.label[:64]!r} does not go with {judgement.value!r}")
    for name, value in (("confidence", wire.confidence), ("propensity", wire.propensity)):
        if not (math.isfinite(value) and 0.0 <= value <= 1.0):
            raise CodecError(f"{field}.{name}", f"{value} is not between 0 and 1")
    return Feedback(
        prediction_id=PredictionId(wire.prediction_id),
        judgement=judgement,
        label=wire.label,
        given_by=wire.given_by,
        note=wire.note,
        given_at_ns=wire.given_at_ns,
        binding=wire.binding,
        partition=wire.partition,
        window_start_ns=wire.window_start_ns,
        window_end_ns=wire.window_end_ns,
        edge_model=model_from_wire(wire.edge_model, f"{field}.edge_model"),
        edge_output=output_from_wire(wire.edge_output, f"{field}.edge_output"),
        confidence=wire.confidence,
        propensity=wire.propensity,
        codec_version=wire.codec_version,
    )
