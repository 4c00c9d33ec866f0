"""The hub's quick way: repeats are answered as the first was, and a model that changed is looked up again."""

import asyncio
import threading
import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import cast

import grpc
import pytest

from cloud_hub.adapters.oip import grpc_service
from cloud_hub.adapters.oip.callers import Callers
from cloud_hub.adapters.oip.grpc_service import GrpcService
from cloud_hub.adapters.oip.inference import Inference
from cloud_hub.adapters.oip.quick_way import Known, QuickWay
from cloud_hub.ports import People
from cloud_hub.serving.errors import ModelFailedError
from cloud_hub.serving.interface import ModelDescription
from model_packs.manifest import PackManifest
from model_packs.scoring import Scored
from protos.link.core_server import CoreCall, Joins, Unary
from protos.oip.methods import MODEL_INFER
from protos.oip.parameters import parameters_of
from protos.tandem.oip.v2 import grpc_service_pb2 as pb
from tests.simulators.loops import in_loop
from tests.simulators.packs import build_tiny
from tests.unit.cloud_hub.adapters.oip.fake_serving import FakeServing
from tests.unit.cloud_hub.adapters.oip.test_listeners import DEADLINE_S, MODEL, OPERATOR, VIEWER, listening, request

TWIN = MODEL[::-1]  # messages to both have one length


def tiny(folder: Path) -> PackManifest:
    """A hub pack's manifest."""
    return build_tiny(folder, name=MODEL, role="hub", escalates_to=None).manifest


def repeated() -> pb.ModelInferRequest:
    """A request that repeats itself."""
    message = request()
    message.id = ""
    return message


@in_loop
async def test_repeats_are_answered_as_the_first_was(tmp_path: Path) -> None:
    """The answer by prepared pieces is the codec's, parameters and all."""
    async with listening(tiny(tmp_path)) as hub:
        first = await hub.call("ModelInfer", repeated())
        assert isinstance(first, pb.ModelInferResponse)
        assert parameters_of(first.parameters) == {"tier": "hub", "confidence": 0.75, "label": "ok"}
        for _ in range(3):
            assert await hub.call("ModelInfer", repeated()) == first


@in_loop
async def test_repeats_that_come_together_are_answered_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a quick model, as its first was; with a token that is known, and time enough; a refusal is told as ever."""
    async with listening(tiny(tmp_path), needs_token=True) as hub:
        serving = hub.serving
        serving.is_quick = True
        first = await hub.call("ModelInfer", repeated(), token=VIEWER)
        assert (serving.waves, len(serving.calls)) == ([], 1)
        answers = await asyncio.gather(*(hub.call("ModelInfer", repeated(), token=VIEWER) for _ in range(20)))
        assert answers == [first] * 20
        assert (sum(serving.waves), len(serving.calls)) == (20, 1)
        assert await hub.call("ModelInfer", repeated(), token=OPERATOR) == first
        with monkeypatch.context() as patch:
            patch.setattr(grpc_service, "_AMPLE_S", 2 * DEADLINE_S)
            assert await hub.call("ModelInfer", repeated(), token=VIEWER) == first
        assert (sum(serving.waves), len(serving.calls)) == (20, 3)
        serving.failure = ModelFailedError("p@1.0.0", "boom")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await hub.call("ModelInfer", repeated(), token=VIEWER)
        assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, str(serving.failure))
        assert (sum(serving.waves), len(serving.calls)) == (21, 3)
        broken = repeated()
        broken.raw_input_contents[0] = b"\xff" * len(broken.raw_input_contents[0])
        with pytest.raises(grpc.aio.AioRpcError, match="finite") as caught:
            await hub.call("ModelInfer", broken, token=VIEWER)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


class Twins(FakeServing):
    """The same model under two names."""

    def resolve(self, name: str, version: str = "", key: str = "") -> ModelDescription | None:
        """Find either."""
        del version, key
        return self.description if name == MODEL else self.twin if name == TWIN else None

    @cached_property
    def twin(self) -> ModelDescription:
        """The other one."""
        return replace(self.description, name=TWIN)


class Call:
    """Of anybody, without a deadline."""

    def invocation_metadata(self) -> tuple[()]:
        """Nothing beside the message."""
        return ()

    def time_remaining(self) -> None:
        """No deadline."""


@in_loop
async def test_models_whose_calls_come_in_turn_are_each_answered_together(tmp_path: Path) -> None:
    """And each call has its own model's answer."""
    serving = Twins.of(tiny(tmp_path))
    serving.is_quick = True
    callers = Callers(cast("People", None), needs_token=False, monotonic_s=time.monotonic)

    async def no_reasons() -> tuple[str, ...]:
        return ()

    service = GrpcService(serving, Inference(serving), callers, no_reasons, "1.2.3", max_calls=10)
    method = service.methods()[MODEL_INFER.path]
    assert isinstance(method, Unary)
    other = repeated()
    other.model_name = TWIN
    one, two = repeated().SerializeToString(), other.SerializeToString()
    for data in (one, two):
        goes_on = method.at_once(data, cast("CoreCall", Call()))
        assert callable(goes_on)
        await goes_on()
    wave = [method.at_once(data, cast("CoreCall", Call())) for data in (one, two, one, two, two)]
    joined = [asked for asked in wave if isinstance(asked, Joins)]
    answers = joined[0].together([asked.item for asked in joined])
    assert serving.waves == [2, 3]
    names = [pb.ModelInferResponse.FromString(answer).model_name for answer in answers if isinstance(answer, bytes)]
    assert names == [MODEL, TWIN, MODEL, TWIN, TWIN]


@pytest.mark.parametrize("limit", ["_SMALL_BYTES", "_SHORT_BYTES"])
@in_loop
async def test_large_messages_hold_up_no_small_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """What is not small joins no wave, and what is not short is not even read by the thread that reads all calls."""
    readers: list[str] = []
    read = QuickWay.read

    def noted(quick: QuickWay, data: bytes) -> Known | None:
        readers.append(threading.current_thread().name)
        return read(quick, data)

    monkeypatch.setattr(grpc_service, limit, 10)
    monkeypatch.setattr(QuickWay, "read", noted)
    async with listening(tiny(tmp_path)) as hub:
        hub.serving.is_quick = True
        answers = [await hub.call("ModelInfer", repeated()) for _ in range(2)]
        assert answers[0] == answers[1]
        assert (hub.serving.waves, len(hub.serving.calls)) == ([], 2)
    is_on_loop = limit == "_SHORT_BYTES"
    assert (readers[-1] == threading.current_thread().name) is is_on_loop


@in_loop
async def test_a_model_that_changed_is_looked_up_again(tmp_path: Path) -> None:
    """A head is bound to the model that answered it: a newer version is another one."""
    serving = FakeServing.of(tiny(tmp_path))
    quick, inference = QuickWay(serving), Inference(serving)
    data = repeated().SerializeToString()
    message = pb.ModelInferRequest.FromString(data)
    served = await inference.find(MODEL, "", "")
    assert quick.read(data) is None
    quick.learn(data, message, served.grpc.read(message), served)
    assert quick.read(data) is not None
    serving.description = replace(serving.description, version="2.0.0")
    assert quick.read(data) is None


@in_loop
async def test_what_could_not_be_scored_says_why(tmp_path: Path) -> None:
    """Without a class the parameters are written as the codec's are: confidence 0 and the reason."""
    serving = FakeServing.of(tiny(tmp_path))
    quick = QuickWay(serving)
    served = await Inference(serving).find(MODEL, "", "")
    message = repeated()
    data = message.SerializeToString()
    quick.learn(data, message, served.grpc.read(message), served)
    known = quick.read(data)
    assert known is not None
    inferred = await serving.infer(served.description, known.inputs)
    for scored, expected in (
        (None, {"tier": "hub"}),
        ((Scored(None, 0.0, "non_finite"),), {"tier": "hub", "confidence": 0.0, "reason": "non_finite"}),
    ):
        answer = pb.ModelInferResponse.FromString(quick.write(known, inferred._replace(scored=scored)))
        assert parameters_of(answer.parameters) == expected
