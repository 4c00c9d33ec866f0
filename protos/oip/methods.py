"""Owns which methods the protocol has, under which path they are called, and how a server is given them.

The path is the standard one, `inference.GRPCInferenceService`, while the messages are of our own package: the wire does
not carry the names of messages, and two files that define `inference.*` cannot live in one process. What the methods do
is the apps'.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError, Message

from model_packs.tensors import MAX_TENSOR_BYTES
from protos.link.core_server import AbortError, CoreCall, Unary
from protos.link.tls import SERVER_OPTIONS as LINK_OPTIONS
from protos.tandem.oip.v2 import grpc_service_pb2 as pb

SERVICE: Final = "inference.GRPCInferenceService"

MAX_MESSAGE_BYTES: Final = MAX_TENSOR_BYTES + (1 << 20)
"""Of one request or answer: one tensor of the largest size with its head; gRPC refuses more before it is parsed."""

_MAX_METADATA_BYTES: Final = 16 * 1024

SERVER_OPTIONS: Final = [
    *((name, value) for name, value in LINK_OPTIONS if "message_length" not in name),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
]
"""Of a gRPC server that speaks the protocol."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method.

    Attributes:
        name: Its name in the service.
        request: Class of its requests.
        response: Class of its answers.
        is_stream: Both sides stream; else one request, one answer.
    """

    name: str
    request: type[Message]
    response: type[Message]
    is_stream: bool = False

    @property
    def path(self) -> str:
        """What a client calls."""
        return f"/{SERVICE}/{self.name}"


MODEL_INFER: Final = Method("ModelInfer", pb.ModelInferRequest, pb.ModelInferResponse)
MODEL_STREAM_INFER: Final = Method(
    "ModelStreamInfer", pb.ModelInferRequest, pb.ModelStreamInferResponse, is_stream=True
)

METHODS: Final = (
    Method("ServerLive", pb.ServerLiveRequest, pb.ServerLiveResponse),
    Method("ServerReady", pb.ServerReadyRequest, pb.ServerReadyResponse),
    Method("ModelReady", pb.ModelReadyRequest, pb.ModelReadyResponse),
    Method("ServerMetadata", pb.ServerMetadataRequest, pb.ServerMetadataResponse),
    Method("ModelMetadata", pb.ModelMetadataRequest, pb.ModelMetadataResponse),
    Method("ModelConfig", pb.ModelConfigRequest, pb.ModelConfigResponse),
    Method("ModelStatistics", pb.ModelStatisticsRequest, pb.ModelStatisticsResponse),
    MODEL_INFER,
    MODEL_STREAM_INFER,
    Method("RepositoryIndex", pb.RepositoryIndexRequest, pb.RepositoryIndexResponse),
    Method("RepositoryModelLoad", pb.RepositoryModelLoadRequest, pb.RepositoryModelLoadResponse),
    Method("RepositoryModelUnload", pb.RepositoryModelUnloadRequest, pb.RepositoryModelUnloadResponse),
    Method("SystemSharedMemoryStatus", pb.SystemSharedMemoryStatusRequest, pb.SystemSharedMemoryStatusResponse),
    Method("SystemSharedMemoryRegister", pb.SystemSharedMemoryRegisterRequest, pb.SystemSharedMemoryRegisterResponse),
    Method(
        "SystemSharedMemoryUnregister", pb.SystemSharedMemoryUnregisterRequest, pb.SystemSharedMemoryUnregisterResponse
    ),
    Method("CudaSharedMemoryStatus", pb.CudaSharedMemoryStatusRequest, pb.CudaSharedMemoryStatusResponse),
    Method("CudaSharedMemoryUnregister", pb.CudaSharedMemoryUnregisterRequest, pb.CudaSharedMemoryUnregisterResponse),
)
"""Every method that a server of ours may offer."""


def at_once(method: Method, behaviour: Callable[[Any, CoreCall], Message]) -> Unary:
    """A method of one request and one answer that is answered where it is read.

    Args:
        method: Which.
        behaviour: Called with (request, call); short. It raises AbortError to refuse.
    """
    return Unary(lambda data, call: behaviour(_parsed(method, data), call).SerializeToString())


def on_loop(method: Method, behaviour: Callable[[Any, CoreCall], Awaitable[Message]]) -> Unary:
    """A method of one request and one answer that is answered on the server's loop.

    Args:
        method: Which.
        behaviour: Called with (request, call). It raises AbortError to refuse.
    """

    async def answered(data: bytes, call: CoreCall) -> bytes:
        return (await behaviour(_parsed(method, data), call)).SerializeToString()

    return Unary(lambda data, call: partial(answered, data, call))


def _parsed(method: Method, data: bytes) -> Message:
    try:
        return method.request.FromString(data)
    except DecodeError as error:
        text = f"the message is no {method.request.DESCRIPTOR.name}, or truncated"
        raise AbortError(grpc.StatusCode.INVALID_ARGUMENT, text) from error
