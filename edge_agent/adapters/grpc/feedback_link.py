"""Owns telling the hub what people at the device say: in batches over FeedbackService, the oldest first.

The hub applies each once by (store_id, seq), so that a batch whose answer was lost is simply given again. What a
receipt changes is the store's (`FeedbackBook`).
"""

import logging
import threading
from collections.abc import Callable

import grpc

from edge_agent.adapters.grpc.dialling import Dialler, status_of
from edge_agent.adapters.grpc.redial import RedialLoop
from edge_agent.ports import FeedbackBook
from protos.codec.feedback import MAX_BATCH, batch_to_wire, receipt_from_wire
from protos.link.backoff import Backoff
from protos.link.tls import HubChannel
from protos.messages.feedback import FeedbackBatch, FeedbackReceipt, FeedbackRefusal
from protos.status import TABLE, Retry
from protos.tandem.v1 import feedback_pb2 as pb
from protos.tandem.v1.feedback_pb2_grpc import FeedbackServiceStub

GIVE_S = 15.0

_WAIT_S = 0.5
_POLL_S = 0.25

logger = logging.getLogger(__name__)


class FeedbackLink:
    """Delivers for ever.

    Args:
        dialler: The way to the hub.
        book: The store as the link sees it.
        backoff: Waits after failures.
        on_state: Told how it fares: a reason that names the thing and the mend; empty when a batch arrived.
        on_failure: Told of every failure that is the agent's own, with the loop's name.
    """

    def __init__(
        self,
        dialler: Dialler,
        book: FeedbackBook,
        backoff: Backoff,
        *,
        on_state: Callable[[str], None],
        on_failure: Callable[[str], None],
    ) -> None:
        self._dialler = dialler
        self._book = book
        self._backoff = backoff
        self._on_state = on_state
        self._limit = MAX_BATCH
        self._loop = RedialLoop("hub-feedback", dialler, self._talk, backoff, on_down=on_state, on_failure=on_failure)

    def open(self) -> None:
        """Start delivering."""
        self._loop.open()

    def close(self) -> None:
        """Stop; done within two seconds, whatever the hub does. May be called twice."""
        self._loop.close()

    def _talk(self, channel: HubChannel, closing: threading.Event) -> None:
        stub = FeedbackServiceStub(channel.channel)
        while not closing.is_set():
            batch = self._book.next_batch(self._limit)
            if batch is None:
                self._limit = MAX_BATCH
                self._book.wait_for_feedback(_WAIT_S)
                continue
            receipt = self._give(stub, channel, batch, closing)
            if receipt is not None:
                self._book.settled(batch, receipt)
                self._backoff.reset()
                self._on_state("")

    def _give(
        self, stub: FeedbackServiceStub, channel: HubChannel, batch: FeedbackBatch, closing: threading.Event
    ) -> FeedbackReceipt | None:
        """One call; None when it is to be made again, in smaller batches, or the agent closes."""
        call: grpc.Future[pb.FeedbackReceipt] = stub.Give.future(
            batch_to_wire(batch), timeout=GIVE_S, metadata=channel.metadata
        )
        try:
            while not closing.is_set():
                try:
                    return receipt_from_wire(call.result(timeout=_POLL_S))
                except grpc.FutureTimeoutError:
                    continue
        except grpc.RpcError as error:
            return self._refused(batch, error)
        finally:
            call.cancel()
        return None

    def _refused(self, batch: FeedbackBatch, error: grpc.RpcError) -> FeedbackReceipt | None:
        """A call refused for ever: one judgement of it is the reason, so they go one by one until it is found."""
        status = status_of(error)
        if TABLE[status].retry is not Retry.NEVER:
            raise self._dialler.explain(error) from error
        if len(batch.items) > 1:
            self._limit = 1
            return None
        self._limit = MAX_BATCH
        refusal = FeedbackRefusal(batch.items[0].seq, status, error.details() or "no details")
        logger.error("feedback_refused", extra={"prediction": batch.items[0].feedback.prediction_id})
        return FeedbackReceipt((), (refusal,))
