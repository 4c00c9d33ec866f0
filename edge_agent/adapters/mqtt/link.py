"""Owns what belongs to one connection while it lives: acks in order, rows in flight, subscriptions.

Mutable and without a lock of its own: `broker.py` says which thread may touch what.
"""

from dataclasses import dataclass, field

from edge_agent.adapters.mqtt.ack_order import AckOrder
from edge_agent.adapters.mqtt.connection import Connection, Subscribed
from edge_agent.adapters.mqtt.failures import subscription
from edge_agent.adapters.mqtt.routing import Source
from edge_agent.broker_settings import BrokerSettings
from edge_agent.ports import RowId


@dataclass(slots=True)
class Link:
    """One connection's state; it is thrown away with the connection.

    Attributes:
        is_up: A CONNACK is in hand. Guarded by the broker's lock, as are `acks`, `rows` and `window`.
        rows: Outbox row by packet id, for what the broker has not acknowledged.
        asked: Sources by packet id of the SUBSCRIBE that asked for them.
        problems: What is wrong with a subscription, by filter.
    """

    connection: Connection
    window: int
    is_up: bool = False
    acks: AckOrder = field(default_factory=AckOrder)
    rows: dict[int, RowId] = field(default_factory=dict)
    asked: dict[int, tuple[Source, ...]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    removing: int | None = None
    accepted_at_s: float = 0.0
    ask_again_at_s: float | None = None

    @property
    def generation(self) -> int:
        """Number of the connection."""
        return self.connection.generation

    def ask(self, sources: tuple[Source, ...]) -> None:
        """Subscribe to these; the broker's answer comes to `answered`."""
        message_id = self.connection.subscribe(sources)
        if message_id is not None:
            self.asked[message_id] = sources

    def answered(self, settings: BrokerSettings, event: Subscribed) -> bool:
        """Take a SUBACK.

        Returns:
            Whether the last open SUBSCRIBE is answered now.
        """
        for source, reason in zip(self.asked.pop(event.message_id, ()), event.reasons, strict=False):
            problem = subscription(settings, source.template.filter, reason, source.qos)
            if problem is None:
                self.problems.pop(source.template.filter, None)
            else:
                self.problems[source.template.filter] = problem
        return not self.asked
