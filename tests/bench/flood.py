"""Owns publishing QoS 1 messages at next to no cost, so that a bench measures who takes them and not who sends them.

MQTT 3.1.1 by hand over one socket (OASIS MQTT 3.1.1, sections 3.1 to 3.4): packets are made beforehand and sent by the
hundred. What the messages say is the bench's business.
"""

import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Final

_CONNECT: Final = 0x10
_CONNACK_ACCEPTED: Final = bytes([0x20, 2, 0, 0])
_PUBLISH_QOS_1: Final = 0x32
_CLEAN_SESSION: Final = 2
_PUBACK_BYTES: Final = 4
_PACKET_IDS: Final = 65_535
_UNACKNOWLEDGED: Final = 2_000
_LOOK_EVERY_S: Final = 0.005
_CONNECT_DEADLINE_S: Final = 15.0


class Flood:
    """A publisher. Packet ids go round, so fewer than 65,535 messages may be under way at once, and are.

    Args:
        address: Host and port of the broker.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self._next_id = 0

    def open(self) -> None:
        """Connect as a client without a session.

        Raises:
            OSError: The broker is away, or does not take the client.
        """
        self._socket = connection = socket.create_connection(self._address, _CONNECT_DEADLINE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = _text(b"MQTT") + bytes([4, _CLEAN_SESSION, 0, 0]) + _text(b"bench-flood")
        connection.sendall(_packet(_CONNECT, body))
        answer = connection.recv(len(_CONNACK_ACCEPTED), socket.MSG_WAITALL)
        if answer != _CONNACK_ACCEPTED:
            raise ConnectionError(f"the broker answered CONNECT with {answer.hex()}")

    def close(self) -> None:
        """Leave; may be called twice."""
        if self._socket is not None:
            self._socket.close()

    def packets(self, messages: Sequence[tuple[str, bytes]]) -> list[bytes]:
        """Make PUBLISH packets of topics and payloads, to be poured next."""
        made = []
        for topic, payload in messages:
            self._next_id = self._next_id % _PACKET_IDS + 1
            made.append(_packet(_PUBLISH_QOS_1, _text(topic.encode()) + struct.pack(">H", self._next_id) + payload))
        return made

    def pour(self, packets: Sequence[bytes], taken: Callable[[], int], *, backlog: int, deadline_s: float) -> float:
        """Publish as fast as the messages are taken, and wait until all are.

        Args:
            packets: In the order of their ids.
            taken: How many of them the subscriber has taken.
            backlog: How many may be published and not taken.
            deadline_s: How long it may last.

        Returns:
            Seconds from the first message sent to the last one taken.

        Raises:
            TimeoutError: They were not all taken in time.
            OSError: The broker ended the connection.
        """
        connection = self._socket
        if connection is None:
            raise ConnectionError("pour before open")
        connection.settimeout(_LOOK_EVERY_S)
        sent = acknowledged_bytes = 0
        began_s = time.monotonic()
        while (now := taken()) < len(packets):
            if time.monotonic() - began_s > deadline_s:
                raise TimeoutError(f"{now} of {len(packets)} messages were taken within {deadline_s:g} s")
            acknowledged = acknowledged_bytes // _PUBACK_BYTES
            upto = min(len(packets), now + backlog, acknowledged + _UNACKNOWLEDGED)
            if upto > sent:
                connection.settimeout(deadline_s)
                connection.sendall(b"".join(packets[sent:upto]))
                connection.settimeout(_LOOK_EVERY_S)
                sent = upto
            try:
                got = len(connection.recv(1 << 16))
            except TimeoutError:
                continue
            if got == 0:
                raise ConnectionError("the broker ended the publisher's connection")
            acknowledged_bytes += got
        took_s = time.monotonic() - began_s
        _read_out(connection, _PUBACK_BYTES * len(packets) - acknowledged_bytes)
        return took_s


def _read_out(connection: socket.socket, left_bytes: int) -> None:
    connection.settimeout(_CONNECT_DEADLINE_S)
    while left_bytes > 0:
        left_bytes -= len(connection.recv(left_bytes))


def _text(text: bytes) -> bytes:
    return struct.pack(">H", len(text)) + text


def _packet(kind: int, body: bytes) -> bytes:
    length, left = bytearray(), len(body)
    while True:
        left, digit = divmod(left, 128)
        length.append(digit | (0x80 if left else 0))
        if not left:
            return bytes([kind, *length]) + body
