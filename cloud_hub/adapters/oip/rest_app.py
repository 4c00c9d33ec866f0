"""Owns the protocol's REST form on the hub: one ASGI app, the same models and callers as behind the gRPC methods.

Addresses and JSON are `protos.oip`'s. A client that hangs up takes its request out of the queue.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from cloud_hub.adapters.oip.bodies import Bodies
from cloud_hub.adapters.oip.callers import AUTHORIZATION, Callers
from cloud_hub.adapters.oip.grpc_service import NAME
from cloud_hub.adapters.oip.inference import Inference, answer_parameters, shown
from cloud_hub.adapters.oip.refusals import EXPECTED, Refusal, refusal_of
from cloud_hub.serving.interface import InferenceServing, Inferred
from protos.oip.describing import document, model_config, model_metadata, model_statistics, server_metadata
from protos.oip.rest import HEADER_LENGTH, Address, Operation, address_of, header_length
from protos.oip.rest_codec import opened
from protos.status import TABLE, Status

_HTTP: Final = "http"


class RestApp:
    """What stands behind `/v2`.

    Args:
        serving: Runs the models.
        inference: Answers inferences.
        callers: Says who is calling.
        reasons_not_ready: Why the hub is not ready; nothing when it is.
        version: The hub's.
        bodies: What requests in hand may take.
    """

    def __init__(
        self,
        serving: InferenceServing,
        inference: Inference,
        callers: Callers,
        reasons_not_ready: Callable[[], Awaitable[Sequence[str]]],
        version: str,
        *,
        bodies: Bodies,
    ) -> None:
        self._serving = serving
        self._inference = inference
        self._callers = callers
        self._reasons_not_ready = reasons_not_ready
        self._version = version
        self._bodies = bodies
        self._operations: Mapping[Operation, Callable[[Request, Address], Awaitable[Response]]] = {
            Operation.SERVER_LIVE: self._live,
            Operation.SERVER_READY: self._ready,
            Operation.SERVER_METADATA: self._server,
            Operation.MODEL_READY: self._model_ready,
            Operation.MODEL_METADATA: self._metadata,
            Operation.MODEL_CONFIG: self._config,
            Operation.MODEL_STATISTICS: self._statistics,
            Operation.MODEL_INFER: self._infer,
            Operation.REPOSITORY_INDEX: self._index,
            Operation.REPOSITORY_MODEL_LOAD: self._load,
            Operation.REPOSITORY_MODEL_UNLOAD: self._unload,
            Operation.SHARED_MEMORY_STATUS: self._no_regions,
            Operation.SHARED_MEMORY_UNREGISTER: self._no_regions,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != _HTTP:
            return
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except ClientDisconnect:
            return
        except EXPECTED as error:
            response = _told(refusal_of(error))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        path = request.scope.get("raw_path", request.url.path.encode()).decode("latin-1")
        address = address_of(request.method, path)
        operation = None if address is None else self._operations.get(address.operation)
        if address is None or operation is None:
            return _told(Refusal(Status.NOT_FOUND, f"nothing is at {request.method} {path[:200]}: see /v2"))
        return await operation(request, address)

    async def _live(self, _request: Request, _address: Address) -> Response:
        return Response()

    async def _ready(self, _request: Request, _address: Address) -> Response:
        reasons = await self._reasons_not_ready()
        return _told(Refusal(Status.UNAVAILABLE, "; ".join(reasons))) if reasons else Response()

    async def _server(self, _request: Request, _address: Address) -> Response:
        return JSONResponse(document(server_metadata(NAME, self._version)))

    async def _model_ready(self, request: Request, address: Address) -> Response:
        await self._admit(request)
        await self._serving.describe(address.model, address.version)
        if self._serving.is_ready(address.model, address.version):
            return Response()
        return _told(Refusal(Status.UNAVAILABLE, f"model {address.model!r} is not loaded now"))

    async def _metadata(self, request: Request, address: Address) -> Response:
        await self._admit(request)
        description = await self._serving.describe(address.model, address.version)
        return JSONResponse(document(model_metadata(shown(description), description.versions)))

    async def _config(self, request: Request, address: Address) -> Response:
        await self._admit(request)
        description = await self._serving.describe(address.model, address.version)
        config = model_config(shown(description), is_batched=description.batch > 1)
        return JSONResponse(document(config.config))

    async def _statistics(self, request: Request, address: Address) -> Response:
        await self._admit(request)
        return JSONResponse(document(model_statistics(self._serving.statistics(address.model, address.version))))

    async def _infer(self, request: Request, address: Address) -> Response:
        admitted = (await self._callers.admit(request.headers.get(AUTHORIZATION))).caller
        async with self._bodies.read(request, address.model) as body:
            sent = opened(body, header_length(request.headers.get(HEADER_LENGTH), len(body)))
            served = await self._inference.find(address.model, address.version, sent.request_id)
            asked = served.rest.read_opened(sent)
            inferred = await _unless_gone(
                request, self._inference.run(served, asked.asked.inputs, asked.parameters, caller=admitted)
            )
            answer = served.rest.write(
                asked, inferred.outputs, version=inferred.version, parameters=answer_parameters(inferred)
            )
        return Response(answer.body, headers=answer.headers)

    async def _index(self, request: Request, _address: Address) -> Response:
        await self._admit(request)
        return JSONResponse(
            [
                {"name": entry.name, "version": entry.version, "state": entry.state, "reason": entry.reason}
                for entry in await self._serving.index()
            ]
        )

    async def _load(self, request: Request, address: Address) -> Response:
        await self._callers.admit_operator(request.headers.get(AUTHORIZATION))
        await self._serving.load(address.model)
        return Response()

    async def _unload(self, request: Request, address: Address) -> Response:
        await self._callers.admit_operator(request.headers.get(AUTHORIZATION))
        await self._serving.unload(address.model)
        return Response()

    async def _no_regions(self, _request: Request, _address: Address) -> Response:
        return JSONResponse([])

    async def _admit(self, request: Request) -> None:
        await self._callers.admit(request.headers.get(AUTHORIZATION))


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Inferred]) -> Inferred:
    """Wait for work as long as its client does."""
    working = asyncio.create_task(work)
    leaving = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


def _told(refusal: Refusal) -> Response:
    headers = {} if refusal.retry_after_s is None else {"Retry-After": str(math.ceil(refusal.retry_after_s))}
    return JSONResponse({"error": refusal.text}, TABLE[refusal.status].http, headers)
