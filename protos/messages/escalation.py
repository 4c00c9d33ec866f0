"""The words of the escalation stream as frozen values; the generated classes stop at `protos.codec`."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NewType

from model_packs.outputs import Output
from model_packs.tensors import Tensor
from protos.messages.inference import ModelUse, Tier
from protos.status import Status

PredictionId = NewType("PredictionId", str)
StoreId = NewType("StoreId", str)
HubIncarnation = NewType("HubIncarnation", str)

WIRE_VERSION = 1


class ItemClass(IntEnum):
    """Classes of items that a device delivers; each has its own sequence and its own share of the outbox."""

    ALARM = 1
    PREDICTION = 2
    ESCALATION = 3
    AUDIT = 4
    TELEMETRY = 5
    FEEDBACK = 6


class Reason(StrEnum):
    """Why a window was escalated."""

    LOW_CONFIDENCE = "low_confidence"
    UNSCORABLE = "unscorable"
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    CLASS_RULE = "class_rule"
    AUDIT = "audit"
    FORCED = "forced"


@dataclass(frozen=True, slots=True)
class Escalation:
    """One window that the device asks the hub about.

    Attributes:
        window_start_ns: Inclusive start, Unix epoch, UTC.
        window_end_ns: Exclusive end, Unix epoch, UTC.
        window_samples: Samples that the model input holds.
        window_fill: Real samples / expected samples, 0..1.
        clock: "synced" or "unsynced": whether the device's clock was synchronised.
        hub_pack: name@version of the full model that the edge pack names.
        propensity: Probability with which this window was chosen for the hub; 1.0 when the policy chose it.
        confidence: Calibrated confidence of the edge answer, 0..1; 0.0 when it could not be scored.
        edge_output: The edge's answer; None when the window could not be scored.
        inputs: Model inputs, batch axis included (1, ...).
        threshold: The policy's threshold; None when the policy escalates everything.
        policy_version: Of the policy that decided; 0: the pack's own.
        group: What the edge answered, where the groups of a certificate are watched apart; empty: it could not answer.
    """

    prediction_id: PredictionId
    input_digest: str
    binding: str
    partition: str
    window_start_ns: int
    window_end_ns: int
    window_samples: int
    window_fill: float
    clock: str
    edge_model: ModelUse
    hub_pack: str
    reason: Reason
    propensity: float
    confidence: float
    edge_output: Output | None
    inputs: tuple[Tensor, ...]
    trace: str
    codec_version: int = 1
    threshold: float | None = None
    certificate_digest: str = ""
    policy_version: int = 0
    group: str = ""


EARLY_VERDICTS = "early_verdicts"
"""Capability of a device: it takes verdicts that are not logged yet."""

NOT_LOGGED = 0
"""The `verdict_seq` of one."""


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of a stream: who holds the data, how far it got, and where its verdict cursor stands."""

    store_id: StoreId
    highest: tuple[tuple[ItemClass, int], ...]
    verdict_cursor: int
    hub_incarnation: HubIncarnation | None
    agent_version: str
    capabilities: tuple[str, ...] = ()
    wire_version: int = WIRE_VERSION


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to deliver, known by (store_id, item_class, seq); `age_ms` is None when the age is not known."""

    item_class: ItemClass
    seq: int
    low_water: int
    age_ms: int | None
    body: Escalation


@dataclass(frozen=True, slots=True)
class VerdictAck:
    """Every verdict up to `verdict_seq` is durable on the device."""

    verdict_seq: int


@dataclass(frozen=True, slots=True)
class Credit:
    """How many items and bytes may be unacknowledged on the stream."""

    items: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Welcome:
    """The hub's answer to `Hello`; `session_epoch` fences older streams of the device."""

    session_epoch: int
    hub_incarnation: HubIncarnation
    applied: tuple[tuple[ItemClass, int], ...]
    credit: Credit
    hub_time_ns: int
    wire_version: int = WIRE_VERSION


@dataclass(frozen=True, slots=True)
class Ack:
    """These items are durable at the hub; ranges are inclusive (first, last)."""

    item_class: ItemClass
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Reject:
    """This item was not applied; `protos.status` says whether to try again."""

    item_class: ItemClass
    seq: int
    status: Status
    message: str
    retry_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """A later, better answer, at its place in the device's verdict log.

    Attributes:
        verdict_seq: From 1; `NOT_LOGGED`: said before it was logged, to a device that takes `EARLY_VERDICTS`, for those
            who wait. It is neither kept nor acknowledged; the log says for good what the answer is.
        input_digest: Of the window that was judged; empty when it was never at the hub (an operator's correction).
        output: None when the full model could not score the window either.
        decided_at_ns: Hub wall clock, Unix epoch, UTC.
        infer_ms: Time of the full model's run for the batch that held the window.
    """

    verdict_seq: int
    prediction_id: PredictionId
    input_digest: str
    revision: int
    tier: Tier
    output: Output | None
    confidence: float
    models: tuple[ModelUse, ...]
    decided_at_ns: int
    infer_ms: float


@dataclass(frozen=True, slots=True)
class GoAway:
    """The hub ends this stream; the device opens a new one after `retry_after_ms`."""

    reason: str
    retry_after_ms: int = 0


EscalateRequest = Hello | Item | VerdictAck
EscalateResponse = Welcome | Ack | Reject | Credit | Verdict | GoAway
