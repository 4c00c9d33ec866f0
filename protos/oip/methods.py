"""Owns which methods the protocol has, under which path they are called, and how a server is given them.

The path is the standard one, `inference.GRPCInferenceService`, while the messages are of our own package: the wire does
not carry the names of messages, and two files that define `inference.*` cannot live in one process. What the methods do
is the apps'.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import grpc
from google.protobuf.message import Message

from model_packs.tensors import MAX_TENSOR_BYTES
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


class _Server(Protocol):
    """What `grpc.server` and `grpc.aio.server` have in common here."""

    def add_generic_rpc_handlers(self, generic_rpc_handlers: tuple[grpc.GenericRpcHandler, ...], /) -> None: ...

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: dict[str, "grpc.RpcMethodHandler[Any, Any]"], /
    ) -> None: ...


def add_to_server(
    server: _Server, behaviours: Mapping[str, Callable[..., Any]], unparsed: Collection[str] = ()
) -> None:
    """Offer methods on a server, threaded or asyncio.

    Args:
        server: Not started yet.
        behaviours: By method name what is called with (request or iterator of requests, context), as generated code
            would call a servicer's method. A method without one answers UNIMPLEMENTED.
        unparsed: Methods whose behaviours take and give bytes (a stream's, one by one), and parse them themselves.

    Raises:
        KeyError: A name is no method of the protocol.
    """
    known = {method.name: method for method in METHODS}
    handlers = {
        name: _handler(known[name], behaviour, is_parsed=name not in unparsed) for name, behaviour in behaviours.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)


def _handler(method: Method, behaviour: Callable[..., Any], *, is_parsed: bool) -> "grpc.RpcMethodHandler[Any, Any]":
    make = grpc.stream_stream_rpc_method_handler if method.is_stream else grpc.unary_unary_rpc_method_handler
    return make(
        behaviour,
        request_deserializer=method.request.FromString if is_parsed else None,
        response_serializer=method.response.SerializeToString if is_parsed else None,
    )
