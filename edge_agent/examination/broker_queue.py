"""Owns the doctor's question whether a broker keeps what an agent has not acknowledged yet, or drops it unsaid.

MQTT has no word for it: a broker may acknowledge a sensor's message and drop it all the same, where more wait for one
subscriber than it likes (a mosquitto keeps 1,000 by default, the rest is lost). So it is tried: as a client without a
session, on a topic of our own, more tiny messages are sent than such a broker keeps, while their acknowledgements are
withheld; then all that come are counted.
"""

import time
from dataclasses import dataclass, replace

from paho.mqtt.enums import MQTTProtocolVersion

from edge_agent.adapters.mqtt.connection import Accepted, Connection, Ended, Event, Published, Subscribed
from edge_agent.adapters.mqtt.wire import Received
from edge_agent.broker_settings import BrokerSettings
from edge_agent.examination.findings import Finding, ok, warning
from edge_agent.ports import Publish, RowId

_NO_ROW = RowId(0)
_WAITING = 1_100
_LEAST_WINDOW = 20
_TURN_S = 0.05
_QUIET_S = 0.5
_DEADLINE_S = 10.0
_PAYLOAD = b"a question of edge-agent doctor"


@dataclass(slots=True)
class _Trial:
    """What happened so far on the connection."""

    window: int = _LEAST_WINDOW
    is_subscribed: bool = False
    is_refused: bool = False
    sent: int = 0
    acknowledged: int = 0

    def note(self, event: Event) -> None:
        match event:
            case Accepted(_, window):
                self.window = min(window or _LEAST_WINDOW, _WAITING)
            case Subscribed(_, reasons):
                self.is_subscribed = not any(reason.is_failure for reason in reasons)
                self.is_refused = not self.is_subscribed
            case Published(settled):
                self.acknowledged += len(settled.done) + len(settled.refused)
                self.is_refused = self.is_refused or bool(settled.refused)
            case Ended():
                self.is_refused = True


def examine_queue(settings: BrokerSettings, version: MQTTProtocolVersion) -> Finding:
    """Try it.

    Args:
        settings: The broker, which takes this device.
        version: The MQTT that it speaks.

    Raises:
        LinkFailure: The broker is not there any more.
    """
    name = f"queue of broker {settings.name}"
    sent, came = _tried(settings, version)
    if sent == 0:
        topic = _topic(settings)
        mend = f"let this device's user publish and subscribe to {topic}, or look at the broker's limits by hand"
        return warning(name, f"{settings.url} does not let {topic} be used, so what it drops is not known", mend)
    if came < sent:
        message = f"{settings.url} acknowledged {sent} messages and dropped {sent - came} of them, which waited for us"
        mend = (
            "lift its limit, with mosquitto: max_queued_messages 0 (deploy/mosquitto/mosquitto.conf has all it needs)"
        )
        return warning(name, message, mend)
    return ok(name, f"{settings.url} keeps at least {came} messages that wait for us")


def _tried(settings: BrokerSettings, version: MQTTProtocolVersion) -> tuple[int, int]:
    """How many messages the broker acknowledged, and how many of them came; nothing when it refuses."""
    visitor = replace(settings, client_id=f"{settings.client_id}-doctor")
    came: list[int] = []

    def keep(message: Received) -> None:
        came.append(message.message_id)

    connection, trial = Connection(visitor, 1, version, keep, is_probe=True), _Trial()
    try:
        connection.dial()
        last_s = time.monotonic() + _DEADLINE_S
        asked = False
        wanted = settings.receive_maximum + _WAITING
        while trial.acknowledged < wanted and not trial.is_refused and time.monotonic() < last_s:
            for event in connection.turn(_TURN_S):
                trial.note(event)
                if isinstance(event, Accepted) and not asked:
                    asked = True
                    connection.read_once(_topic(settings))
            while trial.is_subscribed and trial.sent < min(wanted, trial.acknowledged + trial.window):
                connection.note(Publish(_NO_ROW, settings.name, _topic(settings), _PAYLOAD, 1))
                trial.sent += 1
        if trial.is_refused or not trial.is_subscribed:
            return 0, 0
        return trial.acknowledged, _fetched(connection, came, trial.acknowledged)
    finally:
        connection.abandon()


def _fetched(connection: Connection, came: list[int], wanted: int) -> int:
    """Acknowledge what comes, until all is there or nothing more comes; how many came."""
    done, last_s = 0, time.monotonic() + _QUIET_S
    while done < wanted and time.monotonic() < last_s:
        if len(came) > done:
            connection.ack(came[done:])
            done, last_s = len(came), time.monotonic() + _QUIET_S
        connection.turn(_TURN_S)
    return done


def _topic(settings: BrokerSettings) -> str:
    """Beside the status topic: `edge/press-07/status` makes `edge/press-07/doctor`."""
    return "/".join([*settings.status_topic.split("/")[:-1], "doctor"])
