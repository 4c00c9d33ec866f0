"""Owns the bytes of one connection: PUBLISH and PUBACK of both directions are read and written here, past paho.

They are nearly all that a busy connection carries, and they need no state but their packet id. Read and written one by
one by paho they would cost more than all that the agent does with them: several system calls a message, each of which
gives the interpreter away. So they are read by the chunk and written by the chunk. Everything else is paho's, byte for
byte, and so is a PUBLISH that is not well-formed or of QoS 2: paho says what that means.

Whoever has something to write writes it, if the socket takes it: no other thread has to be woken for it. What it does
not take, and all of TLS (whose state is one thread's), the thread writes that turns the connection.

MQTT 3.1.1 and MQTT 5, sections 2 (control packets), 3.3 (PUBLISH) and 3.4 (PUBACK).
"""

import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from socket import socket

_CHUNK_BYTES = 1 << 16
_MAX_LENGTH_DIGITS = 4
_PUBLISH, _PUBACK = 0x30, 0x40
_KIND, _QOS, _RETAIN = 0xF0, 0x06, 0x01
_MORE, _DIGIT = 0x80, 0x7F
_QOS_2 = 2
_ID_BYTES = 2  # of a packet id, and of a topic's length
_SUCCESS, _FIRST_ERROR = 0x00, 0x80
_EXPIRY = 0x02
_MAX_TOPIC_BYTES = 0xFFFF
_MAX_BODY_BYTES = (1 << 28) - 1
_NO_ROOM = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

FIRST_OWN_ID = 1 << 15
"""Packet ids from here on are the wire's, those below are paho's: it counts up from 1 and needs a few."""

LAST_OWN_ID = (1 << 16) - 1


@dataclass(slots=True)
class Received:
    """One PUBLISH of QoS 0 or 1; `message_id` is 0 at QoS 0, and `topic` is UTF-8 if the broker keeps its word."""

    topic: bytes
    payload: bytes
    qos: int
    retain: bool
    message_id: int


@dataclass(slots=True)
class Settled:
    """What became of messages of ours, by message id.

    Attributes:
        done: Acknowledged, or, at QoS 0, given to the socket.
        refused: Acknowledged with an error: the id and the reason code (MQTT 5, section 3.4.2.1).
    """

    done: Sequence[int] = ()
    refused: Sequence[tuple[int, int]] = ()


class Wire:
    """Stands where paho expects its socket. Belongs to the thread that turns the connection.

    Any thread may call `acknowledge`, `publish`, `send_now` and `settled`.

    Args:
        connection: Connected and, for TLS, agreed on it.
        has_properties: Whether a PUBLISH carries MQTT 5 properties.
        on_message: Called from within `recv`, in the order of arrival.
    """

    def __init__(self, connection: socket, *, has_properties: bool, on_message: Callable[[Received], None]) -> None:
        self._connection = connection
        self._has_properties = has_properties
        self._on_message = on_message
        self._came = bytearray()
        self._needed_bytes = 0  # so many must be there before it is worth looking for a packet again
        self._for_paho = bytearray()
        self._has_ended = False
        self._is_shared = not isinstance(connection, ssl.SSLSocket)
        self._writing = threading.Lock()  # guards all below
        self._waiting: list[bytes] = []
        self._unsent = b""
        self._is_amid_packet = False  # of paho's: nothing may come between its parts
        self._last_id = LAST_OWN_ID
        self._last_unnumbered = 0
        self._unacknowledged: set[int] = set()
        self._unwritten: list[int] = []  # at QoS 0
        self._done: list[int] = []
        self._refused: list[tuple[int, int]] = []

    def fileno(self) -> int:
        """The socket's descriptor, for `select`."""
        return self._connection.fileno()

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001 - the library's signature
        """As of the socket."""
        self._connection.setblocking(flag)

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """As of the socket."""
        self._connection.setsockopt(level, option, value)

    def close(self) -> None:
        """As of the socket."""
        self._connection.close()

    def pending(self) -> int:
        """Bytes that can be read without waiting for the socket."""
        decrypted = self._connection.pending() if isinstance(self._connection, ssl.SSLSocket) else 0
        return len(self._for_paho) + decrypted

    @property
    def has_packets(self) -> bool:
        """Whether something waits for paho, be it the news that the stream has ended."""
        return bool(self._for_paho) or self._has_ended

    def read(self) -> None:
        """Read what came, as far as one call gives it: messages are handed over, the rest waits for `recv`.

        Raises:
            BlockingIOError: Nothing at present.
            OSError: The connection broke.
        """
        data = self._connection.recv(_CHUNK_BYTES)
        if data:
            self._came += data
            self._sort()
        else:
            self._has_ended = True

    def recv(self, buffer_size: int) -> bytes:
        """What is left for paho, at most `buffer_size` bytes; `b""` at the end of the stream.

        Raises:
            BlockingIOError: Nothing at present.
            OSError: The connection broke.
        """
        if not self._for_paho:
            if not self._has_ended:
                self.read()
            if self._has_ended and not self._for_paho:
                return b""
        if not self._for_paho:
            raise BlockingIOError
        piece = bytes(self._for_paho[:buffer_size])
        del self._for_paho[:buffer_size]
        return piece

    def send(self, buffer: bytes | bytearray) -> int:
        """Send what paho has, as much as there is room for; what is unsent of our own goes first.

        Raises:
            BlockingIOError: No room at present.
            OSError: The connection broke.
        """
        with self._writing:
            if not self._is_amid_packet:
                self._send_rest()
            try:
                sent = self._connection.send(buffer)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                self._is_amid_packet = True  # TLS has begun with these bytes, and would take others for them
                raise
            self._is_amid_packet = sent < len(buffer)
            return sent

    @property
    def has_unsent(self) -> bool:
        """Whether something waits for room in the socket, or for the thread that turns the connection."""
        return bool(self._unsent or self._waiting)

    def acknowledge(self, message_ids: Iterable[int]) -> None:
        """Note PUBACKs, in this order."""
        pieces = [struct.pack("!BBH", _PUBACK, _ID_BYTES, message_id) for message_id in message_ids]
        with self._writing:
            self._waiting += pieces

    def publish(self, topic: str, payload: bytes, qos: int, *, retain: bool, expiry_s: int | None) -> int:
        """Note a PUBLISH of QoS 0 or 1.

        Args:
            topic: Where to.
            payload: As it is.
            qos: 0 or 1.
            retain: Whether the broker keeps it.
            expiry_s: How long the broker may keep it (MQTT 5); None: for ever.

        Returns:
            The message id by which `settled` names it: its packet id, or at QoS 0, where there is none, a negative one.

        Raises:
            ValueError: No such message can be sent: its topic has a wildcard, or it is too large.
        """
        name = topic.encode()
        if not name or len(name) > _MAX_TOPIC_BYTES or b"+" in name or b"#" in name:
            raise ValueError(f"nothing can be published to {topic[:80]!r}")
        properties = b""
        if self._has_properties:
            properties = b"\0" if expiry_s is None else struct.pack("!BBI", 5, _EXPIRY, expiry_s)
        length = _ID_BYTES + len(name) + (_ID_BYTES if qos else 0) + len(properties) + len(payload)
        if length > _MAX_BODY_BYTES:
            raise ValueError(f"{len(payload)} bytes are more than a message may have")
        head = bytes((_PUBLISH | qos << 1 | retain, *_digits(length))) + len(name).to_bytes(_ID_BYTES, "big") + name
        with self._writing:
            if qos:
                message_id = self._next_id()
                self._unacknowledged.add(message_id)
                self._waiting += (head + message_id.to_bytes(_ID_BYTES, "big") + properties, payload)
                return message_id
            self._last_unnumbered -= 1
            self._unwritten.append(self._last_unnumbered)
            self._waiting += (head + properties, payload)
            return self._last_unnumbered

    def send_waiting(self) -> None:
        """Send what was noted, in order; what there is no room for is sent by a later call.

        Raises:
            OSError: The connection broke.
        """
        with self._writing:
            if self._is_amid_packet:
                return
            try:
                self._send_rest()
            except _NO_ROOM:
                return

    def send_now(self) -> bool:
        """The same from any thread.

        Returns:
            False when the thread that turns the connection has to send it, or to say that the connection broke.
        """
        if not self._is_shared:
            return False
        try:
            self.send_waiting()
        except OSError:
            return False
        return not self.has_unsent

    def settled(self) -> Settled:
        """What became of messages since the last call."""
        with self._writing:
            settled = Settled(self._done, self._refused)
            self._done, self._refused = [], []
        return settled

    def _send_rest(self) -> None:
        """Send all that was noted; the caller holds the lock."""
        if self._waiting:
            self._unsent += b"".join(self._waiting)
            self._waiting.clear()
        while self._unsent:
            self._unsent = self._unsent[self._connection.send(self._unsent) :]
        if self._unwritten:
            self._done += self._unwritten
            self._unwritten.clear()

    def _next_id(self) -> int:
        while True:
            self._last_id = FIRST_OWN_ID if self._last_id == LAST_OWN_ID else self._last_id + 1
            if self._last_id not in self._unacknowledged:
                return self._last_id

    def _sort(self) -> None:
        """Take every whole packet out of what came: messages are handed over, the rest is kept for paho."""
        came, at = self._came, 0
        while len(came) - at >= self._needed_bytes:
            self._needed_bytes = 0
            try:
                length, first = _length(came, at + 1)
            except IndexError:
                break
            except ValueError:  # no packet can be found from here on
                length, first = len(came) - at, at
            end = first + length
            if end > len(came):
                self._needed_bytes = end - at
                break
            kind = came[at]
            body = bytes(came[first:end]) if first > at else b""
            message = self._message(kind, body)
            if message is not None:
                self._on_message(message)
            elif kind != _PUBACK or not self._is_settled(body):
                self._for_paho += came[at:end]
            at = end
        del came[:at]

    def _is_settled(self, body: bytes) -> bool:
        """Take a PUBACK after its fixed header; False when it is for a message of paho's."""
        message_id = int.from_bytes(body[:_ID_BYTES], "big")
        with self._writing:
            if message_id not in self._unacknowledged:
                return False
            self._unacknowledged.discard(message_id)
            code = body[_ID_BYTES] if len(body) > _ID_BYTES else _SUCCESS
            if code < _FIRST_ERROR:
                self._done.append(message_id)
            else:
                self._refused.append((message_id, code))
        return True

    def _message(self, kind_and_flags: int, body: bytes) -> Received | None:
        """Read a PUBLISH after its fixed header; None for anything else, and for what paho is to judge."""
        qos = (kind_and_flags & _QOS) >> 1
        if kind_and_flags & _KIND != _PUBLISH or qos >= _QOS_2 or not body:
            return None
        message_id = 0
        try:
            end = _ID_BYTES + (body[0] << 8 | body[1])
            topic = body[_ID_BYTES:end]
            if qos:
                message_id = body[end] << 8 | body[end + 1]
                end += _ID_BYTES
            if self._has_properties:
                length, end = _length(body, end)
                end += length
        except (IndexError, ValueError):
            return None
        is_sound = topic and end <= len(body) and (message_id or not qos)
        return Received(topic, body[end:], qos, bool(kind_and_flags & _RETAIN), message_id) if is_sound else None


def _digits(length: int) -> bytes:
    """Write a variable byte integer (MQTT 5, section 1.5.5)."""
    digits = bytearray()
    while length > _DIGIT:
        digits.append(length & _DIGIT | _MORE)
        length >>= 7
    digits.append(length)
    return bytes(digits)


def _length(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """Read a variable byte integer (MQTT 5, section 1.5.5): its value, and where it ends.

    Raises:
        IndexError: It is not whole.
        ValueError: It is longer than such an integer can be.
    """
    value = 0
    for place in range(_MAX_LENGTH_DIGITS):
        digit = data[at + place]
        value |= (digit & _DIGIT) << (7 * place)
        if not digit & _MORE:
            return value, at + place + 1
    raise ValueError("no end within 4 bytes")
