"""Owns seeing what comes on topics at next to no cost: a subscriber over one socket that parses no payload.

It subscribes at QoS 0, so that it acknowledges nothing: what a publisher promises is between it and the broker.
"""

import socket
import struct
import threading
import time
from typing import Final

from tests.bench.mqtt_packets import PUBLISH, SUBACK, SUBSCRIBE, connected, packet, text
from tests.simulators.waiting import wait_until

_KIND: Final = 0xF0
_READ_BYTES: Final = 1 << 18
_LENGTH_BITS: Final = 7
_MORE: Final = 0x80
_REFUSED: Final = 0x80


class Tap:
    """A subscriber with a thread of its own; `open` it, and `close` it in any state.

    Args:
        address: Host and port of the broker.
        topic_filter: What is seen.
        client_id: Of its connection.

    Attributes:
        count: How many messages have come.
        arrived: When each came (monotonic, at the read that held it) and what it was: topic, then payload; kept only
            if asked.
    """

    def __init__(self, address: tuple[str, int], topic_filter: str, client_id: str, *, keeps: bool = False) -> None:
        self._address = address
        self._filter = topic_filter
        self._client_id = client_id
        self._keeps = keeps
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._read, name=f"tap {client_id}", daemon=True)
        self.count = 0
        self.arrived: list[tuple[float, bytes]] = []

    def open(self) -> None:
        """Subscribe; returns when the broker has agreed.

        Raises:
            OSError: The broker is away, or refused.
        """
        self._socket = connection = connected(self._address, self._client_id)
        connection.sendall(packet(SUBSCRIBE, struct.pack(">H", 1) + text(self._filter.encode()) + bytes([0])))
        answer = connection.recv(5, socket.MSG_WAITALL)
        if answer[0] != SUBACK or answer[4] & _REFUSED:
            raise ConnectionError(f"the broker answered SUBSCRIBE with {answer.hex()}")
        connection.settimeout(None)
        self._thread.start()

    def close(self) -> None:
        """Leave."""
        if self._socket is not None:
            self._socket.shutdown(socket.SHUT_RDWR)
            self._thread.join()
            self._socket.close()
            self._socket = None

    def wait_for(self, count: int, deadline_s: float) -> None:
        """Wait until so many messages have come since it was opened.

        Raises:
            AssertionError: They did not come in time.
        """
        wait_until(lambda: self.count >= count, deadline_s, f"{count} messages on {self._filter}")

    def _read(self) -> None:
        connection = self._socket
        if connection is None:
            raise AssertionError("open starts the thread")
        rest = b""
        while chunk := connection.recv(_READ_BYTES):
            at_s = time.monotonic()
            rest = self._take(rest + chunk if rest else chunk, at_s)

    def _take(self, data: bytes, at_s: float) -> bytes:
        """Count the whole packets; what is left of the next one."""
        start, end = 0, len(data)
        while True:
            length, shift, at = 0, 0, start + 1
            while at < end:
                digit = data[at]
                at += 1
                length |= (digit & ~_MORE) << shift
                if not digit & _MORE:
                    break
                shift += _LENGTH_BITS
            else:
                return data[start:]
            if at + length > end:
                return data[start:]
            if data[start] & _KIND == PUBLISH:
                if self._keeps:
                    self.arrived.append((at_s, data[at + 2 : at + length]))
                self.count += 1
            start = at + length
