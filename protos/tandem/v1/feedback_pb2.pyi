from protos.tandem.v1 import inference_pb2 as _inference_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FeedbackBatch(_message.Message):
    __slots__ = ("store_id", "items")
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    store_id: str
    items: _containers.RepeatedCompositeFieldContainer[FeedbackItem]
    def __init__(self, store_id: _Optional[str] = ..., items: _Optional[_Iterable[_Union[FeedbackItem, _Mapping]]] = ...) -> None: ...

class FeedbackItem(_message.Message):
    __slots__ = ("seq", "feedback")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    seq: int
    feedback: Feedback
    def __init__(self, seq: _Optional[int] = ..., feedback: _Optional[_Union[Feedback, _Mapping]] = ...) -> None: ...

class Feedback(_message.Message):
    __slots__ = ("prediction_id", "judgement", "label", "given_by", "note", "given_at_ns", "binding", "partition", "window_start_ns", "window_end_ns", "edge_model", "edge_output", "confidence", "propensity", "codec_version")
    PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
    JUDGEMENT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    GIVEN_BY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    GIVEN_AT_NS_FIELD_NUMBER: _ClassVar[int]
    BINDING_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    WINDOW_START_NS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_END_NS_FIELD_NUMBER: _ClassVar[int]
    EDGE_MODEL_FIELD_NUMBER: _ClassVar[int]
    EDGE_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    PROPENSITY_FIELD_NUMBER: _ClassVar[int]
    CODEC_VERSION_FIELD_NUMBER: _ClassVar[int]
    prediction_id: str
    judgement: str
    label: str
    given_by: str
    note: str
    given_at_ns: int
    binding: str
    partition: str
    window_start_ns: int
    window_end_ns: int
    edge_model: _inference_pb2.ModelUse
    edge_output: _inference_pb2.Output
    confidence: float
    propensity: float
    codec_version: int
    def __init__(self, prediction_id: _Optional[str] = ..., judgement: _Optional[str] = ..., label: _Optional[str] = ..., given_by: _Optional[str] = ..., note: _Optional[str] = ..., given_at_ns: _Optional[int] = ..., binding: _Optional[str] = ..., partition: _Optional[str] = ..., window_start_ns: _Optional[int] = ..., window_end_ns: _Optional[int] = ..., edge_model: _Optional[_Union[_inference_pb2.ModelUse, _Mapping]] = ..., edge_output: _Optional[_Union[_inference_pb2.Output, _Mapping]] = ..., confidence: _Optional[float] = ..., propensity: _Optional[float] = ..., codec_version: _Optional[int] = ...) -> None: ...

class FeedbackReceipt(_message.Message):
    __slots__ = ("applied", "refused")
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    applied: _containers.RepeatedScalarFieldContainer[int]
    refused: _containers.RepeatedCompositeFieldContainer[FeedbackRefusal]
    def __init__(self, applied: _Optional[_Iterable[int]] = ..., refused: _Optional[_Iterable[_Union[FeedbackRefusal, _Mapping]]] = ...) -> None: ...

class FeedbackRefusal(_message.Message):
    __slots__ = ("seq", "status", "message")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    seq: int
    status: int
    message: str
    def __init__(self, seq: _Optional[int] = ..., status: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...
