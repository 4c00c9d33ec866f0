"""Owns the device's escalation stream to the hub: what waits goes out within the hub's credit, what comes is stored.

The steps are those of docs/protocol.md: 1. Hello; 2. Welcome within a deadline, with epoch and credit; 3. items out,
acks and rejects in; 4. each verdict is stored, then acknowledged; 5. after any failure a new channel and a new session.
What an ack, a reject or a verdict changes is the store's (`EscalationBook`). The sender never waits for the reader.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from edge_agent.adapters.grpc.credit import CreditWindow
from edge_agent.adapters.grpc.dialling import Dialler
from edge_agent.adapters.grpc.redial import HubAwayError, RedialLoop
from edge_agent.adapters.grpc.stream import Call, HubStream
from edge_agent.errors import HubError
from edge_agent.ports import Clock, EscalationBook, HubLinkState
from model_packs.process.crash_points import CrashPoint, crash_point
from protos.codec.escalation import request_to_wire, response_from_wire
from protos.link.backoff import Backoff
from protos.link.tls import MAX_MESSAGE_BYTES, HubChannel
from protos.messages.escalation import (
    EARLY_VERDICTS,
    NOT_LOGGED,
    WIRE_VERSION,
    Ack,
    Credit,
    GoAway,
    Item,
    Reject,
    Verdict,
    VerdictAck,
    Welcome,
)
from protos.status import TABLE, Retry, Status
from protos.tandem.v1 import escalation_pb2 as pb
from protos.tandem.v1.escalation_pb2_grpc import EscalationServiceStub

WELCOME_S = 10.0

_BATCH = 64
_MAX_UNSTORED = 256
OnEarly = Callable[[Verdict], None]

_POLL_S = 0.25
_LEAVE_S = 1.0
_ENVELOPE_BYTES = 64
_PUSH_BACK_S = 1.0
_MAX_PUSH_BACK_S = 60.0

logger = logging.getLogger(__name__)


class EscalationLink:
    """Keeps one stream to the hub, for ever.

    Args:
        dialler: The way to the hub.
        book: The store as the link sees it.
        state: Told how the link fares.
        clock: Monotonic clock for pauses that the hub asks for.
        backoff: Waits between sessions.
        on_early: Told, on the reader's thread, of what the hub answered before it logged it: of which nothing is kept.
        on_failure: Told of every failure that is the agent's own, with the loop's name.
    """

    def __init__(
        self,
        dialler: Dialler,
        book: EscalationBook,
        state: HubLinkState,
        clock: Clock,
        backoff: Backoff,
        *,
        on_early: OnEarly,
        on_failure: Callable[[str], None],
    ) -> None:
        self._on_early = on_early
        self._dialler = dialler
        self._book = book
        self._state = state
        self._clock = clock
        self._backoff = backoff
        self._loop = RedialLoop(
            "hub-sender",
            dialler,
            self._talk,
            backoff,
            on_down=lambda reason: state.link_down(dialler.address, reason),
            on_failure=on_failure,
        )

    def open(self) -> None:
        """Start connecting."""
        self._loop.open()

    def close(self) -> None:
        """End the stream; done within two seconds, whatever the hub does. May be called twice."""
        self._loop.close()

    def _talk(self, channel: HubChannel, closing: threading.Event) -> None:
        session = _Session(self._dialler, self._book, self._clock, channel, self._on_early)
        session.open()
        try:
            if not session.greet(closing):
                return
            self._state.link_up(self._dialler.address)
            self._backoff.reset()
            session.send_items(closing)
        finally:
            session.close()


class _Session:
    """One stream, from Hello to its end. The lock guards what both threads touch: the window, the pause, the probe."""

    def __init__(
        self, dialler: Dialler, book: EscalationBook, clock: Clock, channel: HubChannel, on_early: OnEarly
    ) -> None:
        self._on_early = on_early
        self._address = dialler.address
        self._book = book
        self._clock = clock
        self._lock = threading.Lock()
        self._unstored = threading.BoundedSemaphore(_MAX_UNSTORED)  # verdicts that share a commit, at most
        self._window = CreditWindow(Credit(0, 0))
        self._welcome: Welcome | None = None
        self._is_of_use = False
        self._farewell: GoAway | None = None
        self._resume_at_s = 0.0
        self._push_back = Backoff(_PUSH_BACK_S, _MAX_PUSH_BACK_S)
        self._is_probing = False
        stub = EscalationServiceStub(channel.channel)

        def start(requests: Iterator[pb.EscalateRequest]) -> Call[pb.EscalateResponse]:
            call: Call[pb.EscalateResponse] = stub.Escalate(requests, metadata=channel.metadata)
            return call

        self._stream: HubStream[pb.EscalateRequest, pb.EscalateResponse] = HubStream(
            "hub-reader", dialler, start, self._receive
        )

    def open(self) -> None:
        """Say Hello."""
        hello = replace(self._book.hello(), capabilities=(EARLY_VERDICTS,))
        self._stream.open()
        self._stream.send(request_to_wire(hello))

    def close(self) -> None:
        """End the stream."""
        self._stream.close()

    def greet(self, closing: threading.Event) -> bool:
        """Wait until the store has taken Welcome.

        Returns:
            False when the store has to say Hello anew, or the agent closes: this stream is of no use.
        """
        last_s = self._clock.monotonic_s() + WELCOME_S
        while not self._stream.wait(lambda: self._welcome is not None, _POLL_S):
            self._raise_ending()
            if closing.is_set():
                return False
            if self._clock.monotonic_s() > last_s:
                what = f"hub {self._address} did not answer Hello within {WELCOME_S:g} s"
                mend = "check the network, and the hub with `cloud-hub doctor`"
                raise HubError(self._address, what, mend, Status.DEADLINE_EXCEEDED)
        welcome = self._welcome
        if welcome is None:
            return False
        if welcome.wire_version != WIRE_VERSION:
            what = f"hub {self._address} speaks wire version {welcome.wire_version}, this agent {WIRE_VERSION}"
            raise HubError(self._address, what, "run the same release on both", Status.FAILED_PRECONDITION)
        with self._lock:
            self._window.grant(welcome.credit)
        return self._is_of_use

    def send_items(self, closing: threading.Event) -> None:
        """Send what waits, until the stream ends or the agent closes."""
        while not closing.is_set():
            if self._farewell is not None:
                self._stream.wait(lambda: False, _LEAVE_S)  # the hub still acknowledges what it has, then ends it
            self._raise_ending()
            limit = self._room()
            if limit == 0:
                self._stream.wait(lambda: self._room() > 0 or self._farewell is not None, _POLL_S)
                continue
            with self._lock:
                in_flight = self._window.in_flight
            items = self._book.next_items(limit, in_flight)
            if not items:
                self._book.wait_for_items(_POLL_S)
            elif self._send(items) == 0:
                self._wait_for_settling(len(in_flight))

    def _send(self, items: list[Item]) -> int:
        """Put on the stream what the window takes; how many that were (a hopeless one counts as done)."""
        sent = []
        done = 0
        for item in items:
            wire = request_to_wire(item)
            size_bytes = wire.ByteSize()
            if size_bytes + _ENVELOPE_BYTES > MAX_MESSAGE_BYTES:
                self._refuse(item, size_bytes)
                done += 1
                continue
            with self._lock:
                if not self._window.takes(size_bytes):
                    break
                self._window.sent((item.item_class, item.seq), size_bytes)
            self._stream.send(wire)
            sent.append((item.item_class, item.seq))
        if sent:
            crash_point(CrashPoint.UPLOADED)
            self._book.sent(sent)
        return done + len(sent)

    def _refuse(self, item: Item, size_bytes: int) -> None:
        """An item that no stream can carry ends here, so that it holds up no other."""
        message = f"{size_bytes} bytes are more than a message may have ({MAX_MESSAGE_BYTES})"
        logger.error("item_too_large", extra={"seq": item.seq, "bytes": size_bytes})
        self._book.rejected(Reject(item.item_class, item.seq, Status.INVALID_ARGUMENT, message))

    def _room(self) -> int:
        with self._lock:
            if self._is_paused():
                return 0
            if self._is_probing:  # one item asks whether the hub takes more again
                return min(self._window.room, 1 - min(1, len(self._window.in_flight)))
            return min(_BATCH, self._window.room)

    def _is_paused(self) -> bool:
        return self._clock.monotonic_s() < self._resume_at_s

    def _wait_for_settling(self, before: int) -> None:
        """The window has no room for the next item's bytes: wait until something in flight is settled."""
        self._stream.wait(lambda: len(self._window.in_flight) < before, _POLL_S)

    def _raise_ending(self) -> None:
        """Raise why the stream is over, if it is."""
        if self._farewell is not None:
            reason, retry_after_s = self._farewell.reason, self._farewell.retry_after_ms / 1000
            raise HubAwayError(self._address, reason, retry_after_s)
        if self._stream.is_over:
            self._stream.raise_failure()
            raise HubAwayError(self._address, "without a word", 0.0)

    def _receive(self, wire: pb.EscalateResponse) -> None:
        """On the reader thread: one message of the hub, stored before anything is said about it."""
        match response_from_wire(wire):
            case Welcome() as welcome:
                # Here, before the next message is read: a hub that is not the one of Hello counts from another cursor.
                self._is_of_use = welcome.wire_version == WIRE_VERSION and self._book.welcomed(welcome)
                self._welcome = welcome
            case Verdict() if not self._is_of_use:
                pass  # it comes again on the next stream, from the right place on
            case Ack() as ack:
                crash_point(CrashPoint.HUB_ACK)
                self._book.acked(ack)
                with self._lock:
                    self._window.settle_acked(ack)
                    if self._is_probing and not self._is_paused():
                        self._is_probing = False
                        self._push_back.reset()
            case Reject() as reject:
                self._rejected(reject)
            case Credit() as credit:
                with self._lock:
                    self._window.grant(credit)
            case Verdict(verdict_seq=seq) as verdict if seq == NOT_LOGGED:
                self._on_early(verdict)
            case Verdict() as verdict:
                crash_point(CrashPoint.VERDICT)
                self._unstored.acquire()
                self._book.answered(verdict).add_done_callback(partial(self._stored, verdict.verdict_seq))
                return
            case GoAway() as farewell:
                self._farewell = farewell
        self._stream.notify()

    def _stored(self, verdict_seq: int, stored: Future[None]) -> None:
        """On the writer's thread, or the reader's if that was quicker: a verdict is on disk, or cannot be put there."""
        self._unstored.release()
        failure = stored.exception()
        if failure is not None:
            self._stream.fail(failure)
            return
        crash_point(CrashPoint.VERDICT_STORED)
        self._stream.send(request_to_wire(VerdictAck(verdict_seq)))

    def _rejected(self, reject: Reject) -> None:
        logger.warning("item_rejected", extra={"seq": reject.seq, "status": reject.status.name, "why": reject.message})
        self._book.rejected(reject)
        if TABLE[reject.status].retry is Retry.LARGER_STEP:  # the store says Hello anew, under another id
            raise HubAwayError(self._address, reject.message, 0.0)
        with self._lock:
            self._window.settle((reject.item_class, reject.seq))
            if reject.status is Status.RESOURCE_EXHAUSTED:
                self._pause(reject.retry_after_ms / 1000)

    def _pause(self, least_s: float) -> None:
        """Stop sending; acks and verdicts go on. Each refusal after a pause makes the next one longer."""
        jitter_s = 0.0 if self._is_paused() else self._push_back.next_s()
        self._resume_at_s = max(self._resume_at_s, self._clock.monotonic_s() + least_s + jitter_s)
        self._is_probing = True
