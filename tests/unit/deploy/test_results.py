"""The listener: answers reach the judge, a broken connection loses no subscription."""

from collections.abc import Iterator

import pytest

from deploy.demo.configs import LOOPBACK
from deploy.demo.results import Listener, ListenerError
from deploy.demo.stage import free_ports
from tests.simulators.brokers import Iotcore
from tests.simulators.mqtt_probe import MqttProbe
from tests.simulators.waiting import wait_until

RESULT = "demo/right-x/p01/inference/motion"


@pytest.fixture
def heard() -> list[tuple[str, bytes]]:
    """What the listener passed on."""
    return []


@pytest.fixture
def listener(iotcore: Iotcore, heard: list[tuple[str, bytes]]) -> Iterator[Listener]:
    """A subscribed listener."""
    made = Listener((iotcore.host, iotcore.port), lambda topic, payload, _at_s: heard.append((topic, payload)))
    made.open()
    yield made
    made.close()


def test_answers_are_passed_on_and_nothing_else(
    iotcore: Iotcore, listener: Listener, heard: list[tuple[str, bytes]]
) -> None:
    """Only result topics reach the judge; what the watches send does not."""
    with MqttProbe(iotcore) as probe:
        probe.publish("demo/right-x/p01/imu", b"samples")
        probe.publish(RESULT, b"answer")
        wait_until(lambda: heard, 10, "an answer")
    assert heard == [(RESULT, b"answer")]
    listener.close()


@pytest.mark.usefixtures("listener")
def test_the_subscription_survives_the_broker(iotcore: Iotcore, heard: list[tuple[str, bytes]]) -> None:
    """After the broker was killed and came back empty, answers are heard again."""
    iotcore.kill()
    iotcore.start()
    with MqttProbe(iotcore) as probe:

        def is_heard() -> bool:
            probe.publish(RESULT, b"answer")
            return bool(heard)

        wait_until(is_heard, 20, "an answer after the broker's return")


def test_no_broker_is_an_error_that_names_the_address() -> None:
    """A listener without a broker says where it looked."""
    port = free_ports(1)[0]
    listener = Listener((LOOPBACK, port), lambda *_facts: None, deadline_s=0.2)
    try:
        with pytest.raises(ListenerError, match=f"{LOOPBACK}:{port}"):
            listener.open()
    finally:
        listener.close()
