"""A gRPC server of local calls in this process, on a binding that answers as a test wants it to."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from edge_agent.adapters.oip.calling import Calling
from edge_agent.adapters.oip.grpc_server import GrpcServer
from edge_agent.adapters.oip.models import Letters, Models
from edge_agent.adapters.oip.shared_memory import SharedMemory
from edge_agent.config import Address
from edge_agent.core.local_call import CallAnswer, CalledRow
from edge_agent.inference.revisions import LoopInbox
from edge_agent.ports import BindingName
from protos.messages.inference import ModelUse
from protos.tandem.oip.v2 import grpc_service_pb2 as pb
from tests.unit.edge_agent.adapters.sqlite.builders import TestClock
from tests.unit.edge_agent.packs.manifests import MANIFEST

USE = ModelUse("tiny-edge@1.0.0", MANIFEST.digest)
ROW = CalledRow("a" * 26, "final", 0.5, "idle", None, "edge")
DEADLINE_S = 30.0


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

    def call_now(self, inputs: Mapping[str, NDArray[Any]], **_: object) -> CallAnswer | None:
        """Answer."""
        return self.call(inputs)

    def call_in_turn(self, inputs: Mapping[str, NDArray[Any]], **_: Any) -> CallAnswer:  # noqa: ANN401 - of `Callee`
        """Answer."""
        return self.call(inputs)

    async def revised(self, answer: CallAnswer, inbox: object) -> CallAnswer:
        """Wait for nothing."""
        del inbox
        return answer


class Slow(Sure):
    """A binding whose calls take until the test lets them end; only those that are still wanted run."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.may_end = threading.Event()
        self.ran = 0
        self.unwanted = 0

    def call_now(self, inputs: Mapping[str, NDArray[Any]], **_: object) -> CallAnswer | None:
        """It would take too long."""
        del inputs
        return None

    def call_in_turn(self, inputs: Mapping[str, NDArray[Any]], **asked: Any) -> CallAnswer:  # noqa: ANN401 - of `Callee`
        """Take long."""
        self.began.release()
        assert self.may_end.wait(DEADLINE_S)
        if asked["is_wanted"]():
            self.ran += 1
        else:
            self.unwanted += 1
        return self.call(inputs)


class Doubtful(Sure):
    """A binding whose callers wait for the hub, which never says anything."""

    def __init__(self) -> None:
        self.waits = threading.Semaphore(0)

    async def revised(self, answer: CallAnswer, inbox: Any) -> CallAnswer:  # noqa: ANN401 - an inbox
        """Wait."""
        self.waits.release()
        assert await inbox.next() is None
        return answer


def server_of(
    callee: Sure, address: str, new_inbox: Callable[[float], Letters] = LoopInbox, max_waiters: int = 1
) -> GrpcServer:
    """A server of a binding named `press`, not open yet."""
    clock = TestClock()
    models = Models({BindingName("press"): cast("Any", callee)}, dict, list, clock)
    calling = Calling(models, SharedMemory(), max_waiters, lambda _, __: LoopInbox(0.0), clock.monotonic_s)
    host, _, port = address.partition(":")
    return GrpcServer(Address(host, int(port)), calling, new_inbox, "1", lambda: True, max_message_bytes=1 << 20)


@contextmanager
def serving(callee: Sure, new_inbox: Callable[[float], Letters] = LoopInbox, max_waiters: int = 1) -> Iterator[str]:
    """Serve a binding named `press`; its address."""
    server = server_of(callee, "127.0.0.1:0", new_inbox, max_waiters)
    server.open()
    try:
        yield str(server.bound)
    finally:
        server.close()


def request(**parameters: int) -> pb.ModelInferRequest:
    """A good request."""
    made = pb.ModelInferRequest(model_name="press", raw_input_contents=[bytes(40)])
    made.inputs.add(name="window", datatype="FP32", shape=[1, 5, 2])
    for name, value in parameters.items():
        made.parameters[name].int64_param = value
    return made
