"""Owns the gRPC server of local calls: the Open Inference Protocol v2 under its standard path, in threads.

One pool runs calls and streams: two threads more than may wait, so that a plain call always finds one. Another, of two,
answers whatever waits for nothing: health, metadata, statistics. Together they are the 4 + max_waiters of the design.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import grpc
from google.protobuf.message import DecodeError

from edge_agent.adapters.oip.calling import Caller, Calling, Leaving
from edge_agent.adapters.oip.decision_parameters import parameters_of_rows
from edge_agent.adapters.oip.models import Wishes, refusal_of
from edge_agent.adapters.oip.pools import CallPool
from edge_agent.config import Address
from edge_agent.errors import CallError, ConfigurationError
from protos.codec.errors import CodecError
from protos.oip import describing
from protos.oip.methods import MODEL_INFER, SERVER_OPTIONS, SERVICE, add_to_server
from protos.oip.parameters import parameters_of
from protos.oip.streaming import stream_answer, stream_error
from protos.status import Status
from protos.tandem.oip.v2 import grpc_service_pb2 as pb

NAME: Final = "edge-agent"

_AT_ONCE: Final = 2
_QUICK: Final = 2
_GRACE_S: Final = 2.0
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_LOCAL_PEERS: Final = ("ipv4:127.", "ipv6:%5B::1%5D", "ipv6:[::1]", "unix:")

NO_LOADING: Final = CallError(
    "packs are not loaded or unloaded by callers",
    "let the hub roll them out, or use `edge-agent packs` on the device",
    Status.FAILED_PRECONDITION,
)

logger = logging.getLogger(__name__)


class GrpcServer:
    """The server; the constructor only stores.

    Args:
        address: Where to listen; port 0 takes a free one.
        calling: Answers calls.
        version: Of the agent.
        is_ready: Whether the agent is.
        max_waiters: Streams and waiting calls at once.
        max_message_bytes: Of a request or an answer.
    """

    def __init__(
        self,
        address: Address,
        calling: Calling,
        version: str,
        is_ready: Callable[[], bool],
        *,
        max_waiters: int,
        max_message_bytes: int,
    ) -> None:
        self._address = address
        self._calling = calling
        self._models = calling.models
        self._version = version
        self._is_ready = is_ready
        self._max_waiters = max_waiters
        self._max_message_bytes = max_message_bytes
        self._server: grpc.Server | None = None
        self._pools: tuple[CallPool, ...] = ()
        self._port = address.port

    @property
    def bound(self) -> Address:
        """Where it listens."""
        return Address(self._address.host, self._port)

    def open(self) -> None:
        """Bind and serve.

        Raises:
            ConfigurationError: The address cannot be bound.
        """
        calls = CallPool(_AT_ONCE + self._max_waiters, "oip-call")
        quick = CallPool(_QUICK, "oip-quick")
        sizes = ("grpc.max_receive_message_length", "grpc.max_send_message_length")
        options = [one for one in SERVER_OPTIONS if one[0] not in sizes]
        options += [(size, self._max_message_bytes) for size in sizes]
        server = grpc.server(calls, options=options)
        behaviours: dict[str, Callable[..., Any]] = {"ModelStreamInfer": self._stream}
        for name, behaviour in self._quick_ones().items():
            behaviours[name] = _InPool(quick, behaviour)
        add_to_server(server, behaviours)
        # Bytes in and out: most requests need no parsing.
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(self._infer)
        server.add_registered_method_handlers(SERVICE, {MODEL_INFER.name: handler})
        try:
            self._port = server.add_insecure_port(str(self._address))
        except RuntimeError as error:
            raise ConfigurationError(
                (f"oip.listen: {self._address} cannot be bound",),
                "stop what listens there, or set another oip.listen in agent.toml (port 0 takes a free one)",
            ) from error
        self._server, self._pools = server, (calls, quick)
        for pool in self._pools:
            pool.begin()
        server.start()

    def close(self) -> None:
        """Answer what is in hand, then stop; may be called twice."""
        server, self._server = self._server, None
        if server is not None:
            server.stop(_GRACE_S).wait()
            for pool in self._pools:
                pool.shutdown()

    def _quick_ones(self) -> dict[str, Callable[[Any, grpc.ServicerContext], Any]]:
        return {
            "ServerLive": lambda _request, _context: pb.ServerLiveResponse(live=True),
            "ServerReady": lambda _request, _context: pb.ServerReadyResponse(ready=self._is_ready()),
            "ModelReady": lambda request, _context: pb.ModelReadyResponse(
                ready=self._models.is_ready(request.name, request.version)
            ),
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
            "RepositoryIndex": self._repository_index,
            "RepositoryModelLoad": self._no_loading,
            "RepositoryModelUnload": self._no_loading,
            "SystemSharedMemoryStatus": self._shared_memory_status,
            "SystemSharedMemoryRegister": self._register,
            "SystemSharedMemoryUnregister": self._unregister,
            "CudaSharedMemoryStatus": lambda _request, _context: pb.CudaSharedMemoryStatusResponse(),
            "CudaSharedMemoryUnregister": lambda _request, _context: pb.CudaSharedMemoryUnregisterResponse(),
        }

    # One call, one answer.

    def _infer(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        """Answer a message with a message: by its head if that is known, else parsed; then its head is known."""
        model = ""
        try:
            known = self._models.quickly(data)
            if known is not None:
                served, head, inputs = known
                model = served.model.name
                return served.quick.write(
                    head, served.callee.call(inputs, version=head.version, is_wanted=context.is_active)
                )
            try:
                request = pb.ModelInferRequest.FromString(data)
            except DecodeError as error:
                raise CodecError("request", "is no ModelInferRequest, or truncated") from error
            model = request.model_name
            return self._answer(request, context, data=data).SerializeToString()
        except Exception as error:  # noqa: BLE001 - the top of a call: told, logged, and the next one is served
            self._refuse(context, error, model)

    def _answer(
        self,
        request: pb.ModelInferRequest,
        context: grpc.ServicerContext,
        *,
        data: bytes = b"",
        stream: Leaving | None = None,
    ) -> pb.ModelInferResponse:
        version = request.model_version
        leaving = Leaving(context.add_callback) if stream is None else stream
        caller = Caller(self._calling.now_s, context.is_active, context.time_remaining, leaving.tell)
        served = self._models.find(request.model_name, version)
        regions = self._calling.regions if _is_local(context) else None
        asked = served.grpc.read(request, regions)
        if data:
            served.quick.learn(data, request, asked)
        if request.parameters:
            wishes = Wishes.of(parameters_of(request.parameters))
            answer = self._calling.call(served, asked.inputs, version, wishes, caller, has_permit=stream is not None)
        else:
            answer = served.callee.call(asked.inputs, version=version, is_wanted=context.is_active)
        return served.grpc.write(
            asked,
            answer.outputs,
            request_id=request.id,
            version=answer.version,
            parameters=parameters_of_rows(answer.rows),
            regions=regions,
        )

    def _stream(
        self, requests: Iterator[pb.ModelInferRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.ModelStreamInferResponse]:
        try:
            with self._calling.permit():
                leaving = Leaving(context.add_callback)
                for request in requests:
                    yield self._streamed(request, context, leaving)
        except CallError as error:
            self._refuse(context, error, "")

    def _streamed(
        self, request: pb.ModelInferRequest, context: grpc.ServicerContext, leaving: Leaving
    ) -> pb.ModelStreamInferResponse:
        """Answer one request of a stream; a refusal does not end it."""
        try:
            return stream_answer(self._answer(request, context, stream=leaving))
        except Exception as error:  # noqa: BLE001 - as `_refuse`, on a stream
            status, text = self._told(error, request.model_name)
            return stream_error(request.id, f"{status.name}: {text}")

    # What waits for nothing.

    def _server_metadata(self, request: object, context: grpc.ServicerContext) -> pb.ServerMetadataResponse:
        del request, context
        return describing.server_metadata(NAME, self._version, (*describing.EXTENSIONS, describing.SHARED_MEMORY))

    def _model_metadata(
        self, request: pb.ModelMetadataRequest, context: grpc.ServicerContext
    ) -> pb.ModelMetadataResponse:
        with self._refusing(context, request.name):
            model = self._models.find(request.name, request.version).model
            return describing.model_metadata(model, [model.version])

    def _model_config(self, request: pb.ModelConfigRequest, context: grpc.ServicerContext) -> pb.ModelConfigResponse:
        with self._refusing(context, request.name):
            return describing.model_config(self._models.find(request.name, request.version).model)

    def _model_statistics(
        self, request: pb.ModelStatisticsRequest, context: grpc.ServicerContext
    ) -> pb.ModelStatisticsResponse:
        with self._refusing(context, request.name):
            return describing.model_statistics(self._models.statistics(request.name, request.version))

    def _repository_index(
        self, request: pb.RepositoryIndexRequest, context: grpc.ServicerContext
    ) -> pb.RepositoryIndexResponse:
        del context
        rows = self._models.index()
        return describing.repository_index([row for row in rows if not request.ready or row[2] == "READY"])

    def _no_loading(self, request: object, context: grpc.ServicerContext) -> NoReturn:
        del request
        self._refuse(context, NO_LOADING, "")

    def _register(
        self, request: pb.SystemSharedMemoryRegisterRequest, context: grpc.ServicerContext
    ) -> pb.SystemSharedMemoryRegisterResponse:
        with self._refusing(context, ""):
            _require_local(context)
            self._calling.regions.register(request.name, request.key, request.offset, request.byte_size)
            return pb.SystemSharedMemoryRegisterResponse()

    def _unregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, context: grpc.ServicerContext
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        with self._refusing(context, ""):
            _require_local(context)
            self._calling.regions.unregister(request.name)
            return pb.SystemSharedMemoryUnregisterResponse()

    def _shared_memory_status(
        self, request: pb.SystemSharedMemoryStatusRequest, context: grpc.ServicerContext
    ) -> pb.SystemSharedMemoryStatusResponse:
        with self._refusing(context, ""):
            _require_local(context)
            answer = pb.SystemSharedMemoryStatusResponse()
            for one in self._calling.regions.status(request.name):
                region = answer.regions[one.name]
                region.name, region.key, region.offset, region.byte_size = one.name, one.key, one.offset, one.size
            return answer

    @contextmanager
    def _refusing(self, context: grpc.ServicerContext, model: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - as `_refuse`
            self._refuse(context, error, model)

    def _refuse(self, context: grpc.ServicerContext, error: Exception, model: str) -> NoReturn:
        status, text = self._told(error, model)
        context.abort(_CODES[status.value], text)

    def _told(self, error: Exception, model: str) -> tuple[Status, str]:
        refusal = refusal_of(error)
        if refusal is None:  # a fault of ours: the caller is told so, the log has the traceback, the next one is served
            logger.error("local_call_failed", exc_info=error, extra={"model": model})
            refusal = Status.INTERNAL, "the agent failed; its log says why"
        self._models.refused(model, refusal[0])
        return refusal


class _InPool:
    """A behaviour that grpc runs in a pool of its own (its attribute `experimental_thread_pool`)."""

    def __init__(self, pool: CallPool, behaviour: Callable[[Any, grpc.ServicerContext], Any]) -> None:
        self.experimental_thread_pool = pool
        self._behaviour = behaviour

    def __call__(self, request: object, context: grpc.ServicerContext) -> object:
        return self._behaviour(request, context)


def _is_local(context: grpc.ServicerContext) -> bool:
    return context.peer().startswith(_LOCAL_PEERS)


def _require_local(context: grpc.ServicerContext) -> None:
    if not _is_local(context):
        raise CallError(
            "shared memory is for callers on this machine", "send tensors in requests", Status.PERMISSION_DENIED
        )
