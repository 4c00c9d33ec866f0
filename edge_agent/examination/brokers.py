"""Owns the doctor's look at each broker: does it take us, in which MQTT, and is somebody else there under our name."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from paho.mqtt.enums import MQTTProtocolVersion

from edge_agent.adapters.mqtt.broker import ONLINE, TRIAL_S
from edge_agent.adapters.mqtt.connection import Accepted, Connection, Ended, Event, Refused, Subscribed
from edge_agent.adapters.mqtt.failures import Heard, LinkFailure, refusal, silence
from edge_agent.adapters.mqtt.version_choice import NAMES, VersionChoice
from edge_agent.adapters.mqtt.wire import Received
from edge_agent.broker_settings import BrokerSettings
from edge_agent.config import Config
from edge_agent.examination.broker_queue import examine_queue
from edge_agent.examination.findings import Finding, failed, ok, warning

_TURN_S = 0.05
_ANSWER_S = 5.0
_RETAINED_S = 0.5


@dataclass(frozen=True, slots=True)
class Visit:
    """What a look at a broker found: the MQTT version, how long it took, and the retained word on our status topic."""

    version: MQTTProtocolVersion
    took_s: float
    status: bytes | None


def examine_brokers(config: Config, *, is_running: bool) -> Iterator[Finding]:
    """Visit every broker.

    Args:
        config: Names them.
        is_running: Whether this device's own agent runs now.
    """
    for name, broker in config.bindings.mqtt.items():
        settings = broker.settings(name, config.agent.device.id)
        try:
            visit = look_at(settings)
            yield _judge(settings, visit, is_running=is_running)
            yield examine_queue(settings, visit.version)
        except LinkFailure as failure:
            yield failed(f"broker {name}", failure.message, failure.mend)


def _judge(settings: BrokerSettings, visit: Visit, *, is_running: bool) -> Finding:
    name = f"broker {settings.name}"
    message = f"{settings.url} takes this device, MQTT {NAMES[visit.version]}, {visit.took_s * 1000:.0f} ms"
    if visit.status == ONLINE and not is_running:
        return failed(
            name,
            f"{message}; but {settings.status_topic} says online while no agent runs from this state folder",
            f"another agent uses the client id {settings.client_id!r}: give each device its own device.id",
        )
    if visit.status != ONLINE and is_running:
        said = "nothing" if visit.status is None else visit.status.decode(errors="replace")
        mend = "look at `edge-agent status`; if its connection comes and goes, another agent uses the same client id"
        return warning(name, f"{message}; the agent runs, but {settings.status_topic} says {said}", mend)
    return ok(name, message)


def look_at(settings: BrokerSettings) -> Visit:
    """Connect under a name of our own (the agent's would throw the agent out), read the status topic, leave.

    Raises:
        LinkFailure: The broker does not take us; the reason names the mend.
    """
    visitor = replace(settings, client_id=f"{settings.client_id}-doctor")
    choice = VersionChoice(settings.version)
    while True:
        try:
            return _visit(visitor, choice)
        except LinkFailure as failure:
            if failure.heard is not Heard.SILENCE or not choice.unanswered():
                raise


def _visit(settings: BrokerSettings, choice: VersionChoice) -> Visit:
    retained: list[bytes] = []

    def keep(message: Received) -> None:
        retained.append(message.payload)

    connection = Connection(settings, 1, choice.version, keep, is_probe=True)
    began_s = time.monotonic()
    try:
        connection.dial()
        _wait_for(connection, settings, Accepted, TRIAL_S if choice.is_trial else _ANSWER_S)
        took_s = time.monotonic() - began_s
        connection.read_once(settings.status_topic)
        _wait_for(connection, settings, Subscribed, _ANSWER_S)
        last_s = time.monotonic() + _RETAINED_S
        while not retained and time.monotonic() < last_s:
            connection.turn(_TURN_S)
        connection.disconnect()
        connection.turn(_TURN_S)
    finally:
        connection.abandon()
    return Visit(choice.version, took_s, retained[0] if retained else None)


def _wait_for(connection: Connection, settings: BrokerSettings, wanted: type[Event], timeout_s: float) -> None:
    last_s = time.monotonic() + timeout_s
    while time.monotonic() < last_s:
        for event in connection.turn(_TURN_S):
            match event:
                case Refused(reason):
                    raise refusal(settings, reason)
                case Ended():
                    raise silence(settings, None)
                case _ if isinstance(event, wanted):
                    return
    raise silence(settings, timeout_s)
