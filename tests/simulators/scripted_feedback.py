"""Owns a hub's FeedbackService that does what a test tells it, and a book of feedback in memory, without a store."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import grpc

from model_packs.outputs import Classification
from protos.codec.feedback import batch_from_wire, receipt_to_wire
from protos.messages.escalation import PredictionId, StoreId
from protos.messages.feedback import Feedback, FeedbackBatch, FeedbackItem, FeedbackReceipt, Judgement
from protos.messages.inference import ModelUse
from protos.tandem.v1 import feedback_pb2 as pb
from protos.tandem.v1.feedback_pb2_grpc import FeedbackServiceServicer, add_FeedbackServiceServicer_to_server
from tests.simulators.network import LOOPBACK

DEADLINE_S = 20.0

Answer = Callable[[FeedbackBatch], FeedbackReceipt | grpc.StatusCode]
"""What the hub makes of a batch: a receipt, or the status that the whole call ends with."""


def takes_all(batch: FeedbackBatch) -> FeedbackReceipt:
    """A hub on a good day."""
    return FeedbackReceipt(tuple(item.seq for item in batch.items), ())


class ScriptedFeedbackHub(FeedbackServiceServicer):
    """Use it as a context manager; `answer` may be changed at any time."""

    def __init__(self) -> None:
        self.answer: Answer = takes_all
        self._batches: queue.SimpleQueue[FeedbackBatch] = queue.SimpleQueue()
        self._server = grpc.server(ThreadPoolExecutor(4, thread_name_prefix="scripted-feedback"))
        add_FeedbackServiceServicer_to_server(self, self._server)
        self.address = f"{LOOPBACK}:{self._server.add_insecure_port(f'{LOOPBACK}:0')}"

    def __enter__(self) -> Self:
        """Serve."""
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """End the server."""
        self._server.stop(0).wait()

    def next_batch(self) -> list[int]:
        """Numbers of the next batch that comes."""
        try:
            return [item.seq for item in self._batches.get(timeout=DEADLINE_S).items]
        except queue.Empty:
            raise AssertionError("no batch came") from None

    def Give(self, request: pb.FeedbackBatch, context: grpc.ServicerContext) -> pb.FeedbackReceipt:  # noqa: N802 - the service's own name
        """Answer as the test says."""
        batch = batch_from_wire(request)
        self._batches.put(batch)
        answer = self.answer(batch)
        if isinstance(answer, grpc.StatusCode):
            context.abort(answer, "scripted")
        return receipt_to_wire(answer)


def feedback(number: int) -> Feedback:
    """A judgement about one answer."""
    return Feedback(
        prediction_id=PredictionId(f"p{number}"),
        judgement=Judgement.LABEL,
        label="moving",
        given_by="anna",
        note="",
        given_at_ns=1,
        binding="motion",
        partition="m1",
        window_start_ns=0,
        window_end_ns=1,
        edge_model=ModelUse("tiny-edge@1.0.0", "sha256:" + "1" * 64),
        edge_output=Classification("idle", {"idle": 0.6, "moving": 0.4}),
        confidence=0.6,
        propensity=0.0,
    )


@dataclass
class FakeFeedbackBook:
    """Holds what waits, and what was settled; implements `FeedbackBook`."""

    waiting: dict[int, Feedback] = field(default_factory=dict)
    applied: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def put(self, *numbers: int) -> None:
        """Let these wait."""
        with self.changed:
            self.waiting |= {number: feedback(number) for number in numbers}
            self.changed.notify_all()

    def next_batch(self, limit: int) -> FeedbackBatch | None:
        """The oldest."""
        with self.changed:
            items = tuple(FeedbackItem(seq, one) for seq, one in sorted(self.waiting.items())[:limit])
        return FeedbackBatch(StoreId("store-1"), items) if items else None

    def wait_for_feedback(self, timeout_s: float) -> None:
        """Until there is some."""
        with self.changed:
            self.changed.wait_for(lambda: bool(self.waiting), timeout_s)

    def settled(self, batch: FeedbackBatch, receipt: FeedbackReceipt) -> None:
        """Forget what was settled."""
        with self.changed:
            self.applied += receipt.applied
            self.refused += [one.seq for one in receipt.refused]
            for item in batch.items:
                if item.seq in (*receipt.applied, *(one.seq for one in receipt.refused)):
                    self.waiting.pop(item.seq, None)
            self.changed.notify_all()

    def wait_until_empty(self) -> None:
        """Wait until nothing waits."""
        with self.changed:
            if not self.changed.wait_for(lambda: not self.waiting, DEADLINE_S):
                raise AssertionError(f"{sorted(self.waiting)} still wait")
