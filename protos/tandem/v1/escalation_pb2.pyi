from protos.tandem.v1 import inference_pb2 as _inference_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ItemClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ITEM_CLASS_UNSPECIFIED: _ClassVar[ItemClass]
    ITEM_CLASS_ALARM: _ClassVar[ItemClass]
    ITEM_CLASS_PREDICTION: _ClassVar[ItemClass]
    ITEM_CLASS_ESCALATION: _ClassVar[ItemClass]
    ITEM_CLASS_AUDIT: _ClassVar[ItemClass]
    ITEM_CLASS_TELEMETRY: _ClassVar[ItemClass]
    ITEM_CLASS_FEEDBACK: _ClassVar[ItemClass]
ITEM_CLASS_UNSPECIFIED: ItemClass
ITEM_CLASS_ALARM: ItemClass
ITEM_CLASS_PREDICTION: ItemClass
ITEM_CLASS_ESCALATION: ItemClass
ITEM_CLASS_AUDIT: ItemClass
ITEM_CLASS_TELEMETRY: ItemClass
ITEM_CLASS_FEEDBACK: ItemClass

class EscalateRequest(_message.Message):
    __slots__ = ("hello", "item", "verdict_ack")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    VERDICT_ACK_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    item: Item
    verdict_ack: VerdictAck
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., item: _Optional[_Union[Item, _Mapping]] = ..., verdict_ack: _Optional[_Union[VerdictAck, _Mapping]] = ...) -> None: ...

class EscalateResponse(_message.Message):
    __slots__ = ("welcome", "ack", "reject", "credit", "verdict", "go_away")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    REJECT_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    GO_AWAY_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    ack: Ack
    reject: Reject
    credit: Credit
    verdict: Verdict
    go_away: GoAway
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., reject: _Optional[_Union[Reject, _Mapping]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., verdict: _Optional[_Union[Verdict, _Mapping]] = ..., go_away: _Optional[_Union[GoAway, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("wire_version", "store_id", "highest", "verdict_cursor", "hub_incarnation", "capabilities", "agent_version")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    HIGHEST_FIELD_NUMBER: _ClassVar[int]
    VERDICT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    HUB_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    store_id: str
    highest: _containers.RepeatedCompositeFieldContainer[ClassFloor]
    verdict_cursor: int
    hub_incarnation: str
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    agent_version: str
    def __init__(self, wire_version: _Optional[int] = ..., store_id: _Optional[str] = ..., highest: _Optional[_Iterable[_Union[ClassFloor, _Mapping]]] = ..., verdict_cursor: _Optional[int] = ..., hub_incarnation: _Optional[str] = ..., capabilities: _Optional[_Iterable[str]] = ..., agent_version: _Optional[str] = ...) -> None: ...

class ClassFloor(_message.Message):
    __slots__ = ("item_class", "seq")
    ITEM_CLASS_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    item_class: ItemClass
    seq: int
    def __init__(self, item_class: _Optional[_Union[ItemClass, str]] = ..., seq: _Optional[int] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("item_class", "seq", "low_water", "age_ms", "escalation")
    ITEM_CLASS_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    LOW_WATER_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    ESCALATION_FIELD_NUMBER: _ClassVar[int]
    item_class: ItemClass
    seq: int
    low_water: int
    age_ms: int
    escalation: Escalation
    def __init__(self, item_class: _Optional[_Union[ItemClass, str]] = ..., seq: _Optional[int] = ..., low_water: _Optional[int] = ..., age_ms: _Optional[int] = ..., escalation: _Optional[_Union[Escalation, _Mapping]] = ...) -> None: ...

class Escalation(_message.Message):
    __slots__ = ("prediction_id", "input_digest", "binding", "partition", "window_start_ns", "window_end_ns", "window_samples", "window_fill", "clock", "edge_model", "hub_pack", "reason", "propensity", "confidence", "edge_output", "inputs", "trace", "codec_version", "threshold", "certificate_digest", "policy_version", "group")
    PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
    INPUT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    BINDING_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    WINDOW_START_NS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_END_NS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FILL_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    EDGE_MODEL_FIELD_NUMBER: _ClassVar[int]
    HUB_PACK_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PROPENSITY_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    EDGE_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    CODEC_VERSION_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    prediction_id: str
    input_digest: str
    binding: str
    partition: str
    window_start_ns: int
    window_end_ns: int
    window_samples: int
    window_fill: float
    clock: str
    edge_model: _inference_pb2.ModelUse
    hub_pack: str
    reason: str
    propensity: float
    confidence: float
    edge_output: _inference_pb2.Output
    inputs: _containers.RepeatedCompositeFieldContainer[_inference_pb2.Tensor]
    trace: str
    codec_version: int
    threshold: float
    certificate_digest: str
    policy_version: int
    group: str
    def __init__(self, prediction_id: _Optional[str] = ..., input_digest: _Optional[str] = ..., binding: _Optional[str] = ..., partition: _Optional[str] = ..., window_start_ns: _Optional[int] = ..., window_end_ns: _Optional[int] = ..., window_samples: _Optional[int] = ..., window_fill: _Optional[float] = ..., clock: _Optional[str] = ..., edge_model: _Optional[_Union[_inference_pb2.ModelUse, _Mapping]] = ..., hub_pack: _Optional[str] = ..., reason: _Optional[str] = ..., propensity: _Optional[float] = ..., confidence: _Optional[float] = ..., edge_output: _Optional[_Union[_inference_pb2.Output, _Mapping]] = ..., inputs: _Optional[_Iterable[_Union[_inference_pb2.Tensor, _Mapping]]] = ..., trace: _Optional[str] = ..., codec_version: _Optional[int] = ..., threshold: _Optional[float] = ..., certificate_digest: _Optional[str] = ..., policy_version: _Optional[int] = ..., group: _Optional[str] = ...) -> None: ...

class VerdictAck(_message.Message):
    __slots__ = ("verdict_seq",)
    VERDICT_SEQ_FIELD_NUMBER: _ClassVar[int]
    verdict_seq: int
    def __init__(self, verdict_seq: _Optional[int] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("wire_version", "session_epoch", "hub_incarnation", "applied", "credit", "hub_time_ns")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    SESSION_EPOCH_FIELD_NUMBER: _ClassVar[int]
    HUB_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    HUB_TIME_NS_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    session_epoch: int
    hub_incarnation: str
    applied: _containers.RepeatedCompositeFieldContainer[ClassFloor]
    credit: Credit
    hub_time_ns: int
    def __init__(self, wire_version: _Optional[int] = ..., session_epoch: _Optional[int] = ..., hub_incarnation: _Optional[str] = ..., applied: _Optional[_Iterable[_Union[ClassFloor, _Mapping]]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., hub_time_ns: _Optional[int] = ...) -> None: ...

class SeqRange(_message.Message):
    __slots__ = ("first", "last")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("item_class", "ranges")
    ITEM_CLASS_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    item_class: ItemClass
    ranges: _containers.RepeatedCompositeFieldContainer[SeqRange]
    def __init__(self, item_class: _Optional[_Union[ItemClass, str]] = ..., ranges: _Optional[_Iterable[_Union[SeqRange, _Mapping]]] = ...) -> None: ...

class Reject(_message.Message):
    __slots__ = ("item_class", "seq", "status", "message", "retry_after_ms")
    ITEM_CLASS_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    item_class: ItemClass
    seq: int
    status: int
    message: str
    retry_after_ms: int
    def __init__(self, item_class: _Optional[_Union[ItemClass, str]] = ..., seq: _Optional[int] = ..., status: _Optional[int] = ..., message: _Optional[str] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("items", "bytes")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    items: int
    bytes: int
    def __init__(self, items: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("verdict_seq", "prediction_id", "input_digest", "revision", "tier", "output", "confidence", "models", "decided_at_ns", "infer_ms")
    VERDICT_SEQ_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
    INPUT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_NS_FIELD_NUMBER: _ClassVar[int]
    INFER_MS_FIELD_NUMBER: _ClassVar[int]
    verdict_seq: int
    prediction_id: str
    input_digest: str
    revision: int
    tier: str
    output: _inference_pb2.Output
    confidence: float
    models: _containers.RepeatedCompositeFieldContainer[_inference_pb2.ModelUse]
    decided_at_ns: int
    infer_ms: float
    def __init__(self, verdict_seq: _Optional[int] = ..., prediction_id: _Optional[str] = ..., input_digest: _Optional[str] = ..., revision: _Optional[int] = ..., tier: _Optional[str] = ..., output: _Optional[_Union[_inference_pb2.Output, _Mapping]] = ..., confidence: _Optional[float] = ..., models: _Optional[_Iterable[_Union[_inference_pb2.ModelUse, _Mapping]]] = ..., decided_at_ns: _Optional[int] = ..., infer_ms: _Optional[float] = ...) -> None: ...

class GoAway(_message.Message):
    __slots__ = ("reason", "retry_after_ms")
    REASON_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    reason: str
    retry_after_ms: int
    def __init__(self, reason: _Optional[str] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...
