"""What the agent needs from the world: a broker, a hub, a store, a clock. Adapters implement these; tests fake them.

The way of the data: `Broker` hands a `Delivery` to the pipeline; the pipeline hands one `Unit` a pass to the `Store`;
the store acks through `AckHandle`s after its commit; `EscalationBook` is the store as the hub link sees it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NewType, Protocol

from protos.messages.escalation import Ack, Hello, Item, Reject, Verdict, Welcome

BindingName = NewType("BindingName", str)


class Clock(Protocol):
    """Wall and monotonic time, passed in so that tests own it."""

    def wall_ns(self) -> int:
        """Nanoseconds since the Unix epoch, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        ...


@dataclass(frozen=True, slots=True)
class AckHandle:
    """One received message that is still to be acknowledged; `generation` tells connections apart, so a stale ack is dropped."""

    broker: str
    generation: int
    message_id: int
    qos: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One MQTT message as it arrived; `received_ns` is the wall clock."""

    binding: BindingName
    topic: str
    payload: bytes
    retained: bool
    received_ns: int
    ack: AckHandle | None
    user_properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Publish:
    """One message for a broker; `row` is its outbox row, trimmed when the broker acknowledges it."""

    row: int
    broker: str
    topic: str
    payload: bytes
    qos: int
    retain: bool = False
    expiry_s: int | None = None


class Broker(Protocol):
    """One MQTT connection. Constructors store; `open` starts its thread and returns at once, connected or not."""

    @property
    def connected(self) -> bool:
        """Whether a CONNACK is in hand."""
        ...

    def open(self) -> None:
        """Start connecting, for ever, with jittered backoff."""
        ...

    def publish(self, publish: Publish) -> bool:
        """Hand one message to the connection; False when it cannot take it now (not connected, or its window is full)."""
        ...

    def acknowledge(self, handles: Sequence[AckHandle]) -> None:
        """Send PUBACKs in order; handles of an older connection are dropped."""
        ...

    def close(self) -> None:
        """Publish `stopped`, disconnect, join the thread. May be called twice."""
        ...


class EscalationBook(Protocol):
    """The store as the escalation link sees it. Every method that changes state returns after the commit."""

    def hello(self) -> Hello:
        """What to say first on a new stream."""
        ...

    def welcomed(self, welcome: Welcome) -> None:
        """Remember the hub's incarnation; items that were sent but not acked become queued again."""
        ...

    def next_items(self, limit: int, in_flight: frozenset[int]) -> list[Item]:
        """Committed items that wait for the hub, newest live ones before backlog, without those in flight (by seq)."""
        ...

    def wait_for_items(self, timeout_s: float) -> bool:
        """Block until something new was committed, or the time is over."""
        ...

    def sent(self, seqs: Sequence[int]) -> None:
        """These items were handed to the stream."""
        ...

    def acked(self, ack: Ack) -> None:
        """These items are durable at the hub."""
        ...

    def rejected(self, reject: Reject) -> None:
        """The hub refused this item; final statuses end it, others leave it queued."""
        ...

    def answered(self, verdict: Verdict) -> None:
        """Store the verdict, the publish row of its revision and the verdict cursor in one transaction."""
        ...


class HubLinkState(Protocol):
    """Told by the link how it fares, for the status and the metrics."""

    def link_up(self, hub: str) -> None:
        """A Welcome is in hand."""
        ...

    def link_down(self, hub: str, reason: str) -> None:
        """The stream ended; `reason` names the thing and the mend where it is known."""
        ...


OnDelivery = Callable[[Delivery], bool]
"""Takes a delivery into the pipeline's queue; False when the queue is full (the caller counts it as shed)."""

OnPublished = Callable[[Sequence[int]], None]
"""Outbox rows that the broker has acknowledged."""

OnConnection = Callable[[str, bool, str], None]
"""(broker, connected, reason)."""
