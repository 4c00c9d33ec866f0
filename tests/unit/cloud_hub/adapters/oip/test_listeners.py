"""Both forms of the protocol in front of a serving core that answers, refuses or waits as it is told."""

import asyncio
import contextlib
import gc
import gzip
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import cast

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf.message import Message

from cloud_hub.adapters.oip.bodies import Bodies
from cloud_hub.adapters.oip.callers import Callers
from cloud_hub.adapters.oip.grpc_service import GrpcService
from cloud_hub.adapters.oip.inference import Inference
from cloud_hub.adapters.oip.rest_app import RestApp
from cloud_hub.adapters.oip.server import OipServer
from cloud_hub.errors import HubError, ListenError
from cloud_hub.ports import People
from cloud_hub.serving.errors import DeadlinePassedError, ModelFailedError, ServingFullError
from cloud_hub.serving.interface import ModelDescription
from model_packs.manifest import PackManifest
from protos.link.core_server import CoreCall, Streaming
from protos.oip.methods import METHODS
from protos.oip.parameters import parameters_of
from protos.tandem.oip.v2 import grpc_service_pb2 as pb
from tests.simulators.loops import in_loop
from tests.simulators.network import LOOPBACK
from tests.simulators.packs import CHANNELS, SAMPLES, build_tiny
from tests.unit.cloud_hub.adapters.oip.fake_serving import FakeServing
from tests.unit.cloud_hub.adapters.oip.test_callers import Now, Tokens

MODEL = "tiny-hub"
DEADLINE_S = 30.0
VIEWER, OPERATOR = "v", "o"
PATHS = {method.name: method for method in METHODS}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> PackManifest:
    """A hub pack's."""
    return build_tiny(tmp_path_factory.mktemp("pack"), name=MODEL, role="hub", escalates_to=None).manifest


@dataclass
class Listening:
    """Both forms, listening."""

    serving: FakeServing
    channel: grpc.aio.Channel
    web: httpx.AsyncClient

    async def call(self, name: str, request: Message, *, token: str = "", timeout_s: float = DEADLINE_S) -> object:
        """Call a gRPC method."""
        method = PATHS[name]
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        return await self.channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )(request, metadata=metadata, timeout=timeout_s)


@contextlib.asynccontextmanager
async def listening(
    manifest: PackManifest,
    *,
    needs_token: bool = False,
    failure: HubError | None = None,
    max_calls: int = 100,
    most_body_bytes: int = 1 << 20,
    stall_s: float = 30.0,
) -> AsyncIterator[Listening]:
    """Start both forms on one fake."""
    serving = FakeServing.of(manifest)
    serving.failure = failure
    callers = Callers(cast("People", Tokens()), needs_token=needs_token, monotonic_s=Now())

    async def no_reasons() -> Sequence[str]:
        return ()

    parts = (serving, Inference(serving), callers, no_reasons, "1.2.3")
    server = OipServer(LOOPBACK, 0, None)
    port = await server.open(GrpcService(*parts, max_calls=max_calls).methods())
    transport = httpx.ASGITransport(RestApp(*parts, bodies=Bodies(most_body_bytes, stall_s)))
    try:
        async with (
            grpc.aio.insecure_channel(f"{LOOPBACK}:{port}") as channel,
            httpx.AsyncClient(transport=transport, base_url="http://hub") as web,
        ):
            yield Listening(serving, channel, web)
    finally:
        await server.close(0)
        await server.close(0)


def request(n_rows: int = 1) -> pb.ModelInferRequest:
    """A good request."""
    rows = np.zeros((n_rows, SAMPLES, CHANNELS), np.float32)
    message = pb.ModelInferRequest(model_name=MODEL, id="7", raw_input_contents=[rows.tobytes()])
    message.inputs.add(name="window", datatype="FP32", shape=rows.shape)
    return message


def document(n_rows: int = 1) -> dict[str, object]:
    """The same in JSON."""
    shape = [n_rows, SAMPLES, CHANNELS]
    data = [0.0] * (n_rows * SAMPLES * CHANNELS)
    return {"id": "7", "inputs": [{"name": "window", "datatype": "FP32", "shape": shape, "data": data}]}


@in_loop
async def test_one_window_is_scored_and_several_are_not(manifest: PackManifest) -> None:
    """Tier, confidence and label come with one window; with several there is no one label, so only the tier."""
    async with listening(manifest) as hub:
        for n_rows, expected in ((1, {"tier": "hub", "confidence": 0.75, "label": "ok"}), (2, {"tier": "hub"})):
            answer = await hub.call("ModelInfer", request(n_rows))
            assert isinstance(answer, pb.ModelInferResponse)
            assert (parameters_of(answer.parameters), answer.id) == (expected, "7")
            rest = (await hub.web.post(f"/v2/models/{MODEL}/infer", json=document(n_rows))).json()
            assert (rest["parameters"], rest["id"]) == (expected, "7")


@in_loop
async def test_half_a_character_is_the_callers_mistake(manifest: PackManifest) -> None:
    """JSON can name one half of a surrogate pair; no message can repeat it, so it goes no further."""
    async with listening(manifest) as hub:
        (tensor,) = cast("list[dict[str, object]]", document()["inputs"])
        sent = json.dumps({"inputs": [{**tensor, "datatype": "\ud800"}]})
        answer = await hub.web.post(f"/v2/models/{MODEL}/infer", content=sent)
        assert (answer.status_code, "surrogate" in answer.json()["error"]) == (400, True)


@in_loop
async def test_a_stream_that_is_left_behind_ends_what_it_had_begun(manifest: PackManifest) -> None:
    """Its reader leaves before the answers are taken: no error of ours, and its place is free at once."""
    serving = FakeServing.of(manifest)
    callers = Callers(cast("People", Tokens()), needs_token=False, monotonic_s=Now())

    async def no_reasons() -> Sequence[str]:
        return ()

    async def messages() -> AsyncIterator[bytes]:
        while True:
            yield request().SerializeToString()
            await asyncio.sleep(0)

    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    service = GrpcService(serving, Inference(serving), callers, no_reasons, "1.2.3", max_calls=1)
    method = service.methods()[PATHS["ModelStreamInfer"].path]
    assert isinstance(method, Streaming)
    call = cast("CoreCall", SimpleNamespace(invocation_metadata=tuple))
    for _ in range(2):
        answers = method.answers(messages(), call)
        assert await anext(answers)
        serving.is_stuck = True
        serving.began.clear()
        await serving.began.wait()
        await answers.aclose()
        assert serving.was_cancelled.is_set()
        serving.is_stuck = False
    gc.collect()
    assert errors == []


@in_loop
async def test_the_id_chooses_among_a_routes_targets(manifest: PackManifest) -> None:
    """Over gRPC and over REST the same key takes the same pack; else a canary has all calls of one form, or none."""
    async with listening(manifest) as hub:
        keys: list[str] = []

        def told(name: str, version: str = "", key: str = "") -> ModelDescription:
            assert name + version == MODEL
            keys.append(key)
            return hub.serving.description

        hub.serving.resolve = told  # type: ignore[method-assign]  # a route, of which the key is all that counts here
        await hub.call("ModelInfer", request())
        await hub.web.post(f"/v2/models/{MODEL}/infer", json=document())
        assert keys == ["7", "7"]


@in_loop
async def test_urgency_and_deadline_reach_the_serving_core(manifest: PackManifest) -> None:
    """The nearer of the call's deadline and the timeout parameter counts; priority is passed on."""
    async with listening(manifest) as hub:
        now_s = asyncio.get_running_loop().time()
        message = request()
        message.parameters["priority"].uint64_param = 3
        message.parameters["timeout"].int64_param = 20_000_000
        await hub.call("ModelInfer", message)
        await hub.call("ModelInfer", request(), timeout_s=10.0)
        await hub.web.post(f"/v2/models/{MODEL}/infer", json={**document(), "parameters": {"timeout": 10_000_000}})
        first, second, third = hub.serving.calls
        assert (first["priority"], second["priority"]) == (3, 0)
        assert now_s + 15 < first["deadline_s"] < now_s + 25
        assert now_s + 5 < second["deadline_s"] < now_s + 15
        assert now_s + 5 < third["deadline_s"] < now_s + 15


@pytest.mark.parametrize(
    ("failure", "code", "status", "wait"),
    [
        (ServingFullError("p@1.0.0", "too much waits", 1.5), grpc.StatusCode.RESOURCE_EXHAUSTED, 429, ("1500", "2")),
        (DeadlinePassedError("p@1.0.0", "too late"), grpc.StatusCode.DEADLINE_EXCEEDED, 504, None),
        (ModelFailedError("p@1.0.0", "boom"), grpc.StatusCode.INTERNAL, 500, None),
    ],
)
@in_loop
async def test_refusals_tell_their_status_and_when_to_come_again(
    manifest: PackManifest, failure: HubError, code: grpc.StatusCode, status: int, wait: tuple[str, str] | None
) -> None:
    """A full hub says for how long: to gRPC clients in their own pushback metadata, over HTTP in Retry-After."""
    async with listening(manifest, failure=failure) as hub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await hub.call("ModelInfer", request())
        assert (caught.value.code(), caught.value.details()) == (code, str(failure))
        trailing = dict(caught.value.trailing_metadata())
        assert trailing.get("grpc-retry-pushback-ms") == (None if wait is None else wait[0])
        answer = await hub.web.post(f"/v2/models/{MODEL}/infer", json=document())
        assert (answer.status_code, answer.json()) == (status, {"error": str(failure)})
        assert answer.headers.get("Retry-After") == (None if wait is None else wait[1])


@in_loop
async def test_elsewhere_every_call_needs_a_token(manifest: PackManifest) -> None:
    """Inference, streams and descriptions are refused without one; health is for probes and needs none."""
    async with listening(manifest, needs_token=True) as hub:
        for name, message in (
            ("ModelInfer", request()),
            ("ModelMetadata", pb.ModelMetadataRequest(name=MODEL)),
            ("ModelStatistics", pb.ModelStatisticsRequest()),
            ("RepositoryIndex", pb.RepositoryIndexRequest()),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await hub.call(name, message)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            await hub.call(name, message, token=VIEWER)
        assert [call["caller"].name for call in hub.serving.calls] == ["vera"]
        await hub.call("ServerReady", pb.ServerReadyRequest())
        assert (await hub.web.get("/v2/health/ready")).status_code == 200
        assert (await hub.web.get(f"/v2/models/{MODEL}")).status_code == 401
        answer = await hub.web.post(f"/v2/models/{MODEL}/infer", json=document(), headers={"Authorization": "Bearer v"})
        assert answer.status_code == 200


@in_loop
async def test_only_operators_load_and_unload(manifest: PackManifest) -> None:
    """What this hub serves is changed with an operator's token, on every machine."""
    async with listening(manifest) as hub:
        load = pb.RepositoryModelLoadRequest(model_name=MODEL)
        for token, code in (("", grpc.StatusCode.UNAUTHENTICATED), (VIEWER, grpc.StatusCode.PERMISSION_DENIED)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await hub.call("RepositoryModelLoad", load, token=token)
            assert caught.value.code() is code
        await hub.call("RepositoryModelLoad", load, token=OPERATOR)
        await hub.call("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name=MODEL), token=OPERATOR)
        assert (await hub.web.post(f"/v2/repository/models/{MODEL}/load")).status_code == 401
        operator = {"Authorization": "Bearer o"}
        assert (await hub.web.post(f"/v2/repository/models/{MODEL}/unload", headers=operator)).status_code == 200
        assert hub.serving.changes == [f"load {MODEL}", f"unload {MODEL}", f"unload {MODEL}"]


@in_loop
async def test_a_cancelled_call_takes_its_request_back(manifest: PackManifest) -> None:
    """The serving core is told, so that work which has not begun is not done."""
    async with listening(manifest) as hub:
        hub.serving.is_stuck = True
        call = asyncio.ensure_future(hub.call("ModelInfer", request()))
        await hub.serving.began.wait()
        call.cancel()
        await hub.serving.was_cancelled.wait()


@in_loop
async def test_calls_beyond_the_bound_are_refused(manifest: PackManifest) -> None:
    """A hub that is full of waiting calls says so at once, answers health, and takes calls again when one has gone."""
    async with listening(manifest, max_calls=1) as hub:
        hub.serving.is_stuck = True
        call = asyncio.ensure_future(hub.call("ModelInfer", request()))
        await hub.serving.began.wait()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await hub.call("ModelInfer", request())
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "1 calls are in hand here" in str(caught.value.details())
        await hub.call("ServerLive", pb.ServerLiveRequest())
        call.cancel()
        await hub.serving.was_cancelled.wait()
        hub.serving.is_stuck = False
        await hub.call("ModelInfer", request())


@in_loop
async def test_bodies_in_hand_are_counted_together(manifest: PackManifest) -> None:
    """One beside another that is not answered yet finds no room; it does when that one has gone, inflated or not."""
    path, plain = f"/v2/models/{MODEL}/infer", json.dumps(document()).encode()
    packed, headers = gzip.compress(plain), {"Content-Encoding": "gzip"}
    async with listening(manifest, most_body_bytes=len(plain) + len(packed)) as made:
        made.serving.is_stuck = True
        waiting = asyncio.create_task(made.web.post(path, content=plain))
        await asyncio.wait_for(made.serving.began.wait(), DEADLINE_S)
        for body, how in ((plain, {}), (packed, headers)):
            refused = await made.web.post(path, content=body, headers=how)
            assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
            assert f" of {len(plain) + len(packed)} bytes, and this one finds no room" in refused.json()["error"]
        waiting.cancel()
        await asyncio.wait_for(made.serving.was_cancelled.wait(), DEADLINE_S)
        await asyncio.gather(waiting, return_exceptions=True)
        made.serving.is_stuck = False
        assert (await made.web.post(path, content=packed, headers=headers)).status_code == 200


@in_loop
async def test_a_body_that_stands_still_gives_its_room_back(manifest: PackManifest) -> None:
    """Else a few callers whose network broke off in the middle would have all others refused for good."""
    path, plain = f"/v2/models/{MODEL}/infer", json.dumps(document()).encode()

    async def half() -> AsyncIterator[bytes]:
        yield plain[:-1]
        await asyncio.Event().wait()

    async with listening(manifest, most_body_bytes=len(plain), stall_s=0.05) as made:
        refused = await asyncio.wait_for(made.web.post(path, content=half()), DEADLINE_S)
        assert refused.status_code == 400
        assert "nothing more of it came" in refused.json()["error"]
        assert (await made.web.post(path, content=plain)).status_code == 200


@in_loop
async def test_the_index_can_be_of_ready_models_only(manifest: PackManifest) -> None:
    """Every version is listed with the reason why it is not ready; who asks for ready ones gets those."""
    async with listening(manifest) as hub:
        for ready, names in ((False, [MODEL, "other"]), (True, [MODEL])):
            index = await hub.call("RepositoryIndex", pb.RepositoryIndexRequest(ready=ready))
            assert isinstance(index, pb.RepositoryIndexResponse)
            assert [one.name for one in index.models] == names


@in_loop
async def test_the_hub_shares_no_memory(manifest: PackManifest) -> None:
    """Registering is refused with what to do instead; unregistering all, which clients do first, works."""
    async with listening(manifest) as hub:
        with pytest.raises(grpc.aio.AioRpcError, match="the hub shares no memory"):
            await hub.call("SystemSharedMemoryRegister", pb.SystemSharedMemoryRegisterRequest(name="r", key="/r"))
        await hub.call("SystemSharedMemoryUnregister", pb.SystemSharedMemoryUnregisterRequest())
        await hub.call("CudaSharedMemoryUnregister", pb.CudaSharedMemoryUnregisterRequest())


@in_loop
async def test_a_taken_port_is_named() -> None:
    """Whoever starts a second hub reads which address is taken."""
    first = OipServer(LOOPBACK, 0, None)
    port = await first.open({})
    try:
        with pytest.raises(ListenError, match=f"{LOOPBACK}:{port} for inference over gRPC"):
            await OipServer(LOOPBACK, port, None).open({})
    finally:
        await first.close(0)
