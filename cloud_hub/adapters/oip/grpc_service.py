"""Owns the protocol's gRPC methods on the hub: a call in, the serving core asked, an answer or a status out.

Messages are `protos.oip`'s, models are `cloud_hub.serving`'s. A stream answers in the order of its requests and reads
no further than a few ahead of what its client has taken, so that a slow reader holds little.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final, NamedTuple

import grpc
from google.protobuf.message import DecodeError, Message

from cloud_hub.adapters.oip.callers import ANYBODY, AUTHORIZATION, Admitted, Callers
from cloud_hub.adapters.oip.inference import NO_PARAMETERS, Inference, answer_parameters, shown
from cloud_hub.adapters.oip.quick_way import Known, QuickWay
from cloud_hub.adapters.oip.refusals import EXPECTED, Refusal, refusal_of
from cloud_hub.errors import HubError
from cloud_hub.serving.interface import Ask, InferenceServing, Inferred, ModelDescription, ModelState
from protos.codec.errors import CodecError
from protos.link.core_server import AbortError, Answer, CoreCall, GoesOn, Joins, Streaming, Unary
from protos.oip.describing import model_config, model_metadata, model_statistics, repository_index, server_metadata
from protos.oip.methods import METHODS, MODEL_INFER, MODEL_STREAM_INFER, on_loop
from protos.oip.parameters import parameters_of
from protos.oip.streaming import stream_answer, stream_error
from protos.status import Status
from protos.tandem.oip.v2 import grpc_service_pb2 as pb

STREAM_WINDOW: Final = 16
"""Requests of one stream that are read and not yet answered."""

NAME: Final = "cloud-hub"

_SMALL_BYTES: Final = 64 * 1024  # of a message that may join a wave
_SHORT_BYTES: Final = 1 << 20  # of a message that is read where it came; a larger one is read on the loop
_AMPLE_S: Final = 0.1  # a call that has so much time left may join a wave

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

Described = Callable[[Any, CoreCall], Awaitable[Message]]


class _Asking(NamedTuple):
    """A call that joined a wave; `goes_on` answers it where it has to wait."""

    known: Known
    ask: Ask
    goes_on: GoesOn


class GrpcService:
    """What stands behind `inference.GRPCInferenceService`.

    Args:
        serving: Runs the models.
        inference: Answers inferences.
        callers: Says who is calling.
        reasons_not_ready: Why the hub is not ready; nothing when it is.
        version: The hub's.
        max_calls: Inferences and streams at once; more are refused.
    """

    def __init__(
        self,
        serving: InferenceServing,
        inference: Inference,
        callers: Callers,
        reasons_not_ready: Callable[[], Awaitable[Sequence[str]]],
        version: str,
        *,
        max_calls: int,
    ) -> None:
        self._serving = serving
        self._inference = inference
        self._callers = callers
        self._reasons_not_ready = reasons_not_ready
        self._version = version
        self._quick = QuickWay(serving)
        self._max_calls = max_calls
        self._calls = 0

    def methods(self) -> dict[str, Unary | Streaming]:
        """List what each method does, by its path."""
        described: Mapping[str, Described] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
            "RepositoryIndex": self._repository_index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
            "SystemSharedMemoryStatus": self._no_regions,
            "SystemSharedMemoryRegister": self._register,
            "SystemSharedMemoryUnregister": self._unregister,
            "CudaSharedMemoryStatus": self._no_cuda_regions,
            "CudaSharedMemoryUnregister": self._unregister_cuda,
        }
        known = {method.name: method for method in METHODS}
        # Messages of these two are read and written here: repeats need no parsing.
        methods: dict[str, Unary | Streaming] = {
            MODEL_INFER.path: Unary(self._infer_at_once),
            MODEL_STREAM_INFER.path: Streaming(self._stream_infer),
        }
        return methods | {known[name].path: on_loop(known[name], describe) for name, describe in described.items()}

    def _infer_at_once(self, data: bytes, call: CoreCall) -> Joins | GoesOn:
        """Read a request of a known head, and let it join its wave if it is small; the loop has the others."""
        admitted = self._callers.admitted(_authorization(call)) if self._callers.needs_token else ANYBODY
        if admitted is None or len(data) > _SHORT_BYTES:
            return partial(self._infer, data, call)
        try:
            known = self._quick.read(data)
        except EXPECTED as error:
            raise _aborted(refusal_of(error)) from error
        if known is None:
            return partial(self._infer, data, call)
        goes_on, left_s = partial(self._infer_known, known, admitted, call), call.time_remaining()
        if len(data) > _SMALL_BYTES or (left_s is not None and left_s < _AMPLE_S):
            return goes_on
        ask = Ask(known.inputs, admitted.caller, known.is_one, time.perf_counter_ns())
        return Joins(self._infer_wave, _Asking(known, ask, goes_on))

    def _infer_wave(self, wave: Sequence[_Asking]) -> list[Answer]:
        """Answer what came together, model by model."""
        places: dict[int, list[int]] = {}
        for place, asking in enumerate(wave):
            places.setdefault(id(asking.known.served), []).append(place)
        answers: list[Answer] = [b""] * len(wave)
        for together in places.values():
            model = wave[together[0]].known.served.description
            said = self._serving.infer_now(model, [wave[place].ask for place in together])
            for place, one in zip(together, said, strict=True):
                answers[place] = self._told(wave[place], one)
        return answers

    def _told(self, asking: _Asking, inferred: Inferred | HubError | None) -> Answer:
        """What one of a wave is told."""
        if inferred is None:
            return asking.goes_on
        if isinstance(inferred, HubError):
            return _aborted(refusal_of(inferred))
        try:
            return self._quick.write(asking.known, inferred)
        except EXPECTED as error:
            return _aborted(refusal_of(error))

    async def _infer(self, data: bytes, call: CoreCall) -> bytes:
        with self._place():
            admitted = await self._admit(call) if self._callers.needs_token else ANYBODY
            known = self._quick.read(data)
            if known is not None:
                return await self._said(known, admitted, call)
            answer = await self._answer(data, admitted, call.time_remaining())
            return answer.SerializeToString()

    async def _infer_known(self, known: Known, admitted: Admitted, call: CoreCall) -> bytes:
        with self._place():
            return await self._said(known, admitted, call)

    async def _said(self, known: Known, admitted: Admitted, call: CoreCall) -> bytes:
        inferred = await self._inference.run(
            known.served, known.inputs, NO_PARAMETERS, caller=admitted.caller, remaining_s=call.time_remaining()
        )
        return self._quick.write(known, inferred)

    async def _answer(self, data: bytes, admitted: Admitted, remaining_s: float | None) -> pb.ModelInferResponse:
        request = _parsed(data)
        served = await self._inference.find(request.model_name, request.model_version, request.id)
        asked = served.grpc.read(request)
        self._quick.learn(data, request, asked, served)
        parameters = parameters_of(request.parameters) if request.parameters else NO_PARAMETERS
        inferred = await self._inference.run(
            served, asked.inputs, parameters, caller=admitted.caller, remaining_s=remaining_s
        )
        return served.grpc.write(
            asked,
            inferred.outputs,
            request_id=request.id,
            version=inferred.version,
            parameters=answer_parameters(inferred),
        )

    async def _stream_infer(self, requests: AsyncIterator[bytes], call: CoreCall) -> AsyncGenerator[bytes, None]:
        with self._place():
            admitted = await self._admit(call)
            async with aclosing(self._streamed(requests, admitted)) as answers:
                async for answer in answers:
                    yield answer

    async def _streamed(self, requests: AsyncIterator[bytes], admitted: Admitted) -> AsyncGenerator[bytes, None]:
        """Answer a stream in order, a few ahead of its reader."""
        answers: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue(STREAM_WINDOW)
        async with asyncio.TaskGroup() as group:

            async def read() -> None:
                async for data in requests:
                    await answers.put(group.create_task(self._stream_one(data, admitted)))
                await answers.put(None)

            reader = group.create_task(read())
            try:
                while (answer := await answers.get()) is not None:
                    yield await answer
            except GeneratorExit:  # a group would make an error of it
                while not answers.empty():
                    if (left := answers.get_nowait()) is not None:
                        left.cancel()
            finally:
                reader.cancel()

    @contextmanager
    def _place(self) -> Iterator[None]:
        """A place among the calls in hand; refusals are told."""
        if self._calls >= self._max_calls:
            text = f"{self._max_calls} calls are in hand here ([oip] max_calls): try again later"
            raise _aborted(Refusal(Status.RESOURCE_EXHAUSTED, text, retry_after_s=1.0))
        self._calls += 1
        try:
            yield
        except EXPECTED as error:
            raise _aborted(refusal_of(error)) from error
        finally:
            self._calls -= 1

    async def _stream_one(self, data: bytes, admitted: Admitted) -> bytes:
        try:
            answer = stream_answer(await self._answer(data, admitted, None))
        except EXPECTED as error:
            answer = stream_error(_id_of(data), str(error))
        return answer.SerializeToString()

    async def _server_live(self, _request: pb.ServerLiveRequest, _call: CoreCall) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, _request: pb.ServerReadyRequest, _call: CoreCall) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=not await self._reasons_not_ready())

    async def _model_ready(self, request: pb.ModelReadyRequest, call: CoreCall) -> pb.ModelReadyResponse:
        async with _refusals_told():
            await self._admit(call)
            description = await self._serving.describe(request.name, request.version)
            return pb.ModelReadyResponse(ready=self._serving.is_ready(description.name, request.version))

    async def _server_metadata(self, _request: pb.ServerMetadataRequest, _call: CoreCall) -> pb.ServerMetadataResponse:
        return server_metadata(NAME, self._version)

    async def _model_metadata(self, request: pb.ModelMetadataRequest, call: CoreCall) -> pb.ModelMetadataResponse:
        async with _refusals_told():
            description = await self._described(request.name, request.version, call)
            return model_metadata(shown(description), description.versions)

    async def _model_config(self, request: pb.ModelConfigRequest, call: CoreCall) -> pb.ModelConfigResponse:
        async with _refusals_told():
            description = await self._described(request.name, request.version, call)
            return model_config(shown(description), is_batched=description.batch > 1)

    async def _model_statistics(self, request: pb.ModelStatisticsRequest, call: CoreCall) -> pb.ModelStatisticsResponse:
        async with _refusals_told():
            await self._admit(call)
            return model_statistics(self._serving.statistics(request.name, request.version))

    async def _repository_index(self, request: pb.RepositoryIndexRequest, call: CoreCall) -> pb.RepositoryIndexResponse:
        async with _refusals_told():
            await self._admit(call)
            return repository_index(
                (entry.name, entry.version, entry.state, entry.reason)
                for entry in await self._serving.index()
                if entry.state is ModelState.READY or not request.ready
            )

    async def _load(self, request: pb.RepositoryModelLoadRequest, call: CoreCall) -> pb.RepositoryModelLoadResponse:
        async with _refusals_told():
            await self._callers.admit_operator(_authorization(call))
            await self._serving.load(request.model_name)
            return pb.RepositoryModelLoadResponse()

    async def _unload(
        self, request: pb.RepositoryModelUnloadRequest, call: CoreCall
    ) -> pb.RepositoryModelUnloadResponse:
        async with _refusals_told():
            await self._callers.admit_operator(_authorization(call))
            await self._serving.unload(request.model_name)
            return pb.RepositoryModelUnloadResponse()

    async def _no_regions(
        self, _request: pb.SystemSharedMemoryStatusRequest, _call: CoreCall
    ) -> pb.SystemSharedMemoryStatusResponse:
        return pb.SystemSharedMemoryStatusResponse()

    async def _register(
        self, _request: pb.SystemSharedMemoryRegisterRequest, _call: CoreCall
    ) -> pb.SystemSharedMemoryRegisterResponse:
        text = "the hub shares no memory: send tensors in the request's own bytes"
        raise _aborted(Refusal(Status.UNIMPLEMENTED, text))

    async def _unregister(
        self, _request: pb.SystemSharedMemoryUnregisterRequest, _call: CoreCall
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        return pb.SystemSharedMemoryUnregisterResponse()

    async def _no_cuda_regions(
        self, _request: pb.CudaSharedMemoryStatusRequest, _call: CoreCall
    ) -> pb.CudaSharedMemoryStatusResponse:
        return pb.CudaSharedMemoryStatusResponse()

    async def _unregister_cuda(
        self, _request: pb.CudaSharedMemoryUnregisterRequest, _call: CoreCall
    ) -> pb.CudaSharedMemoryUnregisterResponse:
        return pb.CudaSharedMemoryUnregisterResponse()

    async def _admit(self, call: CoreCall) -> Admitted:
        return await self._callers.admit(_authorization(call))

    async def _described(self, name: str, version: str, call: CoreCall) -> ModelDescription:
        await self._admit(call)
        return await self._serving.describe(name, version)


def _parsed(data: bytes) -> pb.ModelInferRequest:
    try:
        return pb.ModelInferRequest.FromString(data)
    except DecodeError as error:
        raise CodecError("request", "is no ModelInferRequest, or truncated") from error


def _id_of(data: bytes) -> str:
    """The id of a request that was refused; none where it is no request."""
    try:
        return pb.ModelInferRequest.FromString(data).id
    except DecodeError:
        return ""


def _authorization(call: CoreCall) -> str | None:
    for key, value in call.invocation_metadata() or ():
        if key == AUTHORIZATION and isinstance(value, str):
            return value
    return None


def _aborted(refusal: Refusal) -> AbortError:
    return AbortError(_CODES[refusal.status.value], refusal.text, refusal.trailing)


@asynccontextmanager
async def _refusals_told() -> AsyncIterator[None]:
    try:
        yield
    except EXPECTED as error:
        raise _aborted(refusal_of(error)) from error
