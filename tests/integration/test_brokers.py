"""Shows what the brokers of the tests keep, so that other tests may rely on it."""

from pathlib import Path

import pytest

from tests.simulators.brokers import Broker, Iotcore, Mosquitto
from tests.simulators.mqtt_probe import MqttProbe

TOPIC = "site/press-07/raw"
COUNT = 100
DEFAULT_WINDOW, DEFAULT_QUEUE = 20, 1_000


def queue_for_an_absent_subscriber(broker: Broker) -> None:
    """Leave COUNT acknowledged messages in the broker for the persistent session "collector"."""
    with MqttProbe(broker, "collector", clean=False) as subscriber:
        subscriber.subscribe(TOPIC)
    with MqttProbe(broker) as publisher:
        for number in range(COUNT):
            publisher.publish(TOPIC, str(number))


def test_a_message_reaches_its_subscriber(broker: Broker, probe: MqttProbe) -> None:
    """On each broker a QoS 1 message comes out as it went in."""
    probe.subscribe("site/+/raw")
    with MqttProbe(broker) as publisher:
        publisher.publish(TOPIC, b'{"value": 1}')
    received = probe.wait_for(lambda m: m.topic == TOPIC)
    assert received.json() == {"value": 1}
    assert received.qos == 1


def test_a_retained_message_greets_a_later_subscriber(broker: Broker, probe: MqttProbe) -> None:
    """On each broker a retained message is delivered to who subscribes after it."""
    with MqttProbe(broker) as publisher:
        publisher.publish("edge/press-07/status", b"online", retain=True)
    probe.subscribe("edge/+/status")
    assert probe.wait_for(lambda m: m.retain).payload == b"online"


def test_mosquitto_with_the_shipped_config_keeps_acknowledged_messages_over_a_kill(mosquitto: Mosquitto) -> None:
    """With the shipped config each acknowledged message survives SIGKILL, but for the last one.

    The subscriber is away, so they are queued. mosquitto acknowledges before it saves: the very last may be lost.
    """
    queue_for_an_absent_subscriber(mosquitto)
    mosquitto.kill()
    mosquitto.start()
    with MqttProbe(mosquitto, "collector", clean=False) as subscriber:
        received = subscriber.wait_for_count(TOPIC, COUNT - 1)
    assert sorted(int(m.payload) for m in received)[: COUNT - 1] == list(range(COUNT - 1))


def test_a_default_mosquitto_loses_acknowledged_messages_over_a_kill(run_folder: Path) -> None:
    """With persistence as Debian's package sets it, a killed mosquitto has forgotten what it acknowledged."""
    broker = Mosquitto(run_folder, config="persistence true\n")
    broker.start()
    try:
        queue_for_an_absent_subscriber(broker)
        broker.kill()
        broker.start()
        with MqttProbe(broker, "collector", clean=False) as subscriber:
            subscriber.subscribe("marker")
            subscriber.publish("marker", b"after the restart")
            subscriber.wait_for(lambda m: m.topic == "marker")
            assert subscriber.on(TOPIC) == ()
    finally:
        broker.kill()


def test_a_default_mosquitto_drops_what_waits_for_a_subscriber_that_is_slow(run_folder: Path) -> None:
    """It acknowledged 1,200 messages: 20 are under way to who does not acknowledge, 1,000 wait, the rest is lost."""
    broker = Mosquitto(run_folder, config="")
    broker.start()
    try:
        with MqttProbe(broker, "collector", clean=False, acks=False) as slow, MqttProbe(broker) as watcher:
            slow.subscribe(TOPIC)
            watcher.subscribe(TOPIC)
            for number in range(DEFAULT_WINDOW + DEFAULT_QUEUE + 180):
                watcher.publish(TOPIC, str(number))
            watcher.wait_for_count(TOPIC, DEFAULT_WINDOW + DEFAULT_QUEUE + 180)
            assert len(slow.on(TOPIC)) == DEFAULT_WINDOW
        with MqttProbe(broker, "collector", clean=False) as back:
            back.wait_for_count(TOPIC, DEFAULT_WINDOW + DEFAULT_QUEUE)
            back.publish(TOPIC, "the next one")
            back.wait_for(lambda m: m.payload == b"the next one")
            assert len(back.on(TOPIC)) == DEFAULT_WINDOW + DEFAULT_QUEUE + 1
    finally:
        broker.kill()


def test_mosquitto_with_the_shipped_config_keeps_all_that_waits(mosquitto: Mosquitto) -> None:
    """The same subscriber, and nothing is lost."""
    count = DEFAULT_WINDOW + DEFAULT_QUEUE + 180
    with MqttProbe(mosquitto, "collector", clean=False, acks=False) as slow, MqttProbe(mosquitto) as publisher:
        slow.subscribe(TOPIC)
        for number in range(count):
            publisher.publish(TOPIC, str(number))
    with MqttProbe(mosquitto, "collector", clean=False) as back:
        assert len({m.payload for m in back.wait_for_count(TOPIC, count)}) == count


def test_iotcore_leaves_an_mqtt5_connect_without_an_answer(iotcore: Iotcore) -> None:
    """The demo's broker speaks MQTT 3.1.1 only, so that a client must bound its first attempt at 5."""
    client = MqttProbe(iotcore, mqtt5=True)
    try:
        with pytest.raises(AssertionError, match="CONNACK"):
            client.open(deadline_s=1.0)
    finally:
        client.close()
