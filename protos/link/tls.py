"""Channels between the two sides: mutual TLS for devices, server authentication for enrolment, plain text on loopback.

Owns the gRPC channel options, so that sizes and keepalive are the same at both ends.
"""

import ipaddress
from dataclasses import dataclass

import grpc

from protos.link.identity import DeviceIdentity

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
KEEPALIVE_MS = 15_000
"""A peer that says nothing for so long is sent a ping."""

TCP_TIMEOUT_MS = 10_000
"""Bytes that the peer's kernel does not acknowledge for so long end the connection. gRPC calls it keepalive timeout."""

PING_TIMEOUT_MS = 20_000
"""So long any ping, also those that gRPC measures the line with, may wait for its answer behind what is on the line."""

DEVICE_METADATA = "tandem-device"

Options = list[tuple[str, int]]

CHANNEL_OPTIONS: Options = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", TCP_TIMEOUT_MS),
    ("grpc.http2.ping_timeout_ms", PING_TIMEOUT_MS),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
]
"""A dead peer is noticed within 35 s; our own backoff dials, not gRPC's retries; no channel shares a socket."""

SERVER_OPTIONS: Options = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", TCP_TIMEOUT_MS),
    ("grpc.http2.ping_timeout_ms", PING_TIMEOUT_MS),
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
]


@dataclass(frozen=True, slots=True)
class HubChannel:
    """A channel and the metadata that every call on it must carry."""

    channel: grpc.Channel
    metadata: tuple[tuple[str, str], ...] = ()


def device_channel(address: str, identity: DeviceIdentity) -> HubChannel:
    """Mutual TLS with the device's certificate; the hub must chain to the authorities that enrolment gave."""
    credentials = grpc.ssl_channel_credentials(identity.ca_pem, identity.key_pem, identity.chain_pem)
    return HubChannel(grpc.secure_channel(address, credentials, options=CHANNEL_OPTIONS))


def enrolment_channel(address: str, ca_pem: bytes) -> grpc.Channel:
    """Server authentication only, against the authority that the join token carries."""
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(ca_pem), options=CHANNEL_OPTIONS)


def insecure_channel(address: str, device: str) -> HubChannel:
    """Plain text, loopback only; the device's name rides as metadata, since there is no certificate to read it from.

    Raises:
        ValueError: The address is not on the loopback interface.
    """
    if not is_loopback(address):
        raise ValueError(f"{address} is not a loopback address: plain text never leaves the machine; enrol the device")
    return HubChannel(grpc.insecure_channel(address, options=CHANNEL_OPTIONS), ((DEVICE_METADATA, device),))


def is_loopback(address: str) -> bool:
    """Whether `host:port` or `[v6]:port` names the loopback interface."""
    host = address.rpartition(":")[0].strip("[]") or address
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
