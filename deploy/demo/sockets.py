"""Owns the one socket option that small MQTT messages need.

Nagle's algorithm holds a small packet back until the one before it is acknowledged, and the other side's delayed
acknowledgement makes that up to 40 ms (RFC 896, RFC 1122 section 4.2.3.2).
"""

import socket

import paho.mqtt.client as paho


def send_at_once(client: paho.Client) -> None:
    """Switch Nagle's algorithm off on every connection that the client will make.

    Args:
        client: Not connected yet.
    """
    client.on_socket_open = _without_delay


def _without_delay(_client: paho.Client, _user_data: object, connection: object) -> None:
    if isinstance(connection, socket.socket):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
