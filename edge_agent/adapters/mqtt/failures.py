"""Owns the words for what goes wrong between agent and broker: one table, each row names the thing and the mend.

paho's, ssl's and socket's errors are translated here and stop here.
"""

import socket
import ssl
from enum import Enum
from pathlib import Path

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.broker_settings import BrokerSettings

_UNSUPPORTED_VERSION = 132
_TAKEN_OVER = 142

_REFUSED: dict[int, tuple[str, str]] = {
    _UNSUPPORTED_VERSION: ("does not speak this MQTT version", 'set version = "auto"'),
    133: ("does not accept client id {client_id!r}", "change client_id, or allow it at the broker"),
    134: ("refused the user name or password", "check username and password_file"),
    135: ("does not allow this client to connect", "check username and password_file, or the broker's access list"),
    136: ("is not available now", "look at the broker's log"),
    137: ("is busy", "look at the broker's load"),
    138: ("has banned this client", "look at the broker's access list"),
    140: ("wants another way to authenticate", "use a user name and password, or a client certificate"),
    151: ("has no room for this client (quota exceeded)", "raise the broker's limit of connections"),
}


class Heard(Enum):
    """What was heard of the broker before the failure."""

    NOBODY = "nobody was reached"
    SILENCE = "reached, but no answer in this MQTT version"
    ANSWER = "an answer in this MQTT version"


class LinkFailure(Exception):  # noqa: N818 - it says what became of a link; only this adapter sees it
    """A connection could not be made, or ended.

    Args:
        settings: The broker.
        what: What it did, as a verb phrase.
        mend: What a person can do.
        heard: What was heard of it before.
    """

    def __init__(self, settings: BrokerSettings, what: str, mend: str, heard: Heard) -> None:
        self.message = f"broker {settings.name} at {settings.url} {what}"
        self.mend = mend
        self.reason = f"{self.message}: {mend}"
        self.heard = heard
        super().__init__(self.reason)


def say(settings: BrokerSettings, what: str, mend: str) -> str:
    """One sentence: which broker, what is wrong, what to do."""
    return f"broker {settings.name} at {settings.url} {what}: {mend}"


def dial_failure(settings: BrokerSettings, error: OSError) -> LinkFailure:
    """Translate what a socket or TLS said while dialling."""
    host, port = settings.endpoint.host, settings.endpoint.port
    match error:
        case socket.gaierror():
            said = (
                f"is not found: the name {host!r} does not resolve",
                "check the url, or the name service of the device",
            )
        case ConnectionRefusedError():
            said = (f"refuses the connection: nothing listens on port {port}", "start the broker, or correct the url")
        case ssl.SSLCertVerificationError():
            said = (
                f"has a certificate that is not accepted ({error})",
                "set tls.ca to the authority that signed it, and use the host name that stands in it",
            )
        case ssl.SSLError():
            said = (
                f"and the agent do not agree on TLS ({error})",
                "use mqtt:// for a port without TLS; set tls.cert and tls.key where the broker asks for a certificate",
            )
        case TimeoutError():
            said = ("does not answer", "check the address, the route and the firewall")
        case _:
            said = (f"cannot be reached ({error.strerror or error})", "check the address and the network of the device")
    return LinkFailure(settings, *said, Heard.NOBODY)


def file_failure(settings: BrokerSettings, path: Path | None, key: str, error: Exception) -> LinkFailure:
    """A credential file that cannot be used."""
    what = f"was not dialled: {key} = {path} cannot be used ({error})"
    return LinkFailure(settings, what, f"correct {key} in the config", Heard.NOBODY)


def silence(settings: BrokerSettings, waited_s: float | None) -> LinkFailure:
    """A connection that stayed without a CONNACK: `waited_s` seconds, or (None) until the broker closed it."""
    what = "closed the connection without an answer" if waited_s is None else f"gave no answer within {waited_s:g} s"
    mend = "check that an MQTT broker listens there; a port with TLS needs mqtts://"
    return LinkFailure(settings, what, mend, Heard.SILENCE)


def reason_text(code: int) -> str:
    """The words of MQTT 5 for the reason code of a PUBACK; the number for one that it does not know."""
    try:
        return str(ReasonCode(PacketTypes.PUBACK, identifier=code))
    except KeyError:
        return f"reason code {code}"


def refusal(settings: BrokerSettings, reason: ReasonCode) -> LinkFailure:
    """Translate the reason code of a CONNACK that refuses."""
    what, mend = _REFUSED.get(reason.value, (f"refused the connection ({reason})", "look at the broker's log"))
    heard = Heard.SILENCE if reason.value == _UNSUPPORTED_VERSION else Heard.ANSWER
    return LinkFailure(settings, what.format(client_id=settings.client_id), mend, heard)


def ending(settings: BrokerSettings, reason: ReasonCode | None) -> LinkFailure:
    """A connection that was up and ended; `reason` is the broker's own, where it gave one."""
    if reason is not None and reason.value == _TAKEN_OVER:
        what = f"gave the session to another client with id {settings.client_id!r}"
        return LinkFailure(settings, what, "two agents use one device id; give each its own", Heard.ANSWER)
    said = "" if reason is None else f" ({reason})"
    return LinkFailure(settings, f"ended the connection{said}", "the agent dials again by itself", Heard.ANSWER)


def flapping(settings: BrokerSettings, times: int) -> str:
    """What to think of a connection that ends again and again within seconds."""
    return say(
        settings,
        f"ended {times} connections within seconds of accepting them",
        f"another client may use the id {settings.client_id!r}; give each agent its own device id",
    )


def subscription(settings: BrokerSettings, topic_filter: str, reason: ReasonCode, qos: int) -> str | None:
    """What is wrong with a SUBACK, or None: the filter was refused, or granted below the QoS that was asked for."""
    if reason.is_failure:
        return say(
            settings,
            f"refused the subscription to {topic_filter!r} ({reason})",
            f"allow user {settings.username!r} to read it in the broker's access list",
        )
    if reason.value < qos:
        return say(
            settings,
            f"grants {topic_filter!r} with QoS {reason.value} only",
            "records can be lost between broker and agent; raise the broker's maximum QoS",
        )
    return None
