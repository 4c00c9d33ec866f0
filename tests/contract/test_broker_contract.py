"""One suite for every broker: what the agent's MQTT adapter promises on mosquitto (MQTT 5) and on iotcore (3.1.1)."""

import time
from collections.abc import Callable
from pathlib import Path

from edge_agent.adapters.mqtt.broker import TRIAL_S
from edge_agent.broker_settings import ProtocolChoice
from edge_agent.core.accounting import DEVICE
from tests.contract.agent_side import CLIENT_ID, STATUS_TOPIC, AgentSide, source
from tests.simulators.brokers import Broker, Iotcore, Mosquitto
from tests.simulators.mqtt_probe import Message, MqttProbe
from tests.simulators.toxics import ToxicProxy
from tests.simulators.waiting import wait_until

TOPIC = "demo/anna/imu"
SOURCES = (source("demo/{person}/imu"),)


class MuteOnFive(ToxicProxy):
    """A way to a 3.1.1 broker on which a CONNECT of version 5 is never answered."""

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self.fives = 0

    def passes(self, data: bytes) -> bool:
        """Swallow CONNECTs of version 5: packet type 1, protocol name MQTT, level 5."""
        is_five = data[:1] == b"\x10" and b"\x00\x04MQTT\x05" in data[:16]
        self.fives += is_five
        return not is_five


def is_message(topic: str, payload: bytes) -> Callable[[Message], bool]:
    """Matches a message by topic and payload."""
    return lambda message: (message.topic, message.payload) == (topic, payload)


def is_status(payload: bytes) -> Callable[[Message], bool]:
    """Matches a status word."""
    return is_message(STATUS_TOPIC, payload)


def test_a_record_reaches_its_binding(broker: Broker, probe: MqttProbe, tmp_path: Path) -> None:
    """A QoS 1 message arrives with its binding, topic, payload and something to acknowledge."""
    with AgentSide(broker, tmp_path, SOURCES) as agent:
        probe.publish(TOPIC, b"one")
        agent.wait(lambda: agent.payloads == [b"one"], "the record")
        delivery = agent.deliveries[0]
    assert (delivery.binding, delivery.topic, delivery.retained) == ("motion", TOPIC, False)
    assert delivery.ack is not None
    assert delivery.received_ns > 0


def test_records_go_to_the_binding_that_their_topic_matches(broker: Broker, probe: MqttProbe, tmp_path: Path) -> None:
    """Several filters on one connection feed several bindings."""
    sources = [source("demo/{person}/imu", "motion"), source("line/{machine}/vib", "vibration")]
    with AgentSide(broker, tmp_path, sources) as agent:
        probe.publish("line/7/vib", b"v")
        probe.publish(TOPIC, b"m")
        agent.wait(lambda: len(agent.deliveries) == 2, "both records")
    assert {(d.binding, d.payload) for d in agent.deliveries} == {("vibration", b"v"), ("motion", b"m")}


def test_what_was_not_acknowledged_comes_again_after_a_restart(
    broker: Broker, probe: MqttProbe, tmp_path: Path
) -> None:
    """Only what was acknowledged is gone: an agent that died before its commit gets the rest again, in order."""
    with AgentSide(broker, tmp_path, SOURCES, acks=False) as agent:
        for number in range(6):
            probe.publish(TOPIC, str(number))
        agent.wait(lambda: len(agent.deliveries) == 6, "six records")
        agent.acknowledge(agent.deliveries[:3])
    with AgentSide(broker, tmp_path, SOURCES) as again:
        probe.publish(TOPIC, b"last")
        again.wait(lambda: b"last" in again.payloads, "the last record")
        assert again.payloads == [b"3", b"4", b"5", b"last"]


def test_acks_go_out_in_the_order_of_arrival(broker: Broker, probe: MqttProbe, tmp_path: Path) -> None:
    """A later record that is acknowledged first waits for the earlier ones (MQTT 5, section 4.6)."""
    with AgentSide(broker, tmp_path, SOURCES, acks=False) as agent:
        for number in range(3):
            probe.publish(TOPIC, str(number))
        agent.wait(lambda: len(agent.deliveries) == 3, "three records")
        agent.acknowledge(agent.deliveries[1:])
    with AgentSide(broker, tmp_path, SOURCES, acks=False) as again:
        again.wait(lambda: len(again.deliveries) == 3, "all three once more")
        again.acknowledge(reversed_order := again.deliveries[::-1])
        assert len(reversed_order) == 3
    with AgentSide(broker, tmp_path, SOURCES) as last:
        probe.publish(TOPIC, b"last")
        last.wait(lambda: bool(last.payloads), "the last record")
        assert last.payloads == [b"last"]


def test_a_stale_ack_is_never_sent(broker: Broker, probe: MqttProbe, tmp_path: Path) -> None:
    """An acknowledgement for a record of an earlier connection does not settle a new record with the same packet id."""
    with AgentSide(broker, tmp_path, SOURCES, acks=False) as agent:
        probe.publish(TOPIC, b"before")
        agent.wait(lambda: agent.payloads == [b"before"], "the record")
        with MqttProbe(
            broker, CLIENT_ID, clean=False, acks=False
        ):  # takes the session over: the agent's connection ends
            agent.wait(lambda: agent.connections[-1][0] is False, "the loss of the connection")
        agent.wait_until_connected(2)
        agent.wait(lambda: agent.payloads == [b"before", b"before"], "the record once more")
        agent.acknowledge(agent.deliveries[:1])
    with AgentSide(broker, tmp_path, SOURCES) as again:
        again.wait(lambda: again.payloads == [b"before"], "the record, which nobody acknowledged")


def test_it_subscribes_anew_after_the_broker_was_killed(broker: Broker, tmp_path: Path) -> None:
    """SIGKILL and a restart of the broker: the agent comes back by itself, subscribed, and says `online` again."""
    with AgentSide(broker, tmp_path, SOURCES) as agent:
        broker.kill()
        agent.wait(lambda: agent.connections[-1][0] is False, "the loss")
        assert not agent.broker.connected
        broker.start()
        agent.wait_until_connected(2)
        with MqttProbe(broker) as sensor:
            sensor.publish(TOPIC, b"after")
            agent.wait(lambda: b"after" in agent.payloads, "a record after the restart")
            sensor.subscribe(STATUS_TOPIC)
            sensor.wait_for(is_status(b"online"))


def test_birth_and_stop_are_retained(broker: Broker, probe: MqttProbe, tmp_path: Path) -> None:
    """`online` while it runs, `stopped` after a clean stop, both for who asks later."""
    with AgentSide(broker, tmp_path):
        probe.subscribe(STATUS_TOPIC)
        probe.wait_for(is_status(b"online"))
    probe.wait_for(is_status(b"stopped"))
    with MqttProbe(broker) as later:
        later.subscribe(STATUS_TOPIC)
        later.wait_for(lambda m: m.topic == STATUS_TOPIC and m.retain and m.payload == b"stopped")


def test_the_will_says_offline_and_the_next_connect_says_online(
    broker: Broker, probe: MqttProbe, tmp_path: Path
) -> None:
    """When the connection is lost the broker says `offline`; the agent says `online` on every connect."""
    probe.subscribe(STATUS_TOPIC)
    with ToxicProxy(broker.port) as network, AgentSide(network, tmp_path) as agent:
        probe.wait_for(is_status(b"online"))
        network.cut()
        agent.wait_until_connected(2)
        probe.wait_for_count(STATUS_TOPIC, 3)
        assert [m.payload for m in probe.on(STATUS_TOPIC)[:3]] == [b"online", b"offline", b"online"]


def test_a_result_is_reported_when_the_broker_has_it(broker: Broker, probe: MqttProbe, tmp_path: Path) -> None:
    """`on_published` names the outbox row after the PUBACK, and the site's subscriber has the message."""
    probe.subscribe("demo/anna/inference/motion")
    with AgentSide(broker, tmp_path) as agent:
        assert agent.publish(17, "demo/anna/inference/motion", b"{}", expiry_s=60)
        agent.wait(lambda: agent.published == [17], "the PUBACK")
    probe.wait_for(is_message("demo/anna/inference/motion", b"{}"))


def test_results_are_refused_above_the_window(broker: Broker, tmp_path: Path) -> None:
    """What the window has no room for is refused, and taken when PUBACKs have made room; each row is reported once."""
    with AgentSide(broker, tmp_path, publish_window=10) as agent:
        waiting = list(range(1, 201))
        refused = 0
        while waiting:
            if agent.publish(waiting[0], "demo/anna/inference/motion", b"{}"):
                waiting.pop(0)
            else:
                refused += 1
                taken = waiting[0] - 1
                agent.wait_for_published(taken - 9)
        agent.wait_for_published(200)
        assert sorted(agent.published) == list(range(1, 201))
        assert refused


def test_a_result_is_refused_while_the_broker_is_away(broker: Broker, tmp_path: Path) -> None:
    """Without a connection `publish` says no at once, and the loss is reported."""
    with AgentSide(broker, tmp_path) as agent:
        broker.kill()
        agent.wait(lambda: agent.connections[-1][0] is False, "the loss")
        assert not agent.publish(1, "demo/anna/inference/motion", b"{}")


def test_it_starts_while_the_broker_is_down(broker: Broker, tmp_path: Path) -> None:
    """`open` returns at once; the reason names broker and mend; once the broker is there the agent is connected."""
    broker.kill()
    agent = AgentSide(broker, tmp_path, SOURCES)
    agent.broker.open()
    try:
        agent.wait(lambda: bool(agent.connections), "a report")
        is_up, reason = agent.connections[0]
        assert not is_up
        assert f"mqtt://127.0.0.1:{broker.port}" in reason
        assert "start the broker" in reason
        broker.start()
        agent.wait_until_connected()
    finally:
        agent.broker.close()


def test_retained_messages_are_passed_over(broker: Broker, probe: MqttProbe, tmp_path: Path) -> None:
    """A retained message is an old value: it is acknowledged and not handed in."""
    probe.publish(TOPIC, b"old", retain=True)
    with AgentSide(broker, tmp_path, SOURCES) as agent:
        probe.publish(TOPIC, b"new")
        agent.wait(lambda: b"new" in agent.payloads, "the live record")
        assert agent.payloads == [b"new"]


def test_feedback_comes_in_beside_the_records_and_never_from_the_past(
    broker: Broker, probe: MqttProbe, tmp_path: Path
) -> None:
    """A judgement arrives under the device's own name, to be acknowledged; a retained one would come again for ever."""
    topic = f"{STATUS_TOPIC.rpartition('/')[0]}/feedback"
    probe.publish(topic, b"old", retain=True)
    with AgentSide(broker, tmp_path, [*SOURCES, source(topic, DEVICE)]) as agent:
        probe.publish(topic, b"new")
        probe.publish(TOPIC, b"record")
        agent.wait(lambda: len(agent.deliveries) == 2, "both")
        assert [(one.binding, one.payload) for one in agent.deliveries] == [(DEVICE, b"new"), ("motion", b"record")]
        assert agent.deliveries[0].ack is not None


def test_retained_messages_are_handed_in_where_they_are_wanted(
    broker: Broker, probe: MqttProbe, tmp_path: Path
) -> None:
    """A source that takes retained messages gets them, marked."""
    probe.publish(TOPIC, b"old", retain=True)
    with AgentSide(broker, tmp_path, [source("demo/{person}/imu", takes_retained=True)]) as agent:
        agent.wait(lambda: agent.payloads == [b"old"], "the retained record")
        assert agent.deliveries[0].retained


def test_records_of_a_filter_that_the_config_dropped_are_settled(
    broker: Broker, probe: MqttProbe, tmp_path: Path
) -> None:
    """What still comes for a removed topic is acknowledged and handed to nobody (iotcore keeps such filters)."""
    with AgentSide(broker, tmp_path, [*SOURCES, source("line/{machine}/vib", "vibration")]):
        pass
    probe.publish("line/7/vib", b"nobody wants it")
    with AgentSide(broker, tmp_path, SOURCES) as agent:
        probe.publish("line/7/vib", b"nobody wants this either")
        probe.publish(TOPIC, b"wanted")
        agent.wait(lambda: b"wanted" in agent.payloads, "the record of the filter that stayed")
        assert agent.payloads == [b"wanted"]


def test_a_filter_that_the_config_dropped_is_unsubscribed(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """The broker's session forgets a removed topic, also over restarts of the agent."""
    both = [*SOURCES, source("line/{machine}/vib", "vibration")]
    with AgentSide(mosquitto, tmp_path, both):
        pass
    with AgentSide(mosquitto, tmp_path, SOURCES):
        wait_until(lambda: "line" not in (tmp_path / "filters.json").read_text(), 10, "the UNSUBACK")
    with MqttProbe(mosquitto) as sensor:
        sensor.publish("line/7/vib", b"nobody wants it")
        sensor.publish(TOPIC, b"wanted")
        with AgentSide(mosquitto, tmp_path, both) as agent:
            sensor.publish(TOPIC, b"end")
            agent.wait(lambda: b"end" in agent.payloads, "the last record")
            assert agent.payloads == [b"wanted", b"end"]


def test_the_broker_holds_back_above_receive_maximum(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """On MQTT 5 the broker stops at `receive_maximum` unacknowledged records; acks let the next ones come."""
    with (
        MqttProbe(mosquitto) as sensor,
        AgentSide(mosquitto, tmp_path, SOURCES, acks=False, receive_maximum=5) as agent,
    ):
        for number in range(8):
            sensor.publish(TOPIC, str(number))
        sensor.subscribe(STATUS_TOPIC)  # its answer comes after what the broker had to deliver
        agent.wait(lambda: len(agent.deliveries) == 5, "five records")
        agent.acknowledge(agent.deliveries[:1])
        # mosquitto 2.0.11 sometimes sends more than one for one ack, so this says "at least".
        agent.wait(lambda: len(agent.deliveries) >= 6, "the sixth after one ack")
        assert agent.payloads[:6] == [b"0", b"1", b"2", b"3", b"4", b"5"]


def test_a_3_1_1_broker_is_found_and_remembered(iotcore: Iotcore, tmp_path: Path) -> None:
    """Without being told, the adapter ends up at 3.1.1 with no failure reported, and stays there."""
    with AgentSide(iotcore, tmp_path, SOURCES) as agent:
        assert [is_up for is_up, _ in agent.connections] == [True]
        iotcore.kill()
        agent.wait(lambda: agent.connections[-1][0] is False, "the loss")
        iotcore.start()
        began_s = time.monotonic()
        agent.wait_until_connected(2)
        assert time.monotonic() - began_s < TRIAL_S


def test_an_unanswered_attempt_at_5_is_bounded(iotcore: Iotcore, tmp_path: Path) -> None:
    """A broker that keeps silent on a CONNECT of version 5 costs three seconds, once."""
    with MuteOnFive(iotcore.port) as network:
        began_s = time.monotonic()
        with AgentSide(network, tmp_path, SOURCES) as agent:
            assert TRIAL_S <= time.monotonic() - began_s < TRIAL_S + 2
            assert [is_up for is_up, _ in agent.connections] == [True]
            network.cut()
            agent.wait_until_connected(2)
            assert network.fives == 1


def test_a_takeover_by_another_client_is_named(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Two clients with one id: the reason says so and what to do."""
    with AgentSide(mosquitto, tmp_path) as agent, MqttProbe(mosquitto, CLIENT_ID, clean=False, acks=False):
        agent.wait(lambda: any("another client" in reason for _, reason in agent.connections), "the takeover")
    reason = next(reason for _, reason in agent.connections if "another client" in reason)
    assert CLIENT_ID in reason
    assert "device id" in reason


def test_it_closes_quickly_while_a_broker_keeps_silent(broker: Broker, tmp_path: Path) -> None:
    """A close in the middle of an unanswered CONNECT takes well under the time that the attempt may take."""
    with ToxicProxy(broker.port) as network:
        network.freeze()
        agent = AgentSide(network, tmp_path)
        agent.broker.open()
        began_s = time.monotonic()
        agent.broker.close()
        assert time.monotonic() - began_s < 2
        agent.broker.close()


def test_a_broker_that_keeps_silent_is_named(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Reached, but no CONNACK: the reason says which URL and that TLS may be expected there."""
    with ToxicProxy(mosquitto.port) as network:
        network.freeze()
        agent = AgentSide(network, tmp_path, version=ProtocolChoice.V5)
        agent.broker.open()
        try:
            agent.wait(lambda: bool(agent.connections), "a report")
        finally:
            agent.broker.close()
    assert f"mqtt://127.0.0.1:{network.port}" in agent.connections[0][1]
    assert "mqtts://" in agent.connections[0][1]


def test_a_user_that_the_broker_refuses_is_named(run_folder: Path, tmp_path: Path) -> None:
    """The reason names the broker and the two keys to check."""
    (run_folder / "passwords").touch()
    broker = Mosquitto(run_folder, config=f"password_file {run_folder / 'passwords'}\n")
    broker.start()
    agent = AgentSide(broker, tmp_path, username="press-07")
    agent.broker.open()
    try:
        agent.wait(lambda: bool(agent.connections), "a report")
    finally:
        agent.broker.close()
        broker.kill()
    is_up, reason = agent.connections[0]
    assert not is_up
    assert "username and password_file" in reason
