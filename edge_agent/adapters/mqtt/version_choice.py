"""Owns which MQTT version the next connection speaks, and what is remembered about a broker. Pure."""

from paho.mqtt.enums import MQTTProtocolVersion

from edge_agent.broker_settings import ProtocolChoice

V5 = MQTTProtocolVersion.MQTTv5
V311 = MQTTProtocolVersion.MQTTv311

NAMES = {V5: "5", V311: "3.1.1"}


class VersionChoice:
    """Tries 5, then 3.1.1, until one of them got a CONNACK; from then on stays with that one.

    Some brokers do not answer a CONNECT of version 5 at all, so silence counts as "not 5" while nothing is known.

    Args:
        choice: What the config asks for.
    """

    def __init__(self, choice: ProtocolChoice) -> None:
        self._is_known = choice is not ProtocolChoice.AUTO
        self._version = V311 if choice is ProtocolChoice.V311 else V5

    @property
    def version(self) -> MQTTProtocolVersion:
        """What to speak now."""
        return self._version

    @property
    def is_trial(self) -> bool:
        """Whether this is a first attempt at 5 that 3.1.1 stands behind."""
        return not self._is_known and self._version is V5

    def accepted(self) -> None:
        """The broker sent a CONNACK: remember the version."""
        self._is_known = True

    def unanswered(self) -> bool:
        """The broker was reached and gave no CONNACK in this version.

        Returns:
            Whether to dial again at once, in the other version.
        """
        if self._is_known:
            return False
        self._version = V311 if self._version is V5 else V5
        return self._version is V311

    def unreached(self) -> None:
        """Nobody was reached, so nothing was learned: begin with 5 again."""
        if not self._is_known:
            self._version = V5
