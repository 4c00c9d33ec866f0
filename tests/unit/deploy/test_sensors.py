"""The senders: pace, an end on demand, and that a broken connection loses no message."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo.questions import Asked
from deploy.demo.sensors import NS_PER_S, Message, Sensors, origin_ns, together
from deploy.demo.watches import schedule, tracks
from tests.simulators.brokers import Iotcore
from tests.simulators.mqtt_probe import MqttProbe
from tests.simulators.waiting import wait_until
from tests.unit.deploy.test_watches import MEMBER, RECORDINGS, START_NS, asking


def plan() -> Iterator[Message]:
    """Two watches, without an end."""
    return together(schedule(tracks(RECORDINGS, [MEMBER], asking(RECORDINGS)), START_NS))


@pytest.mark.parametrize("speed", [1.0, 4.0, 10.0])
def test_event_time_never_passes_the_present(speed: float) -> None:
    """At each moment of a replay its event time is not later than the wall clock, and at the end at most 1 s behind."""
    now_ns, longest_s = START_NS + 123_456_789, 250.0
    start_ns = origin_ns(now_ns, longest_s, speed)
    assert start_ns % NS_PER_S == 0
    for part in (0.0, 0.5, 1.0):
        behind_s = (now_ns - start_ns) / NS_PER_S + part * longest_s - part * longest_s * speed
        assert behind_s >= 0
    assert behind_s <= 1


def test_plans_are_put_together_by_time() -> None:
    """What is due first leaves first, whoever sends it."""
    worn = tracks(RECORDINGS, [MEMBER], asking(RECORDINGS))
    both = together(schedule(worn[:1], START_NS), schedule(worn[1:], START_NS))
    due = [message.due_ns for message in itertools.islice(both, 100)]
    assert due == sorted(due)


@pytest.fixture
def broker(run_folder: Path) -> Iterator[Iotcore]:
    """A broker that a test may kill."""
    made = Iotcore(run_folder)
    made.start()
    yield made
    made.kill()


def sensors_to(broker: Iotcore, told: list[Asked]) -> Sensors:
    """Two watches at four times their pace."""
    return Sensors(
        (broker.host, broker.port),
        plan(),
        start_ns=START_NS,
        speed=4.0,
        clock=time.monotonic,
        on_asked=lambda asked, _at_s: told.append(asked),
    )


def test_what_was_begun_is_ended_and_nothing_else_begun(broker: Iotcore) -> None:
    """After `finish` every watch ends with a whole window: five messages a window, none over."""
    told: list[Asked] = []
    sensors = sensors_to(broker, told)
    try:
        sensors.open()
        wait_until(lambda: len(told) >= 3, 30, "some windows")
        sensors.finish()
        wait_until(lambda: sensors.is_done, 30, "everything is acknowledged")
        assert sensors.acked == 5 * len(told)
        assert {asked.key.source for asked in told} == {"p01", "p02"}
    finally:
        sensors.close()


def test_a_broker_that_dies_on_the_way_costs_no_message(broker: Iotcore) -> None:
    """Messages that a killed broker had not acknowledged are sent again to its successor; each is acked once."""
    told: list[Asked] = []
    sensors = sensors_to(broker, told)
    try:
        sensors.open()
        wait_until(lambda: sensors.acked >= 15, 30, "some messages are acknowledged")
        broker.kill()
        broker.start()
        with MqttProbe(broker) as probe:
            probe.subscribe("demo/#")
            wait_until(lambda: probe.messages, 30, "the second broker gets the rest")
            sensors.finish()
            wait_until(lambda: sensors.is_done, 30, "everything is acknowledged")
            assert sensors.acked == 5 * len(told)
    finally:
        sensors.close()
