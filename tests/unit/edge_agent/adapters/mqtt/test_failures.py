"""The words for what goes wrong between agent and broker."""

import socket
import ssl

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.adapters.mqtt import failures
from edge_agent.adapters.mqtt.failures import Heard
from edge_agent.broker_settings import BrokerSettings

SETTINGS = BrokerSettings(
    name="plant", url="mqtts://plant.lan", client_id="edge-press-07", status_topic="s", username="press-07"
)


@pytest.mark.parametrize(
    ("error", "thing", "mend"),
    [
        (socket.gaierror(-2, "Name or service not known"), "'plant.lan' does not resolve", "check the url"),
        (ConnectionRefusedError(111, "refused"), "port 8883", "start the broker"),
        (ssl.SSLCertVerificationError(1, "bad"), "certificate that is not accepted", "tls.ca"),
        (ssl.SSLError(1, "wrong version"), "do not agree on TLS", "mqtt://"),
        (TimeoutError(), "does not answer", "firewall"),
        (OSError(113, "No route to host"), "No route to host", "network"),
    ],
)
def test_a_failed_dial_names_the_broker_the_thing_and_the_mend(error: OSError, thing: str, mend: str) -> None:
    """Each error of socket and TLS has words of its own."""
    failure = failures.dial_failure(SETTINGS, error)
    assert failure.reason.startswith("broker plant at mqtts://plant.lan ")
    assert thing in failure.reason
    assert mend in failure.reason
    assert failure.heard is Heard.NOBODY


def test_an_unknown_version_counts_as_silence() -> None:
    """So that "auto" falls back; every other refusal is an answer."""
    assert failures.refusal(SETTINGS, ReasonCode(PacketTypes.CONNACK, identifier=132)).heard is Heard.SILENCE
    refused = failures.refusal(SETTINGS, ReasonCode(PacketTypes.CONNACK, identifier=134))
    assert refused.heard is Heard.ANSWER
    assert "password_file" in refused.reason


def test_a_refusal_without_words_of_its_own_carries_the_brokers() -> None:
    """Unknown reasons are shown as they came."""
    assert "Server moved" in failures.refusal(SETTINGS, ReasonCode(PacketTypes.CONNACK, identifier=157)).reason


def test_a_refused_subscription_names_filter_and_user() -> None:
    """The mend is an entry in the broker's access list."""
    problem = failures.subscription(SETTINGS, "demo/+/imu", ReasonCode(PacketTypes.SUBACK, identifier=135), 1)
    assert problem is not None
    assert "'demo/+/imu'" in problem
    assert "'press-07'" in problem


def test_a_lower_qos_is_a_problem_and_the_same_is_none() -> None:
    """QoS 0 where 1 was asked for can lose records."""
    lower = failures.subscription(SETTINGS, "demo/+/imu", ReasonCode(PacketTypes.SUBACK, identifier=0), 1)
    assert lower is not None
    assert "can be lost" in lower
    assert failures.subscription(SETTINGS, "demo/+/imu", ReasonCode(PacketTypes.SUBACK, identifier=1), 1) is None
