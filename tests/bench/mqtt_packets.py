"""Owns the few MQTT 3.1.1 packets that benches write and read by hand (OASIS MQTT 3.1.1, sections 2.2, 3.1 to 3.9)."""

import socket
import struct
from typing import Final

CONNECT: Final = 0x10
PUBLISH: Final = 0x30
PUBACK: Final = 0x40
SUBSCRIBE: Final = 0x82
SUBACK: Final = 0x90
PUBACK_BYTES: Final = 4
_CONNACK_ACCEPTED: Final = bytes([0x20, 2, 0, 0])
_CLEAN_SESSION: Final = 2
_KEEPALIVE_S: Final = bytes([0xFF, 0xFF])
_CONNECT_DEADLINE_S: Final = 15.0


def connected(address: tuple[str, int], client_id: str) -> socket.socket:
    """Connect as a client without a session that may be silent for hours.

    Raises:
        OSError: The broker is away, or does not take the client.
    """
    connection = socket.create_connection(address, _CONNECT_DEADLINE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    body = text(b"MQTT") + bytes([4, _CLEAN_SESSION]) + _KEEPALIVE_S + text(client_id.encode())
    connection.sendall(packet(CONNECT, body))
    answer = connection.recv(len(_CONNACK_ACCEPTED), socket.MSG_WAITALL)
    if answer != _CONNACK_ACCEPTED:
        connection.close()
        raise ConnectionError(f"the broker answered CONNECT with {answer.hex()}")
    return connection


def publish(topic: str, payload: bytes, qos: int, packet_id: int) -> bytes:
    """A PUBLISH packet; the id is not sent at QoS 0."""
    number = struct.pack(">H", packet_id) if qos else b""
    return packet(PUBLISH | qos << 1, text(topic.encode()) + number + payload)


def text(content: bytes) -> bytes:
    """A string of the protocol."""
    return struct.pack(">H", len(content)) + content


def packet(kind: int, body: bytes) -> bytes:
    """Kind, remaining length, body."""
    length, left = bytearray(), len(body)
    while True:
        left, digit = divmod(left, 128)
        length.append(digit | (0x80 if left else 0))
        if not left:
            return bytes([kind, *length]) + body
