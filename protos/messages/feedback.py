"""What people at a device say about its answers, as frozen values."""

from dataclasses import dataclass
from enum import StrEnum

from model_packs.outputs import Output
from protos.messages.escalation import PredictionId, StoreId
from protos.messages.inference import ModelUse
from protos.status import Status


class Judgement(StrEnum):
    """What a person says about an answer."""

    RIGHT = "right"
    WRONG = "wrong"
    LABEL = "label"


@dataclass(frozen=True, slots=True)
class Feedback:
    """One judgement with what the device knew about the answer.

    Attributes:
        label: With `LABEL` the class; with `RIGHT` the class that was confirmed; empty with `WRONG`.
        given_by: As the operator's panel wrote it; the device itself is known from its certificate.
        given_at_ns: Device wall clock, Unix epoch, UTC.
        edge_output: The edge's own answer; None when the window could not be scored.
        confidence: Of the edge's own answer, 0..1.
        propensity: Probability with which the window was chosen for the hub, 0..1; 0 when it was not sent.
    """

    prediction_id: PredictionId
    judgement: Judgement
    label: str
    given_by: str
    note: str
    given_at_ns: int
    binding: str
    partition: str
    window_start_ns: int
    window_end_ns: int
    edge_model: ModelUse
    edge_output: Output | None
    confidence: float
    propensity: float
    codec_version: int = 1


@dataclass(frozen=True, slots=True)
class FeedbackItem:
    """One judgement at its place in the device's sequence; applied once by (store_id, seq)."""

    seq: int
    feedback: Feedback


@dataclass(frozen=True, slots=True)
class FeedbackBatch:
    """What a device delivers in one call."""

    store_id: StoreId
    items: tuple[FeedbackItem, ...]


@dataclass(frozen=True, slots=True)
class FeedbackRefusal:
    """This item was not applied; `protos.status` says whether to try again."""

    seq: int
    status: Status
    message: str


@dataclass(frozen=True, slots=True)
class FeedbackReceipt:
    """Every item of the batch is in exactly one of the two."""

    applied: tuple[int, ...]
    refused: tuple[FeedbackRefusal, ...]
