"""Owns listening to what the agents publish: answers go to the judge.

What an answer means is the judge's business.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from deploy.demo.sockets import send_at_once

_CONNECT_DEADLINE_S: Final = 15.0


class ListenerError(Exception):
    """The broker did not take the subscriptions; the message names the address."""


class Listener:
    """A subscriber with a session, so that what comes while it is away is kept.

    Args:
        address: Host and port of the broker.
        filters: The result topics.
        on_result: Told topic, payload and monotonic time of each message on a result topic, in paho's thread.
        deadline_s: How long `open` waits for the broker.
    """

    def __init__(
        self,
        address: tuple[str, int],
        filters: Iterable[str],
        on_result: Callable[[str, bytes, float], None],
        deadline_s: float = _CONNECT_DEADLINE_S,
    ) -> None:
        self._address = address
        self._deadline_s = deadline_s
        self._filters = tuple(filters)
        self._on_result = on_result
        self._is_subscribed = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, "demo-judge", clean_session=False, protocol=MQTTProtocolVersion.MQTTv311
        )
        send_at_once(self._client)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def open(self) -> None:
        """Connect and subscribe.

        Raises:
            ListenerError: No subscription was confirmed in time.
        """
        self._client.reconnect_delay_set(min_delay=1, max_delay=2)
        self._client.connect_async(*self._address)
        if self._client.loop_start() != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise ListenerError("the listener's thread did not start")
        if not self._is_subscribed.wait(self._deadline_s):
            host, port = self._address
            raise ListenerError(f"no MQTT broker took a subscription on {host}:{port} in {self._deadline_s:g} s")

    def close(self) -> None:
        """Disconnect; may be called twice."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, *_facts: object) -> None:
        self._client.subscribe([(one, 1) for one in self._filters])

    def _on_subscribe(self, *_facts: object) -> None:
        self._is_subscribed.set()

    def _on_message(self, _client: paho.Client, _user_data: object, message: paho.MQTTMessage) -> None:
        self._on_result(message.topic, bytes(message.payload), time.monotonic())
