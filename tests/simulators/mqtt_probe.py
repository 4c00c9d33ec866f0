"""Owns a plain MQTT client for tests: publishes, subscribes, collects messages, waits for one.

It stands where a sensor or a site's own subscriber stands, and knows nothing of the agent.
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tests.simulators.brokers import Broker

_DEADLINE_S = 15.0


@dataclass(frozen=True, slots=True)
class Message:
    """One received message."""

    topic: str
    payload: bytes
    qos: int
    retain: bool

    def json(self) -> Any:  # noqa: ANN401 - JSON is any value; the test says what it expects
        """The payload as JSON."""
        return json.loads(self.payload)


class MqttProbe:
    """A client with its own thread; use it as a context manager or call ``open()`` and ``close()``.

    Speaks MQTT 3.1.1 unless ``mqtt5`` is set, so that it works on every broker of the tests.
    """

    def __init__(
        self, broker: Broker, client_id: str = "", *, mqtt5: bool = False, clean: bool = True, acks: bool = True
    ) -> None:
        self._host, self._port = broker.host, broker.port
        protocol = MQTTProtocolVersion.MQTTv5 if mqtt5 else MQTTProtocolVersion.MQTTv311
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=protocol,
            clean_session=None if mqtt5 else clean,
            manual_ack=not acks,
        )
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._changed = threading.Condition()
        self._connects = 0
        self._subscribed: set[int] = set()
        self._messages: list[Message] = []

    def __enter__(self) -> Self:
        """Connect."""
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """Disconnect."""
        self.close()

    def open(self, deadline_s: float = _DEADLINE_S) -> None:
        """Connect; returns after the broker's CONNACK. Reconnects by itself afterwards."""
        self._client.reconnect_delay_set(min_delay=1, max_delay=1)
        self._client.connect(self._host, self._port)
        self._client.loop_start()
        self._wait(lambda: self._connects > 0, deadline_s, "CONNACK")

    def close(self) -> None:
        """Disconnect and end the thread; may be called twice."""
        self._client.disconnect()
        self._client.loop_stop()

    def subscribe(self, topic_filter: str, qos: int = 1) -> None:
        """Subscribe; returns after the broker's SUBACK."""
        status, mid = self._client.subscribe(topic_filter, qos)
        if status != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
            raise AssertionError(f"cannot subscribe to {topic_filter}: {status}")
        self._wait(lambda: mid in self._subscribed, _DEADLINE_S, f"SUBACK for {topic_filter}")

    def publish(self, topic: str, payload: bytes | str, *, qos: int = 1, retain: bool = False) -> None:
        """Publish, after a reconnect if need be; at QoS 1 returns after the broker's PUBACK."""
        self._wait(self._client.is_connected, _DEADLINE_S, "a connection to publish on")
        info = self._client.publish(topic, payload, qos, retain)
        info.wait_for_publish(_DEADLINE_S)
        if not info.is_published():
            raise AssertionError(f"no PUBACK for {topic} within {_DEADLINE_S:g} s")

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages so far, in the order of their arrival."""
        with self._changed:
            return tuple(self._messages)

    def on(self, topic_filter: str) -> tuple[Message, ...]:
        """The messages so far whose topic matches ``topic_filter``."""
        return tuple(m for m in self.messages if paho.topic_matches_sub(topic_filter, m.topic))

    def wait_for(
        self, matches: Callable[[Message], bool], deadline_s: float = _DEADLINE_S, what: str = "a message"
    ) -> Message:
        """Return the first message, past or coming, that ``matches``.

        Raises:
            AssertionError: None came within ``deadline_s``.
        """
        found: list[Message] = []

        def search() -> bool:
            found.extend(m for m in self._messages if not found and matches(m))
            return bool(found)

        self._wait(search, deadline_s, what)
        return found[0]

    def wait_for_count(self, topic_filter: str, count: int, deadline_s: float = _DEADLINE_S) -> tuple[Message, ...]:
        """Return the messages on ``topic_filter`` once there are at least ``count``."""
        self._wait(lambda: len(self.on(topic_filter)) >= count, deadline_s, f"{count} messages on {topic_filter}")
        return self.on(topic_filter)

    def _wait(self, condition: Callable[[], bool], deadline_s: float, what: str) -> None:
        last = time.monotonic() + deadline_s
        with self._changed:
            while not condition():
                left = last - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"not within {deadline_s:g} s: {what}; have {len(self._messages)} messages")
                self._changed.wait(left)

    def _on_connect(
        self, client: paho.Client, userdata: object, flags: object, reason: ReasonCode, props: Properties | None
    ) -> None:
        del client, userdata, flags, props
        with self._changed:
            self._connects += 0 if reason.is_failure else 1
            self._changed.notify_all()

    def _on_subscribe(
        self, client: paho.Client, userdata: object, mid: int, reasons: list[ReasonCode], props: Properties | None
    ) -> None:
        del client, userdata, reasons, props
        with self._changed:
            self._subscribed.add(mid)
            self._changed.notify_all()

    def _on_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        del client, userdata
        with self._changed:
            self._messages.append(Message(message.topic, bytes(message.payload), message.qos, message.retain))
            self._changed.notify_all()
