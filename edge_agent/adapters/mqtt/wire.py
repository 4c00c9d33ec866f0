"""Owns the bytes of one connection: messages are taken out on their way in, their acknowledgements put in on it out.

Nearly all that a busy connection carries is PUBLISH in and PUBACK out, and they need no state but their packet id. Read
one by one by paho they would cost more than all that the agent does with them: several system calls a message, each of
which gives the interpreter away. So they are read by the chunk here, and never reach paho. Everything else is paho's,
byte for byte, and so is a PUBLISH that is not well-formed or of QoS 2: paho says what that means.

MQTT 3.1.1 and MQTT 5, sections 2 (control packets), 3.3 (PUBLISH) and 3.4 (PUBACK).
"""

import ssl
import struct
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from socket import socket

_CHUNK_BYTES = 1 << 16
_MAX_LENGTH_DIGITS = 4
_PUBLISH, _PUBACK = 0x30, 0x40
_KIND, _QOS, _RETAIN = 0xF0, 0x06, 0x01
_MORE, _DIGIT = 0x80, 0x7F
_QOS_2 = 2
_ID_BYTES = 2  # of a packet id, and of a topic's length


@dataclass(frozen=True, slots=True)
class Received:
    """One PUBLISH of QoS 0 or 1; `message_id` is 0 at QoS 0, and `topic` is UTF-8 if the broker keeps its word."""

    topic: bytes
    payload: bytes
    qos: int
    retain: bool
    message_id: int


class Wire:
    """Stands where paho expects its socket. Belongs to the thread that turns the connection, but for `acknowledge`.

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
        self._to_acknowledge: deque[int] = deque()
        self._unsent = b""

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
        """Whether something waits for paho."""
        return bool(self._for_paho)

    def recv(self, buffer_size: int) -> bytes:
        """What is left for paho, at most `buffer_size` bytes; `b""` at the end of the stream.

        Raises:
            BlockingIOError: Nothing at present.
            OSError: The connection broke.
        """
        if not self._for_paho:
            data = self._connection.recv(_CHUNK_BYTES)
            if not data:
                return b""
            self._came += data
            self._sort()
        if not self._for_paho:
            raise BlockingIOError
        piece = bytes(self._for_paho[:buffer_size])
        del self._for_paho[:buffer_size]
        return piece

    def send(self, buffer: bytes | bytearray) -> int:
        """Send what paho has, as much as there is room for; what is unsent of acknowledgements goes first.

        Raises:
            BlockingIOError: No room at present.
            OSError: The connection broke.
        """
        self._send_rest()
        return self._connection.send(buffer)

    def acknowledge(self, message_ids: Iterable[int]) -> None:
        """Note PUBACKs; they go out with the next `send_acknowledgements`. May be called from any thread."""
        self._to_acknowledge.extend(message_ids)

    def send_acknowledgements(self) -> None:
        """Send what was noted, in order, as one piece; must not be called between two parts of one of paho's packets.

        What there is no room for is sent by a later call.

        Raises:
            OSError: The connection broke.
        """
        waiting = len(self._to_acknowledge)
        ids = (self._to_acknowledge.popleft() for _ in range(waiting))
        self._unsent += b"".join(struct.pack("!BBH", _PUBACK, _ID_BYTES, message_id) for message_id in ids)
        try:
            self._send_rest()
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return

    def _send_rest(self) -> None:
        while self._unsent:
            self._unsent = self._unsent[self._connection.send(self._unsent) :]

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
            message = self._message(came[at], bytes(came[first:end])) if first > at else None
            if message is None:
                self._for_paho += came[at:end]
            else:
                self._on_message(message)
            at = end
        del came[:at]

    def _message(self, kind_and_flags: int, body: bytes) -> Received | None:
        """Read a PUBLISH after its fixed header; None for anything else, and for what paho is to judge."""
        qos = (kind_and_flags & _QOS) >> 1
        if kind_and_flags & _KIND != _PUBLISH or qos >= _QOS_2:
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
