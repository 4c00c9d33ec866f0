"""Calls of a stream that wait for the hub: each is over when it is answered, however long the stream goes on."""

import gc
import queue
import weakref

import grpc

from protos.oip.methods import MODEL_STREAM_INFER
from protos.tandem.oip.v2 import grpc_service_pb2 as pb
from tests.unit.edge_agent.adapters.oip.served import DEADLINE_S, Sure, request, serving


class Letters:
    """Where a caller who waits would hear of its verdict."""

    def __init__(self, left_s: float) -> None:
        self.left_s = left_s

    def give_up(self) -> None:
        """It has to be answered now."""


def test_a_stream_keeps_nothing_of_calls_that_are_answered() -> None:
    """A caller may ask on one stream for weeks, and wish to wait each time."""
    waiting: weakref.WeakSet[Letters] = weakref.WeakSet()

    def new_inbox(left_s: float) -> Letters:
        letters = Letters(left_s)
        waiting.add(letters)
        return letters

    asked: queue.SimpleQueue[pb.ModelInferRequest | None] = queue.SimpleQueue()
    with serving(Sure(), new_inbox) as target, grpc.insecure_channel(target) as channel:
        method = channel.stream_stream(
            MODEL_STREAM_INFER.path,
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )
        answers = method(iter(asked.get, None), timeout=DEADLINE_S)
        for _ in range(50):
            asked.put(request(wait_for_hub_ms=60_000))
            assert not next(answers).error_message
        gc.collect()
        left = len(waiting)
        asked.put(None)
        assert not list(answers)
    assert left <= 1
