"""Owns one bidirectional call: a queue of messages on their way out, a named thread that reads, and how it ended.

What is said on it belongs to the escalation link and the fleet session.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

import grpc

from edge_agent.adapters.grpc.dialling import Dialler
from edge_agent.errors import AgentError, HubError
from model_packs.errors import TensorError
from protos.codec.errors import CodecError
from protos.status import Status

OutT = TypeVar("OutT")
InT = TypeVar("InT")
MessageT_co = TypeVar("MessageT_co", covariant=True)

_HALF_CLOSE_S = 0.5
_JOIN_S = 1.0

logger = logging.getLogger(__name__)


class OwnFaultError(HubError):
    """The agent failed on its own; the log has the traceback, and who runs the stream counts it."""


class Call(Protocol[MessageT_co]):
    """A running call, as generated stubs return it."""

    def __iter__(self) -> Iterator[MessageT_co]:
        """Messages from the hub."""
        ...

    def cancel(self) -> bool:
        """End it now."""
        ...


class HubStream(Generic[OutT, InT]):
    """One call from its start to its end.

    Args:
        name: Name of the reader thread.
        dialler: Explains gRPC's failures.
        start: Starts the call with an iterator of outgoing messages.
        receive: Called on the reader thread for each message; may raise `AgentError`, which ends the stream.
    """

    def __init__(
        self,
        name: str,
        dialler: Dialler,
        start: Callable[[Iterator[OutT]], Call[InT]],
        receive: Callable[[InT], None],
    ) -> None:
        self._dialler = dialler
        self._start = start
        self._receive = receive
        self._outgoing: queue.SimpleQueue[OutT | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._is_over = False
        self._failure: AgentError | None = None
        self._call: Call[InT] | None = None
        self._reader = threading.Thread(target=self._read, name=name, daemon=True)

    @property
    def is_over(self) -> bool:
        """Whether the hub or the network ended it."""
        return self._is_over

    def open(self) -> None:
        """Start the call and the reader."""
        self._call = self._start(iter(self._outgoing.get, None))
        self._reader.start()

    def send(self, message: OutT) -> None:
        """Queue one message; gRPC takes it when the connection has room."""
        self._outgoing.put(message)

    def notify(self) -> None:
        """Wake `wait`: something that it may wait for has changed."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `condition` holds, the stream is over, or the time is.

        Returns:
            Whether the condition holds.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or condition(), timeout_s)
        return condition()

    def raise_failure(self) -> None:
        """Raise why the stream is over; nothing when it goes on, or ended in good order."""
        if self._failure is not None:
            raise self._failure

    def fail(self, error: BaseException) -> None:
        """End it for a reason of this device's own, whatever the hub says then."""
        if not isinstance(error, AgentError):
            logger.error("hub_stream_broke", exc_info=error, extra={"reader": self._reader.name})
        failure = error if isinstance(error, AgentError) else self._own_fault()
        with self._changed:
            self._failure = self._failure or failure
        if self._call is not None:
            self._call.cancel()

    def close(self) -> None:
        """Half-close, give the hub a moment to end it, then cancel. Never waits for a hub that is gone."""
        self._outgoing.put(None)
        self.wait(lambda: False, _HALF_CLOSE_S)
        if self._call is not None:
            self._call.cancel()
            self._reader.join(_JOIN_S)

    def _read(self) -> None:
        failure: AgentError | None = None
        try:
            for message in self._call or ():
                self._receive(message)
        except grpc.RpcError as exc:
            failure = self._explain(exc)
        except (CodecError, TensorError) as exc:
            what = f"hub {self._dialler.address} sent what this agent cannot read: {exc}"
            mend = "run the same release on hub and device"
            failure = HubError(self._dialler.address, what, mend, Status.INTERNAL)
        except AgentError as exc:
            failure = exc
        except Exception:  # the top of the reader's loop: the stream ends, the next one begins anew
            logger.exception("hub_stream_broke", extra={"reader": self._reader.name})
            failure = self._own_fault()
        finally:
            with self._changed:
                self._failure = self._failure or failure
                self._is_over = True
                self._changed.notify_all()
            self._outgoing.put(None)

    def _own_fault(self) -> OwnFaultError:
        what = f"the agent failed on a message of hub {self._dialler.address}"
        return OwnFaultError(self._dialler.address, what, "its log has the traceback", Status.INTERNAL)

    def _explain(self, error: grpc.RpcError) -> AgentError:
        try:
            return self._dialler.explain(error)
        except AgentError as explanation:
            return explanation
