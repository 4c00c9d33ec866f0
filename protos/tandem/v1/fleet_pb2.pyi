from protos.tandem.v1 import inference_pb2 as _inference_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeviceReport(_message.Message):
    __slots__ = ("hello", "heartbeat")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    hello: DeviceHello
    heartbeat: Heartbeat
    def __init__(self, hello: _Optional[_Union[DeviceHello, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ...) -> None: ...

class HubDirective(_message.Message):
    __slots__ = ("welcome", "heartbeat_ack", "desired")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_ACK_FIELD_NUMBER: _ClassVar[int]
    DESIRED_FIELD_NUMBER: _ClassVar[int]
    welcome: FleetWelcome
    heartbeat_ack: HeartbeatAck
    desired: Desired
    def __init__(self, welcome: _Optional[_Union[FleetWelcome, _Mapping]] = ..., heartbeat_ack: _Optional[_Union[HeartbeatAck, _Mapping]] = ..., desired: _Optional[_Union[Desired, _Mapping]] = ...) -> None: ...

class DeviceHello(_message.Message):
    __slots__ = ("wire_version", "agent_version", "store_id", "capabilities")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    agent_version: str
    store_id: str
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, wire_version: _Optional[int] = ..., agent_version: _Optional[str] = ..., store_id: _Optional[str] = ..., capabilities: _Optional[_Iterable[str]] = ...) -> None: ...

class FleetWelcome(_message.Message):
    __slots__ = ("wire_version", "heartbeat_interval_ms", "hub_time_ns", "hub_incarnation")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    HUB_TIME_NS_FIELD_NUMBER: _ClassVar[int]
    HUB_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    heartbeat_interval_ms: int
    hub_time_ns: int
    hub_incarnation: str
    def __init__(self, wire_version: _Optional[int] = ..., heartbeat_interval_ms: _Optional[int] = ..., hub_time_ns: _Optional[int] = ..., hub_incarnation: _Optional[str] = ...) -> None: ...

class BindingReport(_message.Message):
    __slots__ = ("binding", "model", "decided", "escalated", "answered", "certificate_state", "answer_p95_ms")
    BINDING_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FIELD_NUMBER: _ClassVar[int]
    ESCALATED_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_STATE_FIELD_NUMBER: _ClassVar[int]
    ANSWER_P95_MS_FIELD_NUMBER: _ClassVar[int]
    binding: str
    model: _inference_pb2.ModelUse
    decided: int
    escalated: int
    answered: int
    certificate_state: str
    answer_p95_ms: float
    def __init__(self, binding: _Optional[str] = ..., model: _Optional[_Union[_inference_pb2.ModelUse, _Mapping]] = ..., decided: _Optional[int] = ..., escalated: _Optional[int] = ..., answered: _Optional[int] = ..., certificate_state: _Optional[str] = ..., answer_p95_ms: _Optional[float] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("number", "device_time_ns", "state", "problems", "outbox_bytes", "outbox_items", "outbox_oldest_age_ms", "bindings", "desired_version", "slots", "policies", "drift", "budget")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    DEVICE_TIME_NS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_BYTES_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_ITEMS_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_OLDEST_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    BINDINGS_FIELD_NUMBER: _ClassVar[int]
    DESIRED_VERSION_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    DRIFT_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    number: int
    device_time_ns: int
    state: str
    problems: _containers.RepeatedScalarFieldContainer[str]
    outbox_bytes: int
    outbox_items: int
    outbox_oldest_age_ms: int
    bindings: _containers.RepeatedCompositeFieldContainer[BindingReport]
    desired_version: int
    slots: _containers.RepeatedCompositeFieldContainer[SlotReport]
    policies: _containers.RepeatedCompositeFieldContainer[PolicyReport]
    drift: _containers.RepeatedCompositeFieldContainer[DriftReport]
    budget: _containers.RepeatedCompositeFieldContainer[BudgetReport]
    def __init__(self, number: _Optional[int] = ..., device_time_ns: _Optional[int] = ..., state: _Optional[str] = ..., problems: _Optional[_Iterable[str]] = ..., outbox_bytes: _Optional[int] = ..., outbox_items: _Optional[int] = ..., outbox_oldest_age_ms: _Optional[int] = ..., bindings: _Optional[_Iterable[_Union[BindingReport, _Mapping]]] = ..., desired_version: _Optional[int] = ..., slots: _Optional[_Iterable[_Union[SlotReport, _Mapping]]] = ..., policies: _Optional[_Iterable[_Union[PolicyReport, _Mapping]]] = ..., drift: _Optional[_Iterable[_Union[DriftReport, _Mapping]]] = ..., budget: _Optional[_Iterable[_Union[BudgetReport, _Mapping]]] = ...) -> None: ...

class SlotReport(_message.Message):
    __slots__ = ("binding", "pack", "digest", "state", "previous_pack", "is_pinned", "phase", "done_bytes", "total_bytes", "failure")
    BINDING_FIELD_NUMBER: _ClassVar[int]
    PACK_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_PACK_FIELD_NUMBER: _ClassVar[int]
    IS_PINNED_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    DONE_BYTES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    binding: str
    pack: str
    digest: str
    state: str
    previous_pack: str
    is_pinned: bool
    phase: str
    done_bytes: int
    total_bytes: int
    failure: PackFailure
    def __init__(self, binding: _Optional[str] = ..., pack: _Optional[str] = ..., digest: _Optional[str] = ..., state: _Optional[str] = ..., previous_pack: _Optional[str] = ..., is_pinned: _Optional[bool] = ..., phase: _Optional[str] = ..., done_bytes: _Optional[int] = ..., total_bytes: _Optional[int] = ..., failure: _Optional[_Union[PackFailure, _Mapping]] = ...) -> None: ...

class PackFailure(_message.Message):
    __slots__ = ("pack", "digest", "action", "reason", "detail", "at_ns")
    PACK_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    AT_NS_FIELD_NUMBER: _ClassVar[int]
    pack: str
    digest: str
    action: str
    reason: str
    detail: str
    at_ns: int
    def __init__(self, pack: _Optional[str] = ..., digest: _Optional[str] = ..., action: _Optional[str] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ..., at_ns: _Optional[int] = ...) -> None: ...

class PolicyReport(_message.Message):
    __slots__ = ("binding", "policy_version", "pack", "pack_digest", "decided", "kept", "escalated", "audits_drawn", "audits_lost", "audit_rate", "threshold", "state", "detail", "suppressed", "suppressed_asked", "unanswered")
    BINDING_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    PACK_FIELD_NUMBER: _ClassVar[int]
    PACK_DIGEST_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    ESCALATED_FIELD_NUMBER: _ClassVar[int]
    AUDITS_DRAWN_FIELD_NUMBER: _ClassVar[int]
    AUDITS_LOST_FIELD_NUMBER: _ClassVar[int]
    AUDIT_RATE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    SUPPRESSED_FIELD_NUMBER: _ClassVar[int]
    SUPPRESSED_ASKED_FIELD_NUMBER: _ClassVar[int]
    UNANSWERED_FIELD_NUMBER: _ClassVar[int]
    binding: str
    policy_version: int
    pack: str
    pack_digest: str
    decided: int
    kept: int
    escalated: int
    audits_drawn: int
    audits_lost: int
    audit_rate: float
    threshold: float
    state: str
    detail: str
    suppressed: int
    suppressed_asked: int
    unanswered: int
    def __init__(self, binding: _Optional[str] = ..., policy_version: _Optional[int] = ..., pack: _Optional[str] = ..., pack_digest: _Optional[str] = ..., decided: _Optional[int] = ..., kept: _Optional[int] = ..., escalated: _Optional[int] = ..., audits_drawn: _Optional[int] = ..., audits_lost: _Optional[int] = ..., audit_rate: _Optional[float] = ..., threshold: _Optional[float] = ..., state: _Optional[str] = ..., detail: _Optional[str] = ..., suppressed: _Optional[int] = ..., suppressed_asked: _Optional[int] = ..., unanswered: _Optional[int] = ...) -> None: ...

class BudgetReport(_message.Message):
    __slots__ = ("resource", "pool", "spent", "left")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    SPENT_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    resource: str
    pool: str
    spent: float
    left: float
    def __init__(self, resource: _Optional[str] = ..., pool: _Optional[str] = ..., spent: _Optional[float] = ..., left: _Optional[float] = ...) -> None: ...

class DriftReport(_message.Message):
    __slots__ = ("binding", "signal", "at_ns", "statistic")
    BINDING_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    AT_NS_FIELD_NUMBER: _ClassVar[int]
    STATISTIC_FIELD_NUMBER: _ClassVar[int]
    binding: str
    signal: str
    at_ns: int
    statistic: float
    def __init__(self, binding: _Optional[str] = ..., signal: _Optional[str] = ..., at_ns: _Optional[int] = ..., statistic: _Optional[float] = ...) -> None: ...

class Desired(_message.Message):
    __slots__ = ("version", "slots")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    version: int
    slots: _containers.RepeatedCompositeFieldContainer[DesiredSlot]
    def __init__(self, version: _Optional[int] = ..., slots: _Optional[_Iterable[_Union[DesiredSlot, _Mapping]]] = ...) -> None: ...

class DesiredSlot(_message.Message):
    __slots__ = ("binding", "pack", "digest", "policy")
    BINDING_FIELD_NUMBER: _ClassVar[int]
    PACK_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    binding: str
    pack: str
    digest: str
    policy: DesiredPolicy
    def __init__(self, binding: _Optional[str] = ..., pack: _Optional[str] = ..., digest: _Optional[str] = ..., policy: _Optional[_Union[DesiredPolicy, _Mapping]] = ...) -> None: ...

class DesiredPolicy(_message.Message):
    __slots__ = ("version", "mode", "threshold", "audit_rate", "certificate", "signature", "pack_digest", "voided_certificate")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    AUDIT_RATE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    PACK_DIGEST_FIELD_NUMBER: _ClassVar[int]
    VOIDED_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    version: int
    mode: str
    threshold: float
    audit_rate: float
    certificate: bytes
    signature: bytes
    pack_digest: str
    voided_certificate: str
    def __init__(self, version: _Optional[int] = ..., mode: _Optional[str] = ..., threshold: _Optional[float] = ..., audit_rate: _Optional[float] = ..., certificate: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., pack_digest: _Optional[str] = ..., voided_certificate: _Optional[str] = ...) -> None: ...

class HeartbeatAck(_message.Message):
    __slots__ = ("number", "hub_time_ns")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    HUB_TIME_NS_FIELD_NUMBER: _ClassVar[int]
    number: int
    hub_time_ns: int
    def __init__(self, number: _Optional[int] = ..., hub_time_ns: _Optional[int] = ...) -> None: ...
