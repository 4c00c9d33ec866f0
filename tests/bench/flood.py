"""Owns publishing messages at next to no cost, so that a bench measures who takes them and not who sends them.

MQTT by hand over one socket: packets are made beforehand and sent by the hundred. What the messages say is the bench's
business.
"""

import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

from tests.bench.mqtt_packets import PUBACK_BYTES, connected, publish

_PACKET_IDS: Final = 65_535
_UNACKNOWLEDGED: Final = 2_000
_LOOK_EVERY_S: Final = 0.005
_READ_OUT_S: Final = 15.0


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
        self._socket = connected(self._address, "bench-flood")

    def close(self) -> None:
        """Leave; may be called twice."""
        if self._socket is not None:
            self._socket.close()

    def packets(self, messages: Sequence[tuple[str, bytes]], qos: int = 1) -> list[bytes]:
        """Make PUBLISH packets of topics and payloads, to be poured next."""
        made = []
        for topic, payload in messages:
            self._next_id = self._next_id % _PACKET_IDS + 1
            made.append(publish(topic, payload, qos, self._next_id))
        return made

    def pour(
        self, packets: Sequence[bytes], taken: Callable[[], int], *, backlog: int, deadline_s: float, qos: int = 1
    ) -> float:
        """Publish as fast as the messages are taken, and wait until all are.

        Args:
            packets: In the order of their ids.
            taken: How many of them the subscriber has taken.
            backlog: How many may be published and not taken.
            deadline_s: How long it may last.
            qos: Of the packets; at 0 the broker acknowledges none, and the backlog alone bounds them.

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
            acknowledged = acknowledged_bytes // PUBACK_BYTES if qos else now
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
        if qos:
            _read_out(connection, PUBACK_BYTES * len(packets) - acknowledged_bytes)
        return took_s

    def send(self, made: bytes) -> float:
        """Publish one packet now; the monotonic time just before.

        Raises:
            OSError: The broker ended the connection.
        """
        if self._socket is None:
            raise ConnectionError("send before open")
        at_s = time.monotonic()
        self._socket.sendall(made)
        return at_s

    def settle(self, count: int) -> None:
        """Read what the broker acknowledged of so many QoS 1 packets sent one by one."""
        if self._socket is not None:
            _read_out(self._socket, PUBACK_BYTES * count)


def _read_out(connection: socket.socket, left_bytes: int) -> None:
    connection.settimeout(_READ_OUT_S)
    while left_bytes > 0:
        left_bytes -= len(connection.recv(left_bytes))
