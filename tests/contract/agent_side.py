"""Owns the agent's side of the broker contract: the real adapter, with a recorder where the pipeline would be."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from edge_agent.adapters.mqtt.broker import MqttBroker
from edge_agent.adapters.mqtt.routing import Source
from edge_agent.adapters.mqtt.subscriptions import RememberedFilters
from edge_agent.broker_settings import BrokerSettings, ProtocolChoice
from edge_agent.ports import BindingName, Delivery, Publish, RowId
from protos.link.backoff import Backoff
from protos.topics import TopicTemplate
from tests.simulators.clocks import SystemClock

DEADLINE_S = 20.0
STATUS_TOPIC = "edge/press-07/status"
CLIENT_ID = "edge-press-07"


class Listening(Protocol):
    """Whatever has an address: a broker, or a relay before it."""

    host: str
    port: int


def source(topic: str, binding: str = "motion", *, takes_retained: bool = False) -> Source:
    """A QoS 1 source."""
    return Source(BindingName(binding), TopicTemplate(topic), takes_retained=takes_retained)


class AgentSide:
    """A connected adapter; use it as a context manager.

    Args:
        url_of: The broker to connect to.
        folder: Where it remembers its filters.
        sources: What it subscribes to.
        acks: Whether each record is acknowledged as soon as it is handed in.
        username: Whom to connect as.
    """

    def __init__(
        self,
        url_of: Listening,
        folder: Path,
        sources: Sequence[Source] = (),
        *,
        acks: bool = True,
        version: ProtocolChoice = ProtocolChoice.AUTO,
        receive_maximum: int = 200,
        publish_window: int = 100,
        username: str | None = None,
    ) -> None:
        settings = BrokerSettings(
            name="plant",
            url=f"mqtt://{url_of.host}:{url_of.port}",
            client_id=CLIENT_ID,
            status_topic=STATUS_TOPIC,
            username=username,
            version=version,
            keepalive_s=5,
            receive_maximum=receive_maximum,
            publish_window=publish_window,
        )
        self._acks = acks
        self._changed = threading.Condition()
        self.deliveries: list[Delivery] = []
        self.published: list[int] = []
        self.connections: list[tuple[bool, str]] = []
        self.failures: list[str] = []
        self.broker = MqttBroker(
            settings,
            sources,
            intake_capacity=1001,
            remembered=RememberedFilters(folder / "filters.json"),
            clock=SystemClock(),
            on_delivery=self._on_delivery,
            on_published=self._on_published,
            on_refused=lambda name, rows: None,  # noqa: ARG005 - no test has its results refused
            on_connection=self._on_connection,
            on_failure=self.failures.append,
            backoff=Backoff(0.1, 0.5),
        )

    def __enter__(self) -> Self:
        """Open it and wait until it is connected and subscribed."""
        self.broker.open()
        self.wait_until_connected()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """Close it."""
        self.broker.close()

    @property
    def payloads(self) -> list[bytes]:
        """What came, in order."""
        return [delivery.payload for delivery in self.deliveries]

    @property
    def ups(self) -> int:
        """How often it was connected and subscribed."""
        return sum(is_up for is_up, _ in self.connections)

    def wait_until_connected(self, times: int = 1) -> None:
        """Wait until it has been connected `times` times."""
        self.wait(lambda: self.ups >= times, f"connection number {times}")

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a fact about what was recorded."""
        with self._changed:
            if not self._changed.wait_for(condition, DEADLINE_S):
                raise AssertionError(f"not within {DEADLINE_S:g} s: {what}; connections: {self.connections}")

    def wait_for_published(self, count: int) -> None:
        """Wait until the broker has acknowledged `count` results."""
        self.wait(lambda: len(self.published) >= count, f"{count} PUBACKs")

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge these."""
        self.broker.acknowledge([delivery.ack for delivery in deliveries if delivery.ack is not None])

    def publish(self, row: int, topic: str, payload: bytes, *, expiry_s: int | None = None) -> bool:
        """Hand one result over."""
        return not self.broker.publish([Publish(RowId(row), "plant", topic, payload, 1, expiry_s=expiry_s)])

    def _on_delivery(self, delivery: Delivery) -> bool:
        with self._changed:
            self.deliveries.append(delivery)
            self._changed.notify_all()
        if self._acks:
            self.acknowledge([delivery])
        return True

    def _on_published(self, rows: Sequence[RowId]) -> None:
        with self._changed:
            self.published.extend(rows)
            self._changed.notify_all()

    def _on_connection(self, _broker: str, is_up: bool, reason: str) -> None:  # noqa: FBT001 - the port's signature
        with self._changed:
            self.connections.append((is_up, reason))
            self._changed.notify_all()
