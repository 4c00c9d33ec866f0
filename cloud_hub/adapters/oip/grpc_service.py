"""Owns the protocol's gRPC methods on the hub: a call in, the serving core asked, an answer or a status out.

Messages are `protos.oip`'s, models are `cloud_hub.serving`'s. A stream answers in the order of its requests and reads
no further than a few ahead of what its client has taken, so that a slow reader holds little.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn

import grpc
from google.protobuf.message import DecodeError

from cloud_hub.adapters.oip.callers import ANYBODY, AUTHORIZATION, Admitted, Callers
from cloud_hub.adapters.oip.inference import NO_PARAMETERS, Inference, answer_parameters, shown
from cloud_hub.adapters.oip.quick_way import QuickWay
from cloud_hub.adapters.oip.refusals import EXPECTED, Refusal, refusal_of
from cloud_hub.serving.interface import InferenceServing, ModelDescription, ModelState
from protos.codec.errors import CodecError
from protos.oip.describing import model_config, model_metadata, model_statistics, repository_index, server_metadata
from protos.oip.parameters import parameters_of
from protos.oip.streaming import stream_answer, stream_error
from protos.status import Status
from protos.tandem.oip.v2 import grpc_service_pb2 as pb

UNPARSED: Final = ("ModelInfer", "ModelStreamInfer")
"""What is parsed and written here: repeats need neither, and bytes that are no request get a status that says so."""

STREAM_WINDOW: Final = 16
"""Requests of one stream that are read and not yet answered."""

NAME: Final = "cloud-hub"

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

Context = grpc.aio.ServicerContext[Any, Any]


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

    def behaviours(self) -> Mapping[str, Callable[..., Any]]:
        """List what each method does, by its name."""
        return {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
            "ModelInfer": self._infer,
            "ModelStreamInfer": self._stream_infer,
            "RepositoryIndex": self._repository_index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
            "SystemSharedMemoryStatus": self._no_regions,
            "SystemSharedMemoryRegister": self._register,
            "SystemSharedMemoryUnregister": self._unregister,
            "CudaSharedMemoryStatus": self._no_cuda_regions,
            "CudaSharedMemoryUnregister": self._unregister_cuda,
        }

    async def _infer(self, data: bytes, context: Context) -> bytes:
        # Counted here: `maximum_concurrent_rpcs` of grpc.aio costs a tenth of a small request.
        if self._calls >= self._max_calls:
            await _abort(context, self._full())
        self._calls += 1
        try:
            admitted = await self._admit(context) if self._callers.needs_token else ANYBODY
            known = self._quick.read(data)
            if known is None:
                answer = await self._answer(data, admitted, context.time_remaining())
                return answer.SerializeToString()
            inferred = await self._inference.run(
                known.served, known.inputs, NO_PARAMETERS, caller=admitted.caller, remaining_s=context.time_remaining()
            )
            return self._quick.write(known, inferred)
        except EXPECTED as error:
            await _abort(context, refusal_of(error))
        finally:
            self._calls -= 1

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

    async def _stream_infer(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        if self._calls >= self._max_calls:
            await _abort(context, self._full())
        self._calls += 1
        try:
            async with _refusals_told(context):
                admitted = await self._admit(context)
            async for answer in self._streamed(requests, admitted):
                yield answer
        finally:
            self._calls -= 1

    async def _streamed(self, requests: AsyncIterator[bytes], admitted: Admitted) -> AsyncIterator[bytes]:
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
            finally:
                reader.cancel()

    def _full(self) -> Refusal:
        text = f"{self._max_calls} calls are in hand here ([oip] max_calls): try again later"
        return Refusal(Status.RESOURCE_EXHAUSTED, text, retry_after_s=1.0)

    async def _stream_one(self, data: bytes, admitted: Admitted) -> bytes:
        try:
            answer = stream_answer(await self._answer(data, admitted, None))
        except EXPECTED as error:
            answer = stream_error(_id_of(data), str(error))
        return answer.SerializeToString()

    async def _server_live(self, _request: pb.ServerLiveRequest, _context: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, _request: pb.ServerReadyRequest, _context: Context) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=not await self._reasons_not_ready())

    async def _model_ready(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        async with _refusals_told(context):
            await self._admit(context)
            description = await self._serving.describe(request.name, request.version)
            return pb.ModelReadyResponse(ready=self._serving.is_ready(description.name, request.version))

    async def _server_metadata(
        self, _request: pb.ServerMetadataRequest, _context: Context
    ) -> pb.ServerMetadataResponse:
        return server_metadata(NAME, self._version)

    async def _model_metadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        async with _refusals_told(context):
            description = await self._described(request.name, request.version, context)
            return model_metadata(shown(description), description.versions)

    async def _model_config(self, request: pb.ModelConfigRequest, context: Context) -> pb.ModelConfigResponse:
        async with _refusals_told(context):
            description = await self._described(request.name, request.version, context)
            return model_config(shown(description), is_batched=description.batch > 1)

    async def _model_statistics(
        self, request: pb.ModelStatisticsRequest, context: Context
    ) -> pb.ModelStatisticsResponse:
        async with _refusals_told(context):
            await self._admit(context)
            return model_statistics(self._serving.statistics(request.name, request.version))

    async def _repository_index(
        self, request: pb.RepositoryIndexRequest, context: Context
    ) -> pb.RepositoryIndexResponse:
        async with _refusals_told(context):
            await self._admit(context)
            return repository_index(
                (entry.name, entry.version, entry.state, entry.reason)
                for entry in await self._serving.index()
                if entry.state is ModelState.READY or not request.ready
            )

    async def _load(self, request: pb.RepositoryModelLoadRequest, context: Context) -> pb.RepositoryModelLoadResponse:
        async with _refusals_told(context):
            await self._callers.admit_operator(_authorization(context))
            await self._serving.load(request.model_name)
            return pb.RepositoryModelLoadResponse()

    async def _unload(
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        async with _refusals_told(context):
            await self._callers.admit_operator(_authorization(context))
            await self._serving.unload(request.model_name)
            return pb.RepositoryModelUnloadResponse()

    async def _no_regions(
        self, _request: pb.SystemSharedMemoryStatusRequest, _context: Context
    ) -> pb.SystemSharedMemoryStatusResponse:
        return pb.SystemSharedMemoryStatusResponse()

    async def _register(
        self, _request: pb.SystemSharedMemoryRegisterRequest, context: Context
    ) -> pb.SystemSharedMemoryRegisterResponse:
        await _abort(
            context, Refusal(Status.UNIMPLEMENTED, "the hub shares no memory: send tensors in the request's own bytes")
        )

    async def _unregister(
        self, _request: pb.SystemSharedMemoryUnregisterRequest, _context: Context
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        return pb.SystemSharedMemoryUnregisterResponse()

    async def _no_cuda_regions(
        self, _request: pb.CudaSharedMemoryStatusRequest, _context: Context
    ) -> pb.CudaSharedMemoryStatusResponse:
        return pb.CudaSharedMemoryStatusResponse()

    async def _unregister_cuda(
        self, _request: pb.CudaSharedMemoryUnregisterRequest, _context: Context
    ) -> pb.CudaSharedMemoryUnregisterResponse:
        return pb.CudaSharedMemoryUnregisterResponse()

    async def _admit(self, context: Context) -> Admitted:
        return await self._callers.admit(_authorization(context))

    async def _described(self, name: str, version: str, context: Context) -> ModelDescription:
        await self._admit(context)
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


def _authorization(context: Context) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == AUTHORIZATION and isinstance(value, str):
            return value
    return None


async def _abort(context: Context, refusal: Refusal) -> NoReturn:
    await context.abort(_CODES[refusal.status.value], refusal.text, refusal.trailing)
    raise AssertionError  # abort never returns


@asynccontextmanager
async def _refusals_told(context: Context) -> AsyncIterator[None]:
    try:
        yield
    except EXPECTED as error:
        await _abort(context, refusal_of(error))
