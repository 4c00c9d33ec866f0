"""The listener: answers reach the judge, a broken connection loses no subscription."""

from collections.abc import Iterator

import pytest

from deploy.demo.configs import LOOPBACK
from deploy.demo.fleet import FLEET
from deploy.demo.results import Listener, ListenerError
from deploy.demo.stage import free_ports
from tests.simulators.brokers import Iotcore
from tests.simulators.mqtt_probe import MqttProbe
from tests.simulators.waiting import wait_until

RESULT = "demo/right-a/p01/inference/motion"
READ = "branch/f0001/1/inference/digits"
FILTERS = [member.results.filter for member in FLEET]


@pytest.fixture
def heard() -> list[tuple[str, bytes]]:
    """What the listener passed on."""
    return []


@pytest.fixture
def listener(iotcore: Iotcore, heard: list[tuple[str, bytes]]) -> Iterator[Listener]:
    """A subscribed listener."""
    made = Listener((iotcore.host, iotcore.port), FILTERS, lambda topic, payload, _at_s: heard.append((topic, payload)))
    made.open()
    yield made
    made.close()


def test_answers_are_passed_on_and_nothing_else(
    iotcore: Iotcore, listener: Listener, heard: list[tuple[str, bytes]]
) -> None:
    """The result topics of the whole fleet reach the judge; what watches and scanner send does not."""
    with MqttProbe(iotcore) as probe:
        probe.publish("demo/right-a/p01/imu", b"samples")
        probe.publish("branch/f0001/1/crop", b"pixels")
        probe.publish(RESULT, b"answer")
        probe.publish(READ, b"7")
        wait_until(lambda: len(heard) == 2, 30, "both answers")
    assert heard == [(RESULT, b"answer"), (READ, b"7")]
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
    listener = Listener((LOOPBACK, port), FILTERS, lambda *_facts: None, deadline_s=0.2)
    try:
        with pytest.raises(ListenerError, match=f"{LOOPBACK}:{port}"):
            listener.open()
    finally:
        listener.close()
