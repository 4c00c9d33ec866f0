"""Owns getting messages to the broker: at their pace, at QoS 1, each acknowledged, few on their way at once.

What is sent is `watches`' and `forms`' business, what comes back the judge's; no message says what the truth is.
"""

import heapq
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from deploy.demo.questions import Asked
from deploy.demo.sockets import send_at_once

NS_PER_S: Final = 1_000_000_000
_MAX_UNACKED: Final = 50
_CONNECT_DEADLINE_S: Final = 15.0


class SensorError(Exception):
    """The senders cannot reach the broker; the message names the address."""


class Message(Protocol):
    """What a sender sends at once."""

    @property
    def topic(self) -> str:
        """Where to."""
        ...

    @property
    def stream(self) -> str:
        """Messages of one stream belong together, in order."""
        ...

    @property
    def due_ns(self) -> int:
        """Event time at which it leaves."""
        ...

    @property
    def opens(self) -> bool:
        """Whether a model input begins with it."""
        ...

    @property
    def closes(self) -> Asked | None:
        """The model input that is whole with it, if any."""
        ...

    def payload(self) -> bytes:
        """The bytes."""
        ...


def together(*plans: Iterable[Message]) -> Iterator[Message]:
    """Several plans as one, by due time."""
    yield from heapq.merge(*plans, key=lambda message: message.due_ns)


def origin_ns(now_ns: int, longest_s: float, speed: float) -> int:
    """The event time at which everything starts, so that event time never passes the present.

    A replay of `wall_s` seconds covers `speed * wall_s` seconds of event time, so it starts at
    `now - (speed - 1) * wall_s`.

    Args:
        now_ns: The present, Unix epoch.
        longest_s: How long it may take at most, in seconds of the wall clock.
        speed: Event seconds a second; 1 or more.

    Returns:
        A whole second, Unix epoch, in nanoseconds: windows lie on that grid.
    """
    return (now_ns - round((speed - 1) * longest_s * NS_PER_S)) // NS_PER_S * NS_PER_S


class Sensors:
    """Sends messages to a broker from a thread of its own, QoS 1, until it is told to finish.

    A message counts as sent when the broker has acknowledged it. What is on its way when the connection breaks is sent
    again by paho on the next connection.

    Args:
        address: Host and port of the broker.
        messages: In the order of their due times; may have no end.
        start_ns: Event time that stands for the moment of `start`.
        speed: Event seconds a second.
        clock: Monotonic seconds.
        on_asked: Told what is asked, and when, as the last message of a model input is handed over.
    """

    def __init__(
        self,
        address: tuple[str, int],
        messages: Iterable[Message],
        *,
        start_ns: int,
        speed: float,
        clock: Callable[[], float],
        on_asked: Callable[[Asked, float], None],
    ) -> None:
        self._address = address
        self._messages = messages
        self._start_ns = start_ns
        self._speed = speed
        self._clock = clock
        self._on_asked = on_asked
        self._stop = threading.Event()
        self._is_finishing = threading.Event()
        self._connected = threading.Event()
        self._free = threading.Semaphore(_MAX_UNACKED)
        self._acked = 0
        self._handed_over = 0
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sensors", daemon=True)
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, "demo-sensors", clean_session=False, protocol=MQTTProtocolVersion.MQTTv311
        )
        send_at_once(self._client)
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish

    def open(self) -> None:
        """Connect and start sending.

        Raises:
            SensorError: The broker did not answer in time.
        """
        self._client.reconnect_delay_set(min_delay=1, max_delay=2)
        self._client.max_inflight_messages_set(_MAX_UNACKED)
        self._client.connect_async(*self._address)
        self._client.loop_start()
        if not self._connected.wait(_CONNECT_DEADLINE_S):
            host, port = self._address
            raise SensorError(f"no MQTT broker answered on {host}:{port} within {_CONNECT_DEADLINE_S:.0f} s")
        self._thread.start()

    def close(self) -> None:
        """Stop sending and disconnect; may be called twice."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def finish(self) -> None:
        """Begin nothing new: every stream ends with the model input that it is in the middle of."""
        self._is_finishing.set()

    @property
    def is_done(self) -> bool:
        """Whether all streams have ended, and every message was acknowledged by the broker."""
        return self._has_ended.is_set() and self._acked >= self._handed_over

    @property
    def acked(self) -> int:
        """Messages that the broker has acknowledged."""
        return self._acked

    def _run(self) -> None:
        began_s = self._clock()
        known: set[str] = set()
        ended: set[str] = set()
        for message in self._messages:
            due_s = began_s + (message.due_ns - self._start_ns) / NS_PER_S / self._speed
            if self._stop.wait(max(0.0, due_s - self._clock())):
                return
            known.add(message.stream)
            if message.opens and self._is_finishing.is_set():
                ended.add(message.stream)
            if message.stream not in ended:
                self._send(message)
            elif ended == known:
                break
        self._has_ended.set()

    def _send(self, message: Message) -> None:
        while not self._free.acquire(timeout=0.5):
            if self._stop.is_set():
                return
        if message.closes is not None:
            self._on_asked(message.closes, self._clock())
        self._handed_over += 1
        self._client.publish(message.topic, message.payload(), qos=1)

    def _on_connect(self, *_facts: object) -> None:
        self._connected.set()

    def _on_publish(self, *_facts: object) -> None:
        self._acked += 1
        self._free.release()
