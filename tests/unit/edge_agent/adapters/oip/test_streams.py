"""Calls of a stream that wait for the hub: each is over when it is answered, however long the stream goes on."""

import gc
import queue
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, cast

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.adapters.oip.calling import Calling, Leaving
from edge_agent.adapters.oip.grpc_server import GrpcServer
from edge_agent.adapters.oip.models import Models
from edge_agent.adapters.oip.shared_memory import SharedMemory
from edge_agent.config import Address
from edge_agent.core.local_call import CallAnswer, CalledRow
from edge_agent.ports import BindingName
from protos.messages.inference import ModelUse
from protos.oip.methods import MODEL_STREAM_INFER
from protos.tandem.oip.v2 import grpc_service_pb2 as pb
from tests.unit.edge_agent.adapters.sqlite.builders import TestClock
from tests.unit.edge_agent.packs.manifests import MANIFEST

DEADLINE_S = 30.0
USE = ModelUse("tiny-edge@1.0.0", MANIFEST.digest)
ROW = CalledRow("a" * 26, "final", 0.5, "idle", None, "edge")


class Letters:
    """Where a caller who waits would hear of its verdict."""

    def __init__(self, left_s: float) -> None:
        self.left_s = left_s
        self.is_given_up = False

    def give_up(self) -> None:
        """The caller left."""
        self.is_given_up = True


class Sure:
    """A binding that keeps every answer."""

    manifest = MANIFEST
    use = USE

    @property
    def running(self) -> "Sure":
        """What answers."""
        return self

    def call(self, inputs: Mapping[str, NDArray[Any]], **_: object) -> CallAnswer:
        """Answer."""
        return CallAnswer(USE, "1.0.0", {"logits": np.zeros((len(inputs["window"]), 3), np.float32)}, (ROW,))


@pytest.fixture
def waiting() -> "weakref.WeakSet[Letters]":
    """What is kept of calls that wait."""
    return weakref.WeakSet()


@pytest.fixture
def target(waiting: "weakref.WeakSet[Letters]") -> Iterator[str]:
    """A server whose calls may wait."""
    clock = TestClock()

    def new_inbox(left_s: float) -> Letters:
        letters = Letters(left_s)
        waiting.add(letters)
        return letters

    models = Models({BindingName("press"): cast("Any", Sure())}, dict, list, clock)
    calling = Calling(models, SharedMemory(), 1, new_inbox, clock.monotonic_s)
    server = GrpcServer(Address("127.0.0.1", 0), calling, "1", lambda: True, max_waiters=1, max_message_bytes=1 << 20)
    server.open()
    yield str(server.bound)
    server.close()


def test_a_stream_keeps_nothing_of_calls_that_are_answered(target: str, waiting: "weakref.WeakSet[Letters]") -> None:
    """A caller may ask on one stream for weeks, and wish to wait each time."""
    request = pb.ModelInferRequest(model_name="press", raw_input_contents=[bytes(40)])
    request.inputs.add(name="window", datatype="FP32", shape=[1, 5, 2])
    request.parameters["wait_for_hub_ms"].int64_param = 60_000
    asked: queue.SimpleQueue[pb.ModelInferRequest | None] = queue.SimpleQueue()
    with grpc.insecure_channel(target) as channel:
        method = channel.stream_stream(
            MODEL_STREAM_INFER.path,
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )
        answers = method(iter(asked.get, None), timeout=DEADLINE_S)
        for _ in range(50):
            asked.put(request)
            assert not next(answers).error_message
        gc.collect()
        left = len(waiting)
        asked.put(None)
        assert not list(answers)
    assert left <= 1


def test_a_caller_who_left_before_anybody_listened_is_given_up_at_once() -> None:
    """GRPC takes no callback then, and says so: nobody may hold a permit for a wait that nobody ends."""
    late = Letters(60.0)
    Leaving(lambda _: False).tell(late.give_up)
    assert late.is_given_up
