"""Owns one MQTT connection from CONNECT to its end: a fresh paho client, used once.

A new connection is a new object with a new generation, so nothing of an old one (packet ids, unsent packets, acks) can
reach the next. What happens on it is handed out as events after each `turn`; who reacts to them is `broker.py`.

Messages and their acknowledgements go past paho, through `wire.py`, but for those about the connection itself (`say`);
the loop over the socket is `turn`'s own, as paho provides for (`loop_read`, `loop_write`, `loop_misc`).

Threads: `dial`, `turn` and `abandon` belong to the broker's thread. The others may be called from any: `flush` writes
what the socket takes at once; what it does not take, and what is paho's, is queued and `turn` is woken (a registered
socket callback is what tells paho not to write from there itself).
"""

import contextlib
import select
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_agent.adapters.mqtt.failures import dial_failure, file_failure
from edge_agent.adapters.mqtt.routing import Source
from edge_agent.adapters.mqtt.version_choice import V5
from edge_agent.adapters.mqtt.wire import Received, Settled, Wire
from edge_agent.broker_settings import BrokerSettings
from edge_agent.ports import Publish

CONNECT_TIMEOUT_S = 5.0

OFFLINE = b"offline"
_AT_LEAST_ONCE = 1
_WAKES_BYTES = 1 << 12
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
class Said:
    """PUBACK of what `say` sent."""

    message_id: int


@dataclass(frozen=True, slots=True)
class Published:
    """What became of messages that `publish` sent."""

    settled: Settled


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


Event = Accepted | Refused | Said | Published | Subscribed | Unsubscribed | Ended

OnMessage = Callable[[Received], None]


class _ClosedWhenRefused(ssl.SSLSocket):
    """A socket that a failed handshake closes: paho would leave it to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - the library's signature
        """Agree on TLS, or close."""
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


class _Client(paho.Client):
    """Paho's client on a `Wire`.

    Args:
        on_message: Takes the messages.
        client_id: As of paho.
        version: As of paho.
        clean_session: As of paho; None on MQTT 5.
    """

    wire: Wire | None = None

    def __init__(
        self, on_message: OnMessage, client_id: str, version: MQTTProtocolVersion, *, clean_session: bool | None
    ) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=version,
            clean_session=clean_session,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        self._version = version
        self._on_received = on_message

    def _create_socket(self) -> Wire:
        """Connect as paho does; what it reads and writes goes through the wire."""
        connection = cast("socket.socket", super()._create_socket())
        self.wire = Wire(connection, has_properties=self._version is V5, on_message=self._on_received)
        return self.wire


class Connection:
    """One connection to one broker.

    Args:
        settings: The broker.
        generation: Number of this connection, carried by the acks of its messages.
        version: MQTT 5 or 3.1.1.
        on_message: Called on the broker's thread for each message; must not block.
        on_read: Called on the same thread after the messages of each read.
        is_probe: A look at the broker that leaves no session and no will behind (`doctor`).
    """

    def __init__(
        self,
        settings: BrokerSettings,
        generation: int,
        version: MQTTProtocolVersion,
        on_message: OnMessage,
        *,
        on_read: Callable[[], None] = lambda: None,
        is_probe: bool = False,
    ) -> None:
        self.generation = generation
        self._on_read = on_read
        self._settings = settings
        self._version = version
        self._is_probe = is_probe
        self._events: deque[Event] = deque()
        self._waker, self._wakes = socket.socketpair()
        for end in (self._waker, self._wakes):
            end.setblocking(False)
        self._client = client = _Client(
            on_message, settings.client_id, version, clean_session=None if version is V5 else is_probe
        )
        client.max_inflight_messages_set(0)  # the window is counted by the broker object, per outbox row
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        client.on_socket_open = _sent_at_once
        client.on_socket_register_write = lambda _client, _data, _socket: self._wake()
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
        try:
            is_alive = self._turn(timeout_s)
        except OSError:  # nothing more of it can be read or written
            is_alive = False
        if not is_alive and not self._has_ended():
            self._events.append(Ended(None))
        events = list(self._events)
        self._events.clear()
        return events

    def say(self, topic: str, payload: bytes) -> int | None:
        """Queue a retained message of QoS 1 about the connection itself, behind what paho has queued.

        Returns:
            Its id, which comes back in `Said`; None when the connection has just ended.
        """
        info = self._client.publish(topic, payload, _AT_LEAST_ONCE, retain=True)
        return info.mid if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS else None

    def note(self, publish: Publish) -> int | None:
        """Note a message of QoS 0 or 1; it goes out with the next `flush`.

        Returns:
            Its id, which comes back in `Published`, or from `flush`; None when there is no connection.

        Raises:
            ValueError: No such message can be sent.
        """
        wire = self._client.wire
        if wire is None:
            return None
        return wire.publish(
            publish.topic, publish.payload, publish.qos, retain=publish.retain, expiry_s=publish.expiry_s
        )

    def flush(self) -> Settled:
        """Send what was noted, as far as the socket takes it at once; `turn` sends the rest.

        Returns:
            What became of messages by now.
        """
        wire = self._client.wire
        if wire is None:
            return Settled()
        if not wire.send_now():
            self._wake()
        return wire.settled()

    def ack(self, message_ids: Iterable[int]) -> None:
        """Note PUBACKs; they go out with the next `flush`."""
        wire = self._client.wire
        if wire is not None:
            wire.acknowledge(message_ids)

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
        self._wakes.close()
        self._waker.close()

    def _turn(self, timeout_s: float) -> bool:
        """One round of the loop; False when the connection is gone."""
        client, wire = self._client, self._client.wire
        if wire is None or client.socket() is None:
            return False
        readable: list[Wire | socket.socket] = [wire, self._wakes]
        writable = [wire] if client.want_write() or wire.has_unsent else []
        ready, _, _ = select.select(readable, writable, [], 0.0 if wire.pending() else timeout_s)
        if self._wakes in ready:
            self._wakes.recv(_WAKES_BYTES)
        if wire in ready or wire.pending():
            with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                wire.read()
            self._on_read()
            while wire.has_packets and client.loop_read() is MQTTErrorCode.MQTT_ERR_SUCCESS:
                pass
        if client.socket() is not None:
            wire.send_waiting()
        if client.want_write():
            client.loop_write()
        settled = wire.settled()
        if settled.done or settled.refused:
            self._events.append(Published(settled))
        return client.loop_misc() is MQTTErrorCode.MQTT_ERR_SUCCESS

    def _wake(self) -> None:
        """Let `turn` look again; where it has not looked yet since the last time, or is over, nothing is needed."""
        with contextlib.suppress(OSError):
            self._waker.send(b"!")

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
        self, _client: paho.Client, _data: object, message_id: int, _reason: ReasonCode, _props: Properties
    ) -> None:
        self._events.append(Said(message_id))

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
