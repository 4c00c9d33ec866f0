"""What the agent needs from the world: a broker, a hub, a store, a clock. Adapters implement these; tests fake them.

The way of the data: `Broker` hands a `Delivery` to the pipeline; the pipeline hands one `Unit` a pass to the `Store`;
the store acks through `AckHandle`s after its commit; `EscalationBook` and `FeedbackBook` are the store as the hub's
links see it.

What is made anew for each message is not frozen, here and along its way, though nobody changes it: a frozen dataclass
costs a call for each field, together a tenth of all that a message costs.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NewType, Protocol

from edge_agent.core.accounting import DEVICE
from edge_agent.core.durability import DEFAULT_TERMS, JournalTerms
from edge_agent.core.feedback import Said
from edge_agent.core.pack_slots import PackId
from edge_agent.errors import InputFault
from model_packs.digests import Digest
from model_packs.manifest import PackRef
from model_packs.pack import Pack
from protos.messages.escalation import Ack, Escalation, Hello, Item, ItemClass, PredictionId, Reject, Verdict, Welcome
from protos.messages.feedback import FeedbackBatch, FeedbackReceipt
from protos.messages.inference import ModelUse

BindingName = NewType("BindingName", str)
RowId = NewType("RowId", int)
CounterKey = tuple[BindingName, str]
ItemKey = tuple[ItemClass, int]
"""Names an item of the outbox: its class, and its number in it."""

Event = Mapping[str, Any]
"""A prediction event, `edge.prediction/1`, as a JSON object."""


class Clock(Protocol):
    """Wall and monotonic time, passed in so that tests own it."""

    def wall_ns(self) -> int:
        """Nanoseconds since the Unix epoch, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since the machine booted, sleep included; they never go back."""
        ...

    def boot_id(self) -> str:
        """Tells boots apart: `monotonic_s` compares only within one."""
        ...

    def is_synced(self) -> bool:
        """Whether the wall clock is synchronised; False when that is not known."""
        ...


@dataclass(slots=True)
class AckHandle:
    """A received message to acknowledge; `generation` tells connections apart, so that a stale one is dropped."""

    broker: str
    generation: int
    message_id: int
    qos: int


@dataclass(slots=True)
class Delivery:
    """One MQTT message as it arrived; `received_ns` is the wall clock; feedback belongs to the binding `DEVICE`."""

    binding: BindingName
    topic: str
    payload: bytes
    retained: bool
    received_ns: int
    ack: AckHandle | None


@dataclass(slots=True)
class Publish:
    """One message for a broker; `row` is its outbox row, trimmed when the broker acknowledges it.

    Without a broker it is kept for those who watch, and delivered to nobody: its caller has the answer.
    """

    row: RowId
    broker: str
    topic: str
    payload: bytes
    qos: int
    retain: bool = False
    expiry_s: int | None = None


@dataclass(frozen=True, slots=True)
class NewsItem:
    """A prediction that came or changed, at its place in the order of such news."""

    place: int
    event: Event


class Broker(Protocol):
    """One MQTT connection. Constructors store; `open` starts its thread and returns at once, connected or not."""

    @property
    def connected(self) -> bool:
        """Whether a CONNACK is in hand."""
        ...

    def open(self) -> None:
        """Start connecting, for ever, with jittered backoff."""
        ...

    def publish(self, publishes: Sequence[Publish]) -> list[Publish]:
        """Hand messages to the connection; those that it cannot take (not connected, or window full) are returned."""
        ...

    def acknowledge(self, handles: Sequence[AckHandle]) -> None:
        """Send PUBACKs in order; handles of an older connection are dropped."""
        ...

    def close(self) -> None:
        """Publish `stopped`, disconnect, join the thread. May be called twice."""
        ...


@dataclass(slots=True)
class JournalRow:
    """One accepted record: its decoded samples, kept until no open window needs them.

    Attributes:
        times_ns: Little-endian int64, one a sample.
        values: Little-endian float32, (samples, channels), C order; NaN is a missing value.
        pending: Samples whose fate is not decided yet.
    """

    row: RowId
    binding: BindingName
    partition: str
    received_ns: int
    times_ns: bytes
    values: bytes
    pending: int


@dataclass(frozen=True, slots=True)
class PolicyUse:
    """Which policy decided one prediction, and what it decided: a line of the totals of (binding, pack, version).

    Attributes:
        version: Of the policy; 0: the pack's own.
        threshold: None: everything is escalated.
        audit_rate: Probability of an audit when it was drawn or not.
        is_kept: Whether the policy kept the answer.
        is_short: Whether the policy escalated it and the budget did not allow that.
    """

    version: int
    model: ModelUse
    threshold: float | None
    audit_rate: float
    is_kept: bool
    is_short: bool


@dataclass(slots=True)
class Decided:
    """One prediction of a pass: its message (an event of `status` as JSON), and what is asked of the hub.

    Attributes:
        counted: Counters that the decision adds 1 to, beside those of the prediction and of what is asked.
        decided_by: The policy whose totals it belongs to; None: no policy is watched.
    """

    prediction_id: PredictionId
    binding: BindingName
    partition: str
    status: str
    publish: Publish
    escalate: Escalation | None
    escalate_class: ItemClass
    alarm: Publish | None = None
    counted: tuple[str, ...] = ()
    decided_by: PolicyUse | None = None


@dataclass(frozen=True, slots=True)
class Returned:
    """Answers that one policy decided and that their callers hold: they are in its totals, and in no row."""

    binding: BindingName
    decided_by: PolicyUse
    amount: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record that could not be decoded; `payload` is whole, the store keeps its head."""

    binding: BindingName
    topic: str
    reason: str
    detail: str
    received_ns: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class GivenFeedback:
    """What somebody said about an answer, as it came; the store looks which answer that is."""

    said: Said
    topic: str
    received_ns: int
    payload: bytes

    def letter(self, reason: InputFault, detail: str) -> DeadLetter:
        """The same as a dead letter of the device."""
        return DeadLetter(BindingName(DEVICE), self.topic, reason.value, detail, self.received_ns, self.payload)


@dataclass(frozen=True, slots=True)
class Unit:
    """What one pass changes for the bindings of the same terms; the store commits it whole or not at all.

    Attributes:
        counts: What to add to the counters.
        journal: Records to keep.
        pending: New number of undecided samples by journal row.
        released: Journal rows that no window needs any more.
        seen: Dedupe keys to remember, oldest first.
        forgotten: Dedupe keys to forget.
        states: Window state by (binding, partition); None when the partition is gone.
        returned: Answers to local calls that nobody else is told of.
        acks: Messages to acknowledge after the commit, in the order of arrival.
        terms: How safe it has to be before they are, and what becomes of it while the disk fails.
    """

    counts: Mapping[CounterKey, int] = field(default_factory=dict)
    journal: tuple[JournalRow, ...] = ()
    pending: Mapping[RowId, int] = field(default_factory=dict)
    released: tuple[RowId, ...] = ()
    seen: tuple[tuple[BindingName, bytes], ...] = ()
    forgotten: tuple[tuple[BindingName, bytes], ...] = ()
    states: Mapping[tuple[BindingName, str], str | None] = field(default_factory=dict)
    decided: tuple[Decided, ...] = ()
    returned: tuple[Returned, ...] = ()
    dead_letters: tuple[DeadLetter, ...] = ()
    feedback: tuple[GivenFeedback, ...] = ()
    acks: tuple[AckHandle, ...] = ()
    terms: JournalTerms = DEFAULT_TERMS


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the store knows of one binding at start: enough to go on where the last commit was."""

    states: Mapping[str, str]
    journal: tuple[JournalRow, ...]
    seen: tuple[bytes, ...]


class UnitStore(Protocol):
    """The store as the pipeline sees it. Nothing here waits for the disk, but `remembered`."""

    @property
    def is_durable(self) -> bool:
        """False while commits fail, so that events can say so."""
        ...

    def new_row(self) -> RowId:
        """A row id that was never given out before, in any run."""
        ...

    def submit(self, unit: Unit) -> None:
        """Hand a pass to the writer; commits, then acks, in the order of the calls."""
        ...

    def remembered(self, binding: BindingName) -> Remembered:
        """What is left of this binding after everything submitted so far is committed."""
        ...


class EscalationBook(Protocol):
    """The store as the escalation link sees it. Every method that changes state returns after the commit."""

    def hello(self) -> Hello:
        """What to say first on a new stream."""
        ...

    def welcomed(self, welcome: Welcome) -> bool:
        """Remember the hub's incarnation; items that were sent but not acked become queued again.

        Returns:
            False when the caller must open a new stream with a new `hello`: the hub has applied more than this store
            ever numbered, and the store took a new id; or it has another verdict log, which is read from its start.
        """
        ...

    def next_items(self, limit: int, in_flight: frozenset[ItemKey]) -> list[Item]:
        """Committed items that wait for the hub, newest live ones before backlog, without those in flight."""
        ...

    def wait_for_items(self, timeout_s: float) -> bool:
        """Block until something new was committed, or the time is over."""
        ...

    def sent(self, items: Sequence[ItemKey]) -> None:
        """These items were handed to the stream."""
        ...

    def acked(self, ack: Ack) -> None:
        """These items are durable at the hub."""
        ...

    def rejected(self, reject: Reject) -> None:
        """The hub refused this item; final statuses end it, others leave it queued until `retry_after_ms` is over."""
        ...

    def answered(self, verdict: Verdict) -> Future[None]:
        """Store the verdict, the publish row of its revision and the verdict cursor in one transaction.

        A repeated, late or unknown verdict is counted and moves the cursor; the caller acknowledges all of them.

        Returns:
            Done after the commit, in the order of the calls; several verdicts may share one.
        """
        ...


class FeedbackBook(Protocol):
    """The store as the feedback link sees it."""

    def next_batch(self, limit: int) -> FeedbackBatch | None:
        """The oldest committed judgements that the hub may be told now; None when there are none."""
        ...

    def wait_for_feedback(self, timeout_s: float) -> None:
        """Block until something new was committed, or the time is over."""
        ...

    def settled(self, batch: FeedbackBatch, receipt: FeedbackReceipt) -> None:
        """What the hub made of a batch; returns after the commit.

        What it has is trimmed; what it refuses for ever becomes a dead letter; the rest is held back for a while.
        """
        ...


class HubLinkState(Protocol):
    """Told by the link how it fares, for the status and the metrics."""

    def link_up(self, hub: str) -> None:
        """A Welcome is in hand."""
        ...

    def link_down(self, hub: str, reason: str) -> None:
        """The stream ended; `reason` names the thing and the mend where it is known."""
        ...


@dataclass(frozen=True, slots=True)
class PackBlob:
    """One blob that a pack needs."""

    digest: Digest
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PackPlan:
    """What it takes to bring one pack here.

    Attributes:
        digest: Of the pack, as its source says; what arrives is checked.
        manifest: Its OCI image manifest, byte for byte.
        missing: Blobs that are not here whole.
        total_bytes: Of the missing blobs.
        done_bytes: Of these, what an interrupted transfer left here.
    """

    ref: PackRef
    digest: Digest
    manifest: bytes
    missing: tuple[PackBlob, ...]
    total_bytes: int
    done_bytes: int


OnBytes = Callable[[int], None]
"""So many bytes of a plan's total are here now; what it raises ends the transfer, which can be resumed."""


class PackSource(Protocol):
    """Brings packs to this device's store: the hub's registry now; metadata repositories and deltas later."""

    def plan(self, ref: PackRef) -> PackPlan:
        """Ask what it takes.

        Raises:
            PackRefusedError: The source does not have it, or describes it wrongly.
            HubError: The source refuses, or is not there.
        """
        ...

    def fetch(self, plan: PackPlan, on_bytes: OnBytes) -> None:
        """Bring what is missing, resuming where an earlier call stopped, and make the pack visible in the store.

        Raises:
            PackRefusedError: What arrives is not what the plan says.
            HubError: The source refuses, or went away; call again to go on.
            OSError: The disk refuses.
        """
        ...


class PackTrust(Protocol):
    """Says whether a pack of the store may run here."""

    def verified(self, pack: PackId) -> Pack:
        """Load a pack after checking signature and every digest.

        Raises:
            PackRefusedError: It must not run; the reason says why.
        """
        ...


OnDelivery = Callable[[Delivery], bool]
"""Takes a delivery into the pipeline's queue; False when the queue is full (the pipeline has counted it as shed)."""

OnPublished = Callable[[Sequence[RowId]], None]
"""Outbox rows that the broker has acknowledged."""

OnRefused = Callable[[str, Sequence[RowId]], None]
"""(broker, outbox rows that it has answered with an error)."""

OnConnection = Callable[[str, bool, str], None]
"""(broker, connected, reason)."""
