"""What the broker's thread does about a fault of the agent's own; all else is the contract tests'."""

import queue
import socket
from pathlib import Path
from typing import cast

from edge_agent.adapters.mqtt.broker import MqttBroker
from edge_agent.adapters.mqtt.connection import Connection
from edge_agent.adapters.mqtt.link import Link
from edge_agent.adapters.mqtt.subscriptions import RememberedFilters
from edge_agent.adapters.mqtt.wire import Settled, Wire
from edge_agent.broker_settings import BrokerSettings
from edge_agent.ports import Publish, RowId
from protos.link.backoff import Backoff
from tests.simulators.clocks import SystemClock

DEADLINE_S = 10.0


class Unforeseen(type(Path())):  # type: ignore[misc]  # the concrete class of paths here
    """A file that fails as no adapter expects."""

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """Fail."""
        raise LookupError("a fault of ours", encoding, errors)


def test_a_fault_of_the_agent_is_counted_and_the_next_attempt_comes(tmp_path: Path) -> None:
    """Each is counted by the thread's name, and people read where the traceback is."""
    failures: queue.Queue[str] = queue.Queue()
    reasons: queue.Queue[str] = queue.Queue()
    broker = MqttBroker(
        BrokerSettings(
            name="plant",
            url="mqtt://127.0.0.1:1",
            client_id="press-07",
            status_topic="edge/press-07/status",
            username="press",
            password_file=Unforeseen(tmp_path / "password"),
        ),
        [],
        intake_capacity=1001,
        remembered=RememberedFilters(tmp_path / "filters.json"),
        clock=SystemClock(),
        on_delivery=lambda delivery: True,  # noqa: ARG005 - nothing arrives
        on_published=lambda rows: None,  # noqa: ARG005 - nothing is published
        on_refused=lambda name, rows: None,  # noqa: ARG005 - so nothing is refused
        on_connection=lambda name, is_up, reason: reasons.put(reason),  # noqa: ARG005 - the reason tells all
        on_failure=failures.put,
        backoff=Backoff(0.01, 0.02),
    )
    broker.open()
    try:
        assert [failures.get(timeout=DEADLINE_S) for _ in range(2)] == ["mqtt-plant", "mqtt-plant"]
        assert "its log has the traceback" in reasons.get(timeout=DEADLINE_S)
    finally:
        broker.close()


def test_what_the_broker_answers_with_an_error_is_under_way_no_more(tmp_path: Path) -> None:
    """It gives its place in the window back and is told apart from what the broker took."""
    taken: list[int] = []
    refused: list[tuple[str, list[int]]] = []
    settings = BrokerSettings("plant", "mqtt://127.0.0.1:1", "press-07", "edge/press-07/status")
    broker = MqttBroker(
        settings,
        [],
        intake_capacity=1001,
        remembered=RememberedFilters(tmp_path / "filters.json"),
        clock=SystemClock(),
        on_delivery=lambda delivery: True,  # noqa: ARG005 - nothing arrives
        on_published=taken.extend,
        on_refused=lambda name, rows: refused.append((name, list(rows))),
        on_connection=lambda name, is_up, reason: None,  # noqa: ARG005 - nobody connects
        on_failure=lambda name: None,  # noqa: ARG005 - nothing fails
        backoff=Backoff(0.01, 0.02),
    )
    nowhere = cast("Connection", object())  # only what came back is looked at
    link = Link(nowhere, window=10, rows={1: RowId(11), 2: RowId(12), 3: RowId(13)})
    broker._settle(link, Settled(done=[2, 9], refused=[(1, 135)]))
    assert (taken, refused) == ([12], [("plant", [11])])
    assert link.rows == {3: RowId(13)}


class Wired:
    """A connection that takes every message that can be sent."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.wire = Wire(self.near, has_properties=False, on_message=lambda message: None)  # noqa: ARG005 - none comes

    def note(self, publish: Publish) -> int:
        """As of the connection."""
        return self.wire.publish(
            publish.topic, publish.payload, publish.qos, retain=publish.retain, expiry_s=publish.expiry_s
        )

    def flush(self) -> Settled:
        """As of the connection."""
        self.wire.send_now()
        return self.wire.settled()


def test_a_message_that_cannot_be_sent_holds_up_no_other(tmp_path: Path) -> None:
    """A topic may become too long when a name is put into it: such a message is told apart, the others go out."""
    refused: list[tuple[str, list[int]]] = []
    broker = MqttBroker(
        BrokerSettings("plant", "mqtt://127.0.0.1:1", "press-07", "edge/press-07/status"),
        [],
        intake_capacity=1001,
        remembered=RememberedFilters(tmp_path / "filters.json"),
        clock=SystemClock(),
        on_delivery=lambda delivery: True,  # noqa: ARG005 - nothing arrives
        on_published=lambda rows: None,  # noqa: ARG005 - nothing is acknowledged
        on_refused=lambda name, rows: refused.append((name, list(rows))),
        on_connection=lambda name, is_up, reason: None,  # noqa: ARG005 - nobody connects
        on_failure=lambda name: None,  # noqa: ARG005 - nothing fails
        backoff=Backoff(0.01, 0.02),
    )
    wired = Wired()
    broker._link = link = Link(cast("Connection", wired), window=10, is_up=True)
    topics = ("a", "t" * 70_000, "b")
    try:
        assert not broker.publish([Publish(RowId(n), "plant", topic, b"x", 1) for n, topic in enumerate(topics, 11)])
    finally:
        wired.near.close()
        wired.far.close()
    assert sorted(link.rows.values()) == [11, 13]
    assert refused == [("plant", [12])]
