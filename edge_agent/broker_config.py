"""Owns the declarations behind `[mqtt.…]` of `bindings.toml`: a broker and the way to it."""

from dataclasses import dataclass
from pathlib import Path

from edge_agent.broker_settings import BrokerSettings, Endpoint, ProtocolChoice, TlsFiles
from edge_agent.value_rules import Problems, between, device_text_problems, topic_problems
from model_packs.process.settings import setting
from protos.topics import TopicError, TopicTemplate

_MAX_KEEPALIVE_S = 65_535
_MAX_RECEIVE_MAXIMUM = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """Files of a TLS connection to a broker."""

    ca: Path | None = setting(
        None, doc="PEM certificates that may sign the broker's. Absent: the system's.", example="broker-ca.pem"
    )
    cert: Path | None = setting(
        None, doc="PEM certificate that the agent shows, if the broker asks for one.", example="agent.pem"
    )
    key: Path | None = setting(None, doc="PEM private key of `cert`.", example="agent.key")

    def validate(self) -> Problems:
        """Check what types cannot say."""
        for name, path in (("ca", self.ca), ("cert", self.cert), ("key", self.key)):
            if path is not None and not path.is_file():
                yield name, f"no such file: {path}"
        if (self.cert is None) != (self.key is None):
            yield "key" if self.key is None else "cert", "cert and key go together: give both or none"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """One MQTT broker."""

    url: str = setting(
        doc="mqtt://host[:port], or mqtts://host[:port] for TLS. Default ports 1883 and 8883.",
        example="mqtt://localhost:1883",
    )
    client_id: str = setting(
        "edge-{device}",
        doc="Stable: the broker keeps the agent's session under it, and two agents with one id throw each other out. "
        "{device} is this device's id.",
    )
    username: str | None = setting(None, doc="User name, if the broker asks for one.", example="edge")
    password_file: Path | None = setting(
        None,
        doc="File whose first line is the password. Passwords do not belong in this file.",
        example="mqtt.password",
    )
    version: ProtocolChoice = setting(
        ProtocolChoice.AUTO, doc='MQTT version: "auto" tries 5, then 3.1.1; or "5"; or "3.1.1".'
    )
    keepalive_s: int = setting(
        30, doc="A dead connection is noticed after about one and a half times this, in seconds."
    )
    receive_maximum: int = setting(
        200, doc="Messages that the broker may leave unacknowledged (MQTT 5): the back-pressure."
    )
    status_topic: str = setting(
        "edge/{device}/status",
        doc='Retained topic that says "online", "offline" or "stopped". {device} is this device\'s id.',
    )
    tls: TlsConfig | None = setting(
        None, doc="Needed only for a private certificate authority or a client certificate."
    )

    def validate(self) -> Problems:
        """Check what types cannot say."""
        try:
            endpoint = Endpoint.parse(self.url)
        except ValueError as error:
            yield "url", str(error)
        else:
            if self.tls is not None and not endpoint.is_tls:
                yield "tls", "the url is mqtt://, without TLS: write mqtts://, or drop this table"
        yield from device_text_problems("client_id", self.client_id)
        yield from topic_problems("status_topic", self.status_topic, frozenset({"device"}))
        if self.password_file is not None and self.username is None:
            yield "password_file", "a password needs a username"
        if self.password_file is not None and not self.password_file.is_file():
            yield "password_file", f"no such file: {self.password_file}"
        yield from between("keepalive_s", self.keepalive_s, 1, _MAX_KEEPALIVE_S)
        yield from between("receive_maximum", self.receive_maximum, 1, _MAX_RECEIVE_MAXIMUM)

    @property
    def own_topics(self) -> TopicTemplate | None:
        """What the agent says of itself: `status_topic` and its neighbours; None when that is no topic."""
        try:
            return TopicTemplate("/".join([*self.status_topic.split("/")[:-1], "{own}"]))
        except TopicError:
            return None

    def settings(self, name: str, device: str) -> BrokerSettings:
        """What the MQTT adapter needs.

        Args:
            name: The broker's name in the file.
            device: This device's id.

        Returns:
            Its settings.
        """
        tls = TlsFiles() if self.tls is None else TlsFiles(self.tls.ca, self.tls.cert, self.tls.key)
        return BrokerSettings(
            name=name,
            url=self.url,
            client_id=self.client_id.replace("{device}", device),
            status_topic=TopicTemplate(self.status_topic).render({"device": device}),
            username=self.username,
            password_file=self.password_file,
            tls=tls,
            version=self.version,
            keepalive_s=self.keepalive_s,
            receive_maximum=self.receive_maximum,
        )
