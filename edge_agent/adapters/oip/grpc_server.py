"""Owns the gRPC server of local calls: the Open Inference Protocol v2 under its standard path.

A short call of a known form is answered in the thread that read it (`protos/link/core_server.py`). Whatever waits, for
its turn or the hub, is a coroutine on a loop of the server's own; what computes for long is handed to threads
(`loop_calls.py`), so nobody stands behind it.
"""

import asyncio
import logging
import math
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from edge_agent.adapters.oip.calling import Caller, Calling
from edge_agent.adapters.oip.decision_parameters import parameters_of_rows
from edge_agent.adapters.oip.loop_calls import LoopCalls
from edge_agent.adapters.oip.models import NO_WISHES, Known, Letters, Served, Wishes, refusal_of
from edge_agent.config import Address
from edge_agent.core.local_call import CallAnswer
from edge_agent.errors import CallError, ConfigurationError
from protos.codec.errors import CodecError
from protos.link.core_server import AbortError, CoreCall, CoreServer, GoesOn, Streaming, Unary
from protos.oip import describing
from protos.oip.methods import METHODS, MODEL_INFER, MODEL_STREAM_INFER, SERVER_OPTIONS, at_once
from protos.oip.parameters import parameters_of
from protos.oip.signature import Asked
from protos.oip.streaming import stream_answer, stream_error
from protos.status import Status
from protos.tandem.oip.v2 import grpc_service_pb2 as pb

NAME: Final = "edge-agent"

_THREAD_NAME: Final = "oip-core"

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
        except OSError as error:
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
            server = CoreServer(self._methods(), self._options(), _THREAD_NAME)
            port = server.bind(str(self._address))
            server.start()
        except Exception as error:  # noqa: BLE001 - handed to `open`, which waits for it
            bound.set_exception(error)
            return
        self._stop = partial(asyncio.get_running_loop().call_soon_threadsafe, is_over.set)
        bound.set_result(port)
        await is_over.wait()
        await server.stop(_GRACE_S)

    def _options(self) -> list[tuple[str, Any]]:
        sizes = ("grpc.max_receive_message_length", "grpc.max_send_message_length")
        options = [one for one in SERVER_OPTIONS if one[0] not in sizes]
        return options + [(size, self._max_message_bytes) for size in sizes]

    def _methods(self) -> dict[str, Unary | Streaming]:
        known = {method.name: method for method in METHODS}
        methods: dict[str, Unary | Streaming] = {
            MODEL_INFER.path: Unary(self._infer_at_once),
            MODEL_STREAM_INFER.path: Streaming(self._stream),
        }
        for name, describe in self._of_server().items():
            methods[known[name].path] = at_once(known[name], self._described(describe, lambda _request: ""))
        for name, describe in self._of_a_model().items():
            methods[known[name].path] = at_once(known[name], self._described(describe, lambda request: request.name))
        return methods

    # One call, one answer.

    def _infer_at_once(self, data: bytes, call: CoreCall) -> bytes | GoesOn:
        """Answer a small message of a known head in the reading thread, if its model is quick; else on the loop."""
        if len(data) > _SMALL_BYTES:
            return partial(self._infer, data, call)
        model = ""
        try:
            known = self._models.quickly(data)
            if known is None:
                return partial(self._infer, data, call)
            served, head, inputs = known
            model = served.model.name
            answer = served.callee.call_now(inputs, version=head.version)
            if answer is None:
                return partial(self._infer_known, known, call)
            write = partial(served.quick.write, head, answer)
            return write() if _is_short(answer) else partial(self._written, write, model)
        except Exception as error:  # the top of a call: told, logged, and the next one is served
            raise self._refusal(error, model) from error

    async def _written(self, write: Callable[[], bytes], model: str) -> bytes:
        """Write a large answer."""
        try:
            return await self._calls.in_thread(write)
        except Exception as error:  # the top of a call: told, logged, and the next one is served
            raise self._refusal(error, model) from error

    async def _infer(self, data: bytes, call: CoreCall) -> bytes:
        """Answer a message with a message: by its head if that is known, else parsed; then its head is known."""
        model = ""
        try:
            is_small = len(data) <= _SMALL_BYTES
            known = None if is_small else await self._calls.in_thread(partial(self._models.quickly, data))
            if known is not None:
                return await self._infer_known(known, call)
            request = _parsed(data) if is_small else await self._calls.in_thread(partial(_parsed, data))
            model = request.model_name
            return await self._answer(request, call, pb.ModelInferResponse.SerializeToString, data=data)
        except Exception as error:  # the top of a call: told, logged, and the next one is served
            raise self._refusal(error, model) from error

    async def _infer_known(self, known: Known, call: CoreCall) -> bytes:
        """Answer a message whose head is known, when it is its turn."""
        served, head, inputs = known
        try:
            answer = await self._calls.plain(served, inputs, head.version, self._caller(call))
            write = partial(served.quick.write, head, answer)
            return write() if _is_short(answer) else await self._calls.in_thread(write)
        except Exception as error:  # the top of a call: told, logged, and the next one is served
            raise self._refusal(error, served.model.name) from error

    async def _answer(
        self,
        request: pb.ModelInferRequest,
        call: CoreCall,
        finish: Callable[[pb.ModelInferResponse], T],
        *,
        data: bytes = b"",
        is_streamed: bool = False,
    ) -> T:
        version = request.model_version
        caller = self._caller(call)
        served = self._models.find(request.model_name, version)
        read = partial(self._read, served, request, data, is_local=_is_local(call))
        asked = read() if _is_small(request) else await self._calls.in_thread(read)
        wishes = Wishes.of(parameters_of(request.parameters)) if request.parameters else NO_WISHES
        answer = await self._calls.answer(served, asked.inputs, version, wishes, caller, has_permit=is_streamed)
        is_local = _is_local(call)

        def write() -> T:
            return finish(self._write(served, request, asked, answer, is_local=is_local))

        return write() if _is_short(answer) else await self._calls.in_thread(write)

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

    def _caller(self, call: CoreCall) -> Caller:
        return Caller(self._calling.now_s, left_s=call.time_remaining)

    async def _stream(self, messages: AsyncIterator[bytes], call: CoreCall) -> AsyncGenerator[bytes, None]:
        """Answer one request after the other; the next is read when the answer before was taken."""
        try:
            with self._calling.permit():
                async for data in messages:
                    answer = await self._streamed(_parsed(data), call)
                    yield answer.SerializeToString()
        except (CallError, CodecError) as error:
            raise self._refusal(error, "") from error

    async def _streamed(self, request: pb.ModelInferRequest, call: CoreCall) -> pb.ModelStreamInferResponse:
        """Answer one request of a stream; a refusal does not end it."""
        try:
            return await self._answer(request, call, stream_answer, is_streamed=True)
        except Exception as error:  # noqa: BLE001 - the top of a call, on a stream
            status, text = self._told(error, request.model_name)
            return stream_error(request.id, f"{status.name}: {text}")

    # What waits for nothing.

    def _described(
        self, describe: Callable[[Any, CoreCall], Message], model_of: Callable[[Any], str]
    ) -> Callable[[Any, CoreCall], Message]:
        def answered(request: Any, call: CoreCall) -> Message:  # noqa: ANN401 - any message
            try:
                return describe(request, call)
            except Exception as error:  # the top of a call: told, logged, and the next one is served
                raise self._refusal(error, model_of(request)) from error

        return answered

    def _of_server(self) -> dict[str, Callable[[Any, CoreCall], Message]]:
        extensions = (*describing.EXTENSIONS, describing.SHARED_MEMORY)
        return {
            "ServerLive": lambda _request, _call: pb.ServerLiveResponse(live=True),
            "ServerReady": lambda _request, _call: pb.ServerReadyResponse(ready=self._is_ready()),
            "ServerMetadata": lambda _request, _call: describing.server_metadata(NAME, self._version, extensions),
            "RepositoryIndex": self._repository_index,
            "RepositoryModelLoad": _no_loading,
            "RepositoryModelUnload": _no_loading,
            "SystemSharedMemoryStatus": self._shared_memory_status,
            "SystemSharedMemoryRegister": self._register,
            "SystemSharedMemoryUnregister": self._unregister,
            "CudaSharedMemoryStatus": lambda _request, _call: pb.CudaSharedMemoryStatusResponse(),
            "CudaSharedMemoryUnregister": lambda _request, _call: pb.CudaSharedMemoryUnregisterResponse(),
        }

    def _of_a_model(self) -> dict[str, Callable[[Any, CoreCall], Message]]:
        models = self._models
        return {
            "ModelReady": lambda asked, _: pb.ModelReadyResponse(ready=models.is_ready(asked.name, asked.version)),
            "ModelMetadata": self._model_metadata,
            "ModelConfig": lambda asked, _: describing.model_config(models.find(asked.name, asked.version).model),
            "ModelStatistics": lambda asked, _: describing.model_statistics(
                models.statistics(asked.name, asked.version)
            ),
        }

    def _model_metadata(self, request: pb.ModelMetadataRequest, _call: CoreCall) -> pb.ModelMetadataResponse:
        model = self._models.find(request.name, request.version).model
        return describing.model_metadata(model, [model.version])

    def _repository_index(self, request: pb.RepositoryIndexRequest, _call: CoreCall) -> pb.RepositoryIndexResponse:
        rows = self._models.index()
        return describing.repository_index([row for row in rows if not request.ready or row[2] == "READY"])

    def _register(
        self, request: pb.SystemSharedMemoryRegisterRequest, call: CoreCall
    ) -> pb.SystemSharedMemoryRegisterResponse:
        _require_local(call)
        self._calling.regions.register(request.name, request.key, request.offset, request.byte_size)
        return pb.SystemSharedMemoryRegisterResponse()

    def _unregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, call: CoreCall
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        _require_local(call)
        self._calling.regions.unregister(request.name)
        return pb.SystemSharedMemoryUnregisterResponse()

    def _shared_memory_status(
        self, request: pb.SystemSharedMemoryStatusRequest, call: CoreCall
    ) -> pb.SystemSharedMemoryStatusResponse:
        _require_local(call)
        answer = pb.SystemSharedMemoryStatusResponse()
        for one in self._calling.regions.status(request.name):
            region = answer.regions[one.name]
            region.name, region.key, region.offset, region.byte_size = one.name, one.key, one.offset, one.size
        return answer

    def _refusal(self, error: Exception, model: str) -> AbortError:
        """What ends a call that has no answer; counts it."""
        if isinstance(error, AbortError):
            return error
        status, text = self._told(error, model)
        return AbortError(_CODES[status.value], text)

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


def _no_loading(_request: object, _call: CoreCall) -> NoReturn:
    raise NO_LOADING


def _is_local(call: CoreCall) -> bool:
    return call.peer().startswith(_LOCAL_PEERS)


def _require_local(call: CoreCall) -> None:
    if not _is_local(call):
        raise CallError(
            "shared memory is for callers on this machine", "send tensors in requests", Status.PERMISSION_DENIED
        )
