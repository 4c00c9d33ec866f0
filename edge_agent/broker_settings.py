"""Owns what one MQTT connection needs to know, and the reading of broker URLs; files are read when dialling."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

_PLAIN_PORT = 1883
_TLS_PORT = 8883
_MAX_RECEIVE_MAXIMUM = 65_535


class ProtocolChoice(StrEnum):
    """Which MQTT to speak; `auto` tries 5 first and falls back to 3.1.1."""

    AUTO = "auto"
    V5 = "5"
    V311 = "3.1.1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a broker listens."""

    host: str
    port: int
    is_tls: bool

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read `mqtt://host[:port]` or `mqtts://host[:port]`; the ports are 1883 and 8883 by default.

        Raises:
            ValueError: It is another kind of URL; the message says what is wrong.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as exc:
            raise ValueError(f"broker url {url!r} cannot be read: {exc}") from exc
        if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
            raise ValueError(f"broker url {url!r}: write mqtt://host[:port], or mqtts://host[:port] for TLS")
        if parts.username or parts.path not in {"", "/"} or parts.query:
            raise ValueError(
                f"broker url {url!r} holds more than host and port: user and password have keys of their own"
            )
        is_tls = parts.scheme == "mqtts"
        return cls(parts.hostname, port or (_TLS_PORT if is_tls else _PLAIN_PORT), is_tls)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: authorities to trust (the system's when absent), and the client's certificate and key."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """One broker.

    Attributes:
        name: The broker's name in the config.
        client_id: Stable over restarts; the broker keeps the session under it.
        status_topic: Where `online`, `offline` and `stopped` go, retained.
        receive_maximum: Messages that the broker may leave unacknowledged (MQTT 5); on 3.1.1 its own window counts.
        session_expiry_s: How long the broker keeps the session of an absent agent (MQTT 5).
        publish_window: Messages of ours that may be unacknowledged at once.

    Raises:
        ValueError: The URL or a number is out of range.
    """

    name: str
    url: str
    client_id: str
    status_topic: str
    username: str | None = None
    password_file: Path | None = None
    tls: TlsFiles = TlsFiles()
    version: ProtocolChoice = ProtocolChoice.AUTO
    keepalive_s: int = 30
    receive_maximum: int = 200
    session_expiry_s: int = 7 * 86_400
    publish_window: int = 100

    def __post_init__(self) -> None:
        Endpoint.parse(self.url)
        if not self.client_id:
            raise ValueError(f"mqtt.{self.name}: client_id is empty: the broker keeps the session under it")
        if not 1 <= self.receive_maximum <= _MAX_RECEIVE_MAXIMUM:
            raise ValueError(f"mqtt.{self.name}: receive_maximum must be 1 to {_MAX_RECEIVE_MAXIMUM}")
        if self.publish_window < 1:
            raise ValueError(f"mqtt.{self.name}: publish_window must be at least 1")

    @property
    def feedback_topic(self) -> str:
        """Where people say what they think of an answer: `edge/press-07/status` makes `edge/press-07/feedback`."""
        return "/".join([*self.status_topic.split("/")[:-1], "feedback"])

    @property
    def endpoint(self) -> Endpoint:
        """Host, port and whether it is TLS."""
        return Endpoint.parse(self.url)
