"""Owns the connection of the bare subscribers that benches compare with: paho as one would write it first."""

import socket
import sys
from collections.abc import Callable

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

OnMessage = Callable[[paho.Client, object, paho.MQTTMessage], None]


def serve(address: tuple[str, int], topic_filter: str, qos: int, client_id: str, on_message: OnMessage) -> None:
    """Subscribe, say "ready" on stdout, and hand over messages until ended.

    Args:
        address: Host and port of the broker.
        topic_filter: What is subscribed.
        qos: At which quality of service.
        client_id: Of the connection.
        on_message: Called in paho's thread; a QoS 1 message is acknowledged when it returns.
    """

    def without_delay(_client: paho.Client, _user_data: object, connection: object) -> None:
        if isinstance(connection, socket.socket):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def is_subscribed(*_facts: object) -> None:
        sys.stdout.write("ready\n")
        sys.stdout.flush()

    client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv311)
    client.on_message = on_message
    client.on_socket_open = without_delay
    client.on_subscribe = is_subscribed
    client.connect(*address)
    client.subscribe(topic_filter, qos)
    client.loop_forever()
