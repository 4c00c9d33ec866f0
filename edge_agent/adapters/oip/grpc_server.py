"""Owns the gRPC server of local calls: the Open Inference Protocol v2 under its standard path, on a loop of its own.

The loop has one thread. Whatever waits, for a message, its turn or the hub, is a coroutine; what computes for long is
handed to threads (`loop_calls.py`), so nobody stands behind it.
"""

import asyncio
import logging
import math
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError

from edge_agent.adapters.oip.calling import Caller, Calling
from edge_agent.adapters.oip.decision_parameters import parameters_of_rows
from edge_agent.adapters.oip.loop_calls import LoopCalls
from edge_agent.adapters.oip.models import NO_WISHES, Letters, Served, Wishes, refusal_of
from edge_agent.config import Address
from edge_agent.core.local_call import CallAnswer
from edge_agent.errors import CallError, ConfigurationError
from protos.codec.errors import CodecError
from protos.oip import describing
from protos.oip.methods import MODEL_INFER, SERVER_OPTIONS, add_to_server
from protos.oip.parameters import parameters_of
from protos.oip.signature import Asked
from protos.oip.streaming import stream_answer, stream_error
from protos.status import Status
from protos.tandem.oip.v2 import grpc_service_pb2 as pb

NAME: Final = "edge-agent"

_GRACE_S: Final = 2.0
_SMALL_BYTES: Final = 64 * 1024  # of a message; a larger one is read and written in a thread
_SMALL_ELEMENTS: Final = _SMALL_BYTES // 4
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_LOCAL_PEERS: Final = ("ipv4:127.", "ipv6:%5B::1%5D", "ipv6:[::1]", "unix:")

NO_LOADING: Final = CallError(
    "packs are not loaded or unloaded by callers",
    "let the hub roll them out, or use `edge-agent packs` on the device",
    Status.FAILED_PRECONDITION,
)

T = TypeVar("T")

Context = grpc.aio.ServicerContext[Any, Any]
Stream = grpc.aio.ServicerContext[pb.ModelInferRequest, pb.ModelStreamInferResponse]

logger = logging.getLogger(__name__)


class GrpcServer:
    """The server; the constructor only stores.

    Args:
        address: Where to listen; port 0 takes a free one.
        calling: Answers calls.
        new_inbox: Makes, on the loop, an inbox for a call that waits so many seconds at most.
        version: Of the agent.
        is_ready: Whether the agent is.
        max_message_bytes: Of a request or an answer.
    """

    def __init__(
        self,
        address: Address,
        calling: Calling,
        new_inbox: Callable[[float], Letters],
        version: str,
        is_ready: Callable[[], bool],
        *,
        max_message_bytes: int,
    ) -> None:
        self._address = address
        self._calling = calling
        self._models = calling.models
        self._calls = LoopCalls(calling, new_inbox)
        self._version = version
        self._is_ready = is_ready
        self._max_message_bytes = max_message_bytes
        self._stop: Callable[[], object] | None = None
        self._thread: threading.Thread | None = None
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
        bound: Future[int] = Future()
        self._calls.open()
        self._thread = threading.Thread(target=self._run, args=(bound,), name="oip", daemon=True)
        self._thread.start()
        try:
            self._port = bound.result()
        except RuntimeError as error:
            self.close()
            raise ConfigurationError(
                (f"oip.listen: {self._address} cannot be bound",),
                "stop what listens there, or set another oip.listen in agent.toml (port 0 takes a free one)",
            ) from error

    def close(self) -> None:
        """Answer what is in hand, then stop; may be called twice."""
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        self._calls.close()

    def _run(self, bound: "Future[int]") -> None:
        """The thread: the loop, from before the port is bound until after the last call."""
        asyncio.run(self._serve(bound))

    async def _serve(self, bound: "Future[int]") -> None:
        is_over = asyncio.Event()
        try:
            server = self._built()
            port = server.add_insecure_port(str(self._address))
            await server.start()
        except Exception as error:  # noqa: BLE001 - handed to `open`, which waits for it
            bound.set_exception(error)
            return
        self._stop = partial(asyncio.get_running_loop().call_soon_threadsafe, is_over.set)
        bound.set_result(port)
        await is_over.wait()
        await server.stop(_GRACE_S)

    def _built(self) -> grpc.aio.Server:
        sizes = ("grpc.max_receive_message_length", "grpc.max_send_message_length")
        options = [one for one in SERVER_OPTIONS if one[0] not in sizes]
        options += [(size, self._max_message_bytes) for size in sizes]
        server = grpc.aio.server(options=options)
        behaviours: dict[str, Callable[..., Any]] = {MODEL_INFER.name: self._infer, "ModelStreamInfer": self._stream}
        for name, describe in self._of_server().items():
            behaviours[name] = self._described(describe, lambda _request: "")
        for name, describe in self._of_a_model().items():
            behaviours[name] = self._described(describe, lambda request: request.name)
        # Bytes in and out: most requests need no parsing.
        add_to_server(server, behaviours, unparsed=(MODEL_INFER.name,))
        return server

    # One call, one answer.

    async def _infer(self, data: bytes, context: Context) -> bytes:
        """Answer a message with a message: by its head if that is known, else parsed; then its head is known."""
        model = ""
        try:
            is_small = len(data) <= _SMALL_BYTES
            known = self._models.quickly(data) if is_small else await self._calls.in_thread(self._reader(data))
            if known is not None:
                served, head, inputs = known
                model = served.model.name
                answer = served.callee.call_now(inputs, version=head.version)
                if answer is None:
                    answer = await self._calls.plain(served, inputs, head.version, self._caller(context))
                write = partial(served.quick.write, head, answer)
                return write() if _is_short(answer) else await self._calls.in_thread(write)
            request = _parsed(data) if is_small else await self._calls.in_thread(partial(_parsed, data))
            model = request.model_name
            return await self._answer(request, context, pb.ModelInferResponse.SerializeToString, data=data)
        except Exception as error:  # noqa: BLE001 - the top of a call: told, logged, and the next one is served
            await self._refuse(context, error, model)

    async def _answer(
        self,
        request: pb.ModelInferRequest,
        context: Context,
        finish: Callable[[pb.ModelInferResponse], T],
        *,
        data: bytes = b"",
        is_streamed: bool = False,
    ) -> T:
        version = request.model_version
        caller = self._caller(context)
        served = self._models.find(request.model_name, version)
        read = partial(self._read, served, request, data, is_local=_is_local(context))
        asked = read() if _is_small(request) else await self._calls.in_thread(read)
        wishes = Wishes.of(parameters_of(request.parameters)) if request.parameters else NO_WISHES
        answer = await self._calls.answer(served, asked.inputs, version, wishes, caller, has_permit=is_streamed)
        is_local = _is_local(context)

        def write() -> T:
            return finish(self._write(served, request, asked, answer, is_local=is_local))

        return write() if _is_short(answer) else await self._calls.in_thread(write)

    def _reader(self, data: bytes) -> Callable[[], Any]:
        return partial(self._models.quickly, data)

    def _read(self, served: Served, request: pb.ModelInferRequest, data: bytes, *, is_local: bool) -> Asked:
        asked = served.grpc.read(request, self._calling.regions if is_local else None)
        if data:
            served.quick.learn(data, request, asked)
        return asked

    def _write(
        self, served: Served, request: pb.ModelInferRequest, asked: Asked, answer: CallAnswer, *, is_local: bool
    ) -> pb.ModelInferResponse:
        return served.grpc.write(
            asked,
            answer.outputs,
            request_id=request.id,
            version=answer.version,
            parameters=parameters_of_rows(answer.rows),
            regions=self._calling.regions if is_local else None,
        )

    def _caller(self, context: Context) -> Caller:
        return Caller(self._calling.now_s, left_s=context.time_remaining)

    async def _stream(self, requests: AsyncIterator[pb.ModelInferRequest], context: Stream) -> None:
        """Answer one request after the other; the next is read when the answer before was taken."""
        try:
            with self._calling.permit():
                async for request in requests:
                    await context.write(await self._streamed(request, context))
        except CallError as error:
            await self._refuse(context, error, "")

    async def _streamed(self, request: pb.ModelInferRequest, context: Stream) -> pb.ModelStreamInferResponse:
        """Answer one request of a stream; a refusal does not end it."""
        try:
            return await self._answer(request, context, stream_answer, is_streamed=True)
        except Exception as error:  # noqa: BLE001 - the top of a call, on a stream
            status, text = self._told(error, request.model_name)
            return stream_error(request.id, f"{status.name}: {text}")

    # What waits for nothing.

    def _described(
        self, describe: Callable[[Any, Context], object], model_of: Callable[[Any], str]
    ) -> Callable[[Any, Context], Awaitable[object]]:
        async def answered(request: Any, context: Context) -> object:  # noqa: ANN401 - any message
            try:
                return describe(request, context)
            except Exception as error:  # noqa: BLE001 - the top of a call
                await self._refuse(context, error, model_of(request))

        return answered

    def _of_server(self) -> dict[str, Callable[[Any, Context], object]]:
        extensions = (*describing.EXTENSIONS, describing.SHARED_MEMORY)
        return {
            "ServerLive": lambda _request, _context: pb.ServerLiveResponse(live=True),
            "ServerReady": lambda _request, _context: pb.ServerReadyResponse(ready=self._is_ready()),
            "ServerMetadata": lambda _request, _context: describing.server_metadata(NAME, self._version, extensions),
            "RepositoryIndex": self._repository_index,
            "RepositoryModelLoad": _no_loading,
            "RepositoryModelUnload": _no_loading,
            "SystemSharedMemoryStatus": self._shared_memory_status,
            "SystemSharedMemoryRegister": self._register,
            "SystemSharedMemoryUnregister": self._unregister,
            "CudaSharedMemoryStatus": lambda _request, _context: pb.CudaSharedMemoryStatusResponse(),
            "CudaSharedMemoryUnregister": lambda _request, _context: pb.CudaSharedMemoryUnregisterResponse(),
        }

    def _of_a_model(self) -> dict[str, Callable[[Any, Context], object]]:
        models = self._models
        return {
            "ModelReady": lambda asked, _: pb.ModelReadyResponse(ready=models.is_ready(asked.name, asked.version)),
            "ModelMetadata": self._model_metadata,
            "ModelConfig": lambda asked, _: describing.model_config(models.find(asked.name, asked.version).model),
            "ModelStatistics": lambda asked, _: describing.model_statistics(
                models.statistics(asked.name, asked.version)
            ),
        }

    def _model_metadata(self, request: pb.ModelMetadataRequest, _context: Context) -> pb.ModelMetadataResponse:
        model = self._models.find(request.name, request.version).model
        return describing.model_metadata(model, [model.version])

    def _repository_index(self, request: pb.RepositoryIndexRequest, _context: Context) -> pb.RepositoryIndexResponse:
        rows = self._models.index()
        return describing.repository_index([row for row in rows if not request.ready or row[2] == "READY"])

    def _register(
        self, request: pb.SystemSharedMemoryRegisterRequest, context: Context
    ) -> pb.SystemSharedMemoryRegisterResponse:
        _require_local(context)
        self._calling.regions.register(request.name, request.key, request.offset, request.byte_size)
        return pb.SystemSharedMemoryRegisterResponse()

    def _unregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, context: Context
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        _require_local(context)
        self._calling.regions.unregister(request.name)
        return pb.SystemSharedMemoryUnregisterResponse()

    def _shared_memory_status(
        self, request: pb.SystemSharedMemoryStatusRequest, context: Context
    ) -> pb.SystemSharedMemoryStatusResponse:
        _require_local(context)
        answer = pb.SystemSharedMemoryStatusResponse()
        for one in self._calling.regions.status(request.name):
            region = answer.regions[one.name]
            region.name, region.key, region.offset, region.byte_size = one.name, one.key, one.offset, one.size
        return answer

    async def _refuse(self, context: Context, error: Exception, model: str) -> NoReturn:
        status, text = self._told(error, model)
        await context.abort(_CODES[status.value], text)
        raise AssertionError  # abort never returns

    def _told(self, error: Exception, model: str) -> tuple[Status, str]:
        refusal = refusal_of(error)
        if refusal is None:  # a fault of ours: the caller is told so, the log has the traceback, the next one is served
            logger.error("local_call_failed", exc_info=error, extra={"model": model})
            refusal = Status.INTERNAL, "the agent failed; its log says why"
        self._models.refused(model, refusal[0])
        return refusal


def _parsed(data: bytes) -> pb.ModelInferRequest:
    try:
        return pb.ModelInferRequest.FromString(data)
    except DecodeError as error:
        raise CodecError("request", "is no ModelInferRequest, or truncated") from error


def _is_small(request: pb.ModelInferRequest) -> bool:
    """Whether its tensors, some of which may be in shared memory, are read at once; a shape that lies is refused so."""
    return all(abs(math.prod(tensor.shape)) <= _SMALL_ELEMENTS for tensor in request.inputs)


def _is_short(answer: CallAnswer) -> bool:
    """Whether an answer is written at once."""
    return sum(one.size for one in answer.outputs.values()) <= _SMALL_ELEMENTS


def _no_loading(_request: object, _context: Context) -> NoReturn:
    raise NO_LOADING


def _is_local(context: Context) -> bool:
    return context.peer().startswith(_LOCAL_PEERS)


def _require_local(context: Context) -> None:
    if not _is_local(context):
        raise CallError(
            "shared memory is for callers on this machine", "send tensors in requests", Status.PERMISSION_DENIED
        )
