"""Owns the fleet session: hello, then a heartbeat as often as the hub asked for, or sooner when there is news.

What a heartbeat says is asked of the app; what the hub desires is handed to it. A hub that leaves two heartbeats
unanswered is dialled anew.
"""

import threading
from collections.abc import Callable, Iterator

from edge_agent.adapters.grpc.dialling import Dialler
from edge_agent.adapters.grpc.redial import RedialLoop
from edge_agent.adapters.grpc.stream import Call, HubStream
from edge_agent.errors import HubError
from edge_agent.ports import Clock
from protos.codec.fleet import directive_from_wire, report_to_wire
from protos.link.backoff import Backoff
from protos.link.tls import HubChannel
from protos.messages.fleet import Desired, DeviceHello, FleetWelcome, Heartbeat, HeartbeatAck
from protos.status import Status
from protos.tandem.v1 import fleet_pb2 as pb
from protos.tandem.v1.fleet_pb2_grpc import FleetServiceStub

WELCOME_S = 10.0

_POLL_S = 0.25
_MAX_UNANSWERED = 2
_MS_PER_S = 1000

HelloFacts = Callable[[], DeviceHello]
HeartbeatFacts = Callable[[int], Heartbeat]
OnFleetState = Callable[[bool, str], None]
"""(connected, reason): a change, or a failed attempt."""
OnDesired = Callable[[Desired], None]
"""What the hub wants this device to run; returns when it is durable, or was not for want of disk."""


class FleetSession:
    """Reports for ever.

    Args:
        dialler: The way to the hub.
        hello: What the device says first.
        heartbeat: What it says under a number.
        clock: Monotonic clock for the interval.
        backoff: Waits between sessions.
        on_state: Told how the session fares.
        on_desired: Told what the hub wants.
        on_failure: Told of every failure that is the agent's own, with the loop's name.
    """

    def __init__(
        self,
        dialler: Dialler,
        *,
        hello: HelloFacts,
        heartbeat: HeartbeatFacts,
        clock: Clock,
        backoff: Backoff,
        on_state: OnFleetState,
        on_desired: OnDesired,
        on_failure: Callable[[str], None],
    ) -> None:
        self._dialler = dialler
        self._hello = hello
        self._heartbeat = heartbeat
        self._clock = clock
        self._backoff = backoff
        self._on_state = on_state
        self._on_desired = on_desired
        self._has_news = threading.Event()
        self._number = 0
        self._loop = RedialLoop(
            "hub-fleet",
            dialler,
            self._talk,
            backoff,
            on_down=lambda reason: on_state(False, reason),
            on_failure=on_failure,
        )

    def open(self) -> None:
        """Start connecting."""
        self._loop.open()

    def report_soon(self) -> None:
        """Do not wait for the interval's end: the hub should learn of a change within a second or so."""
        self._has_news.set()

    def close(self) -> None:
        """End the session; done within two seconds, whatever the hub does. May be called twice."""
        self._loop.close()

    def _talk(self, channel: HubChannel, closing: threading.Event) -> None:
        reports = FleetStream(self._dialler, channel, self._on_desired)
        reports.open(self._hello())
        try:
            welcome = reports.wait_for_welcome(WELCOME_S, self._clock, closing)
            if welcome is None:
                return
            self._on_state(True, "")
            self._backoff.reset()
            interval_s = welcome.heartbeat_interval_ms / _MS_PER_S
            while not closing.is_set():
                self._number += 1
                self._has_news.clear()
                reports.send(self._heartbeat(self._number))
                reports.wait_out(interval_s, self._clock, closing, self._has_news)
        finally:
            reports.close()


class FleetStream:
    """One stream of reports (the doctor uses it, too).

    Args:
        dialler: The way to the hub.
        channel: A fresh channel.
        on_desired: Told what the hub wants; None where nobody acts on it.
    """

    def __init__(self, dialler: Dialler, channel: HubChannel, on_desired: OnDesired | None = None) -> None:
        self._address = dialler.address
        self._on_desired = on_desired
        self._welcome: FleetWelcome | None = None
        self._sent = 0
        self._answered = 0
        stub = FleetServiceStub(channel.channel)

        def start(reports: Iterator[pb.DeviceReport]) -> Call[pb.HubDirective]:
            call: Call[pb.HubDirective] = stub.Session(reports, metadata=channel.metadata)
            return call

        self._stream: HubStream[pb.DeviceReport, pb.HubDirective] = HubStream(
            "hub-fleet-reader", dialler, start, self._receive
        )

    def open(self, hello: DeviceHello) -> None:
        """Say hello."""
        self._stream.open()
        self._stream.send(report_to_wire(hello))

    def close(self) -> None:
        """End the stream."""
        self._stream.close()

    def wait_for_welcome(self, timeout_s: float, clock: Clock, closing: threading.Event) -> FleetWelcome | None:
        """The hub's answer to hello; None when the agent closes first.

        Raises:
            HubError: It refuses, or does not answer in time.
        """
        last_s = clock.monotonic_s() + timeout_s
        while not self._stream.wait(lambda: self._welcome is not None, _POLL_S):
            self._raise_ending()
            if closing.is_set():
                return None
            if clock.monotonic_s() > last_s:
                raise self._silent(f"did not answer within {timeout_s:g} s")
        return self._welcome

    def send(self, heartbeat: Heartbeat) -> None:
        """Send one heartbeat.

        Raises:
            HubError: Too many earlier ones are unanswered.
        """
        if self._sent - self._answered >= _MAX_UNANSWERED:
            raise self._silent(f"left {_MAX_UNANSWERED} heartbeats unanswered")
        self._stream.send(report_to_wire(heartbeat))
        self._sent += 1

    def wait_out(self, interval_s: float, clock: Clock, closing: threading.Event, has_news: threading.Event) -> None:
        """Wait until the next heartbeat is due, the agent closes, or there is news and nothing is unanswered.

        Raises:
            HubError: The stream ended meanwhile.
        """
        due_s = clock.monotonic_s() + interval_s
        while not closing.is_set() and (left_s := due_s - clock.monotonic_s()) > 0:
            self._stream.wait(lambda: False, min(left_s, _POLL_S))
            self._raise_ending()
            if has_news.is_set() and self._answered == self._sent:
                return

    def _raise_ending(self) -> None:
        if self._stream.is_over:
            self._stream.raise_failure()
            raise self._silent("ended the session without a word")

    def _silent(self, what: str) -> HubError:
        mend = "check the network, and the hub with `cloud-hub doctor`"
        return HubError(self._address, f"hub {self._address} {what}", mend, Status.DEADLINE_EXCEEDED)

    def _receive(self, wire: pb.HubDirective) -> None:
        match directive_from_wire(wire):
            case FleetWelcome() as welcome:
                self._welcome = welcome
            case HeartbeatAck():
                self._answered += 1
            case Desired() as desired if self._on_desired is not None:
                self._on_desired(desired)
        self._stream.notify()
