"""Owns one MQTT connection from CONNECT to its end: a fresh paho client, used once.

A new connection is a new object with a new generation, so nothing of an old one (packet ids, unsent packets, acks) can
reach the next. What happens on it is handed out as events after each `turn`; who reacts to them is `broker.py`.

Threads: `dial`, `turn` and `abandon` belong to the broker's thread. `publish` and `ack` may be called from any: paho
queues the packet and wakes `turn` (a registered socket callback is what tells paho not to write from there itself).
"""

import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_agent.adapters.mqtt.failures import dial_failure, file_failure
from edge_agent.adapters.mqtt.routing import Source
from edge_agent.adapters.mqtt.version_choice import V5
from edge_agent.broker_settings import BrokerSettings

CONNECT_TIMEOUT_S = 5.0

OFFLINE = b"offline"
_AT_LEAST_ONCE = 1
_NEVER_SEND_RETAINED = 2
_SEND_RETAINED = 0


@dataclass(frozen=True, slots=True)
class Accepted:
    """CONNACK: the broker took us; `window` is how many of our messages it takes unacknowledged, if it said so."""

    session_present: bool
    window: int | None


@dataclass(frozen=True, slots=True)
class Refused:
    """CONNACK: the broker did not take us."""

    reason: ReasonCode


@dataclass(frozen=True, slots=True)
class Published:
    """PUBACK (or, for QoS 0, written to the socket)."""

    message_id: int
    reason: ReasonCode


@dataclass(frozen=True, slots=True)
class Subscribed:
    """SUBACK, one reason for each filter."""

    message_id: int
    reasons: tuple[ReasonCode, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """UNSUBACK."""

    message_id: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The connection is gone; `reason` is the broker's own (MQTT 5 DISCONNECT), where it gave one."""

    reason: ReasonCode | None


Event = Accepted | Refused | Published | Subscribed | Unsubscribed | Ended

OnMessage = Callable[[paho.MQTTMessage], None]


class _ClosedWhenRefused(ssl.SSLSocket):
    """A socket that a failed handshake closes: paho would leave it to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - the library's signature
        """Agree on TLS, or close."""
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


class Connection:
    """One connection to one broker.

    Args:
        settings: The broker.
        generation: Number of this connection, carried by the acks of its messages.
        version: MQTT 5 or 3.1.1.
        on_message: Called on the broker's thread for each message; must not block.
        is_probe: A look at the broker that leaves no session and no will behind (`doctor`).
    """

    def __init__(
        self,
        settings: BrokerSettings,
        generation: int,
        version: MQTTProtocolVersion,
        on_message: OnMessage,
        *,
        is_probe: bool = False,
    ) -> None:
        self.generation = generation
        self._settings = settings
        self._version = version
        self._is_probe = is_probe
        self._events: deque[Event] = deque()
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            settings.client_id,
            protocol=version,
            clean_session=None if version is V5 else is_probe,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(0)  # the window is counted by the broker object, per outbox row
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        client.on_message = lambda _client, _userdata, message: on_message(message)
        client.on_socket_open = _sent_at_once
        client.on_socket_register_write = _woken_through_paho
        if not is_probe:
            client.will_set(settings.status_topic, OFFLINE, _AT_LEAST_ONCE, retain=True)

    def dial(self) -> None:
        """Resolve, connect, agree on TLS, and queue CONNECT; blocks for at most some seconds each.

        Raises:
            failures.LinkFailure: Nobody was reached, or a credential file cannot be used.
        """
        settings = self._settings
        if settings.username is not None or settings.password_file is not None:
            self._client.username_pw_set(settings.username or "", self._password())
        if settings.endpoint.is_tls:
            self._client.tls_set_context(self._tls_context())
        try:
            if self._version is V5:
                self._client.connect(
                    settings.endpoint.host,
                    settings.endpoint.port,
                    settings.keepalive_s,
                    clean_start=self._is_probe,
                    properties=self._connect_properties(),
                )
            else:
                self._client.connect(settings.endpoint.host, settings.endpoint.port, settings.keepalive_s)
        except OSError as exc:
            raise dial_failure(settings, exc) from exc

    def turn(self, timeout_s: float) -> list[Event]:
        """Read and write what there is, waiting at most `timeout_s` for something; return what happened."""
        if self._client.loop(timeout_s) is not MQTTErrorCode.MQTT_ERR_SUCCESS and not self._has_ended():
            self._events.append(Ended(None))
        events = list(self._events)
        self._events.clear()
        return events

    def publish(self, topic: str, payload: bytes, qos: int, *, retain: bool, expiry_s: int | None) -> int | None:
        """Queue a PUBLISH; its id comes back in `Published`. None when the connection has just ended."""
        properties = None
        if expiry_s is not None and self._version is V5:
            properties = Properties(PacketTypes.PUBLISH)
            properties.MessageExpiryInterval = expiry_s
        info = self._client.publish(topic, payload, qos, retain, properties)
        return info.mid if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS else None

    def ack(self, message_ids: Iterable[int]) -> None:
        """Queue PUBACKs."""
        for message_id in message_ids:
            self._client.ack(message_id, _AT_LEAST_ONCE)

    def subscribe(self, sources: Sequence[Source]) -> int | None:
        """Queue one SUBSCRIBE for all; on MQTT 5 retained messages are not even sent where nobody takes them."""
        if self._version is V5:
            wanted = [(s.template.filter, _options(s)) for s in sources]
            return self._client.subscribe(wanted)[1]
        return self._client.subscribe([(s.template.filter, s.qos) for s in sources])[1]

    def unsubscribe(self, filters: Iterable[str]) -> int | None:
        """Queue one UNSUBSCRIBE."""
        return self._client.unsubscribe(sorted(filters))[1]

    def read_once(self, topic: str) -> None:
        """Subscribe to one topic as an onlooker, retained message included (`doctor`)."""
        self._client.subscribe(topic, _AT_LEAST_ONCE)

    def disconnect(self) -> None:
        """Queue DISCONNECT: the broker drops the will."""
        self._client.disconnect()

    def abandon(self) -> None:
        """Close the socket; the broker publishes the will if DISCONNECT was not sent."""
        self._client.on_disconnect = None
        connection = self._client.socket()
        if connection is not None:
            connection.close()

    def _password(self) -> str | None:
        path = self._settings.password_file
        if path is None:
            return None
        try:
            return path.read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as exc:
            raise file_failure(self._settings, path, "password_file", exc) from exc

    def _tls_context(self) -> ssl.SSLContext:
        files = self._settings.tls
        try:
            context = ssl.create_default_context(cafile=None if files.ca is None else str(files.ca))
        except (OSError, ssl.SSLError) as exc:
            raise file_failure(self._settings, files.ca, "tls.ca", exc) from exc
        context.sslsocket_class = _ClosedWhenRefused
        if files.cert is not None:
            try:
                context.load_cert_chain(files.cert, files.key)
            except (OSError, ssl.SSLError) as exc:
                raise file_failure(self._settings, files.cert, "tls.cert (with tls.key)", exc) from exc
        return context

    def _connect_properties(self) -> Properties:
        properties = Properties(PacketTypes.CONNECT)
        properties.ReceiveMaximum = self._settings.receive_maximum
        properties.SessionExpiryInterval = 0 if self._is_probe else self._settings.session_expiry_s
        return properties

    def _has_ended(self) -> bool:
        return any(isinstance(event, Ended) for event in self._events)

    def _on_connect(
        self,
        _client: paho.Client,
        _data: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        props: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._events.append(Refused(reason))
            return
        window = getattr(props, "ReceiveMaximum", None)
        self._events.append(Accepted(flags.session_present, window))

    def _on_disconnect(
        self,
        _client: paho.Client,
        _data: object,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _props: Properties | None,
    ) -> None:
        self._events.append(Ended(reason if flags.is_disconnect_packet_from_server else None))

    def _on_publish(
        self, _client: paho.Client, _data: object, message_id: int, reason: ReasonCode, _props: Properties
    ) -> None:
        self._events.append(Published(message_id, reason))

    def _on_subscribe(
        self,
        _client: paho.Client,
        _data: object,
        message_id: int,
        reasons: list[ReasonCode],
        _props: Properties | None,
    ) -> None:
        self._events.append(Subscribed(message_id, tuple(reasons)))

    def _on_unsubscribe(
        self,
        _client: paho.Client,
        _data: object,
        message_id: int,
        _reasons: list[ReasonCode],
        _props: Properties | None,
    ) -> None:
        self._events.append(Unsubscribed(message_id))


def _options(source: Source) -> SubscribeOptions:
    handling = _SEND_RETAINED if source.takes_retained else _NEVER_SEND_RETAINED
    return SubscribeOptions(qos=source.qos, retainHandling=handling)


def _sent_at_once(_client: paho.Client, _data: object, connection: Any) -> None:  # noqa: ANN401 - paho's socket, TLS or not
    """Small packets go out without waiting for the ACK of the one before (Nagle's algorithm costs 40 ms here)."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _woken_through_paho(_client: paho.Client, _data: object, _socket: object) -> None:
    """Nothing to do: paho has already written to the socket pair that `loop` waits on."""
