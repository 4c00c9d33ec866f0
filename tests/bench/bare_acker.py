"""Owns the baseline of bench_ingest: a paho subscriber that acknowledges every message at once and keeps nothing.

Run as a program: `bare_acker.py HOST PORT TOPIC_FILTER COUNT_FILE`; the file holds how many came, as 8 bytes.
"""

import mmap
import socket
import sys
from pathlib import Path
from typing import Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

COUNT_BYTES: Final = 8


def main() -> None:
    """Count messages until ended."""
    host, port, topic_filter, count_file = sys.argv[1:5]
    with Path(count_file).open("r+b") as file:
        came = memoryview(mmap.mmap(file.fileno(), COUNT_BYTES)).cast("Q")

    def count(_client: paho.Client, _user_data: object, _message: paho.MQTTMessage) -> None:
        came[0] += 1  # paho sends the PUBACK when this returns

    def without_delay(_client: paho.Client, _user_data: object, connection: object) -> None:
        if isinstance(connection, socket.socket):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def is_subscribed(*_facts: object) -> None:
        sys.stdout.write("ready\n")
        sys.stdout.flush()

    client = paho.Client(CallbackAPIVersion.VERSION2, "bench-acker", protocol=MQTTProtocolVersion.MQTTv311)
    client.on_message = count
    client.on_socket_open = without_delay
    client.on_subscribe = is_subscribed
    client.connect(host, int(port))
    client.subscribe(topic_filter, 1)
    client.loop_forever()


if __name__ == "__main__":
    main()
