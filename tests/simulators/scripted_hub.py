"""Owns a hub that does what a test tells it: one escalation stream at a time, in plain text on loopback.

For what a real hub does only on a bad day: it sends away, refuses, keeps silent, or talks nonsense.
"""

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import grpc

from protos.codec.escalation import request_from_wire, response_to_wire
from protos.messages.escalation import (
    Ack,
    Credit,
    EscalateRequest,
    EscalateResponse,
    HubIncarnation,
    Item,
    ItemClass,
    Welcome,
)
from protos.tandem.v1 import escalation_pb2 as pb
from protos.tandem.v1.escalation_pb2_grpc import EscalationServiceServicer, add_EscalationServiceServicer_to_server
from tests.simulators.network import LOOPBACK

DEADLINE_S = 20.0


def welcome(epoch: int = 1, *, items: int = 64, size_bytes: int = 1 << 20) -> Welcome:
    """A Welcome with this much credit."""
    return Welcome(epoch, HubIncarnation("hub-1"), (), Credit(items, size_bytes), 0)


def ack(*seqs: int) -> Ack:
    """An Ack of escalations."""
    return Ack(ItemClass.ESCALATION, tuple((seq, seq) for seq in seqs))


class ScriptedStream:
    """One stream, as the test sees it."""

    def __init__(self, requests: Iterator[pb.EscalateRequest]) -> None:
        self._requests = requests
        self._responses: queue.SimpleQueue[pb.EscalateResponse | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self.received: list[EscalateRequest] = []
        self.is_over = False

    def send(self, *responses: EscalateResponse) -> None:
        """Send these."""
        for response in responses:
            self._responses.put(response_to_wire(response))

    def send_wire(self, wire: pb.EscalateResponse) -> None:
        """Send bytes that no codec would write."""
        self._responses.put(wire)

    def end(self) -> None:
        """End the stream in good order."""
        self._responses.put(None)

    @property
    def seqs(self) -> list[int]:
        """Items that came, in order."""
        return [request.seq for request in self.received if isinstance(request, Item)]

    def wait_for_items(self, count: int) -> None:
        """Wait until so many items have come."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.seqs) >= count, DEADLINE_S):
                raise AssertionError(f"{len(self.seqs)} of {count} items came")

    def wait_for_count(self, count: int) -> None:
        """Wait until so many messages have come."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.received) >= count, DEADLINE_S):
                raise AssertionError(f"{len(self.received)} of {count} messages came")

    def read(self) -> None:
        """Take what the device sends, until it stops."""
        try:
            for wire in self._requests:
                with self._changed:
                    self.received.append(request_from_wire(wire))
                    self._changed.notify_all()
        except grpc.RpcError:
            pass  # the device cancelled the stream
        finally:
            self.is_over = True
            self.end()

    def responses(self) -> Iterator[pb.EscalateResponse]:
        """What the test sends, until it ends the stream."""
        return iter(self._responses.get, None)


class ScriptedHub(EscalationServiceServicer):
    """Use it as a context manager; ``streams`` gives each stream as it opens."""

    def __init__(self) -> None:
        self._streams: queue.SimpleQueue[ScriptedStream] = queue.SimpleQueue()
        self._open: list[ScriptedStream] = []
        self._server = grpc.server(ThreadPoolExecutor(8, thread_name_prefix="scripted-hub"))
        add_EscalationServiceServicer_to_server(self, self._server)
        self.address = f"{LOOPBACK}:{self._server.add_insecure_port(f'{LOOPBACK}:0')}"

    def __enter__(self) -> Self:
        """Serve."""
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """End every stream and the server."""
        for stream in self._open:
            stream.end()
        self._server.stop(0).wait()

    def next_stream(self) -> ScriptedStream:
        """The next stream that a device opens."""
        try:
            return self._streams.get(timeout=DEADLINE_S)
        except queue.Empty:
            raise AssertionError("no stream was opened") from None

    def Escalate(  # noqa: N802 - the service's own name
        self, request_iterator: Iterator[pb.EscalateRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.EscalateResponse]:
        """Hand the stream to the test."""
        del context
        stream = ScriptedStream(request_iterator)
        self._open.append(stream)
        threading.Thread(target=stream.read, name="scripted-stream", daemon=True).start()
        self._streams.put(stream)
        return stream.responses()
