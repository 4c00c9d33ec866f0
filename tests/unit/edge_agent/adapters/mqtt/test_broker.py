"""What the broker's thread does about a fault of the agent's own; all else is the contract tests'."""

import queue
from pathlib import Path

from edge_agent.adapters.mqtt.broker import MqttBroker
from edge_agent.adapters.mqtt.subscriptions import RememberedFilters
from edge_agent.broker_settings import BrokerSettings
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
