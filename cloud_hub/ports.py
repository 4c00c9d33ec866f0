"""Owns what the hub needs from the world, as Protocols, and the values that cross them; adapters fill them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cloud_hub.core.cases import Case, CaseCount, CaseDetail, CaseFilter, CasePage
from cloud_hub.core.delivery import Delivery, ItemKey, Question
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import EventId, Happening, HubEvent
from cloud_hub.core.feedback import FeedbackTaken, GivenPage, LabelGiven, LabelOutcome
from cloud_hub.core.liveness import Heard, LivenessChange
from cloud_hub.core.monitoring.field_rows import FieldRow
from cloud_hub.core.monitoring.record import Overdue, PolicyKey, PolicyRecord
from cloud_hub.core.monitoring.watch import Promise
from cloud_hub.core.people import Person
from cloud_hub.core.policies import PolicyDesire
from cloud_hub.core.registry import DeviceFacts
from cloud_hub.core.tokens import Token
from cloud_hub.core.trends import TrendPoint
from cloud_hub.core.twin import DesiredTwin
from model_packs.certificate.document import Certificate
from model_packs.manifest import PackManifest, PackRef
from model_packs.outputs import Output
from protos.messages.escalation import Escalation, Hello, HubIncarnation, ItemClass, PredictionId, Verdict
from protos.messages.feedback import FeedbackBatch, FeedbackRefusal
from protos.messages.fleet import DesiredSlot, DeviceHello, Heartbeat
from protos.messages.inference import ModelUse, Tier

Clock = Callable[[], int]
"""Wall clock in nanoseconds since the Unix epoch, UTC."""

NO_END_NS = 2**63 - 1
"""Later than every time."""


@dataclass(frozen=True, slots=True)
class RegisteredDevice:
    """A device that may, or may no longer, call the hub.

    Attributes:
        public_key_digest: SHA-256 (hex) of the key of its latest enrolment; empty for one that never enrolled.
    """

    key: DeviceKey
    public_key_digest: str
    is_removed: bool


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A device certificate as issued; `public_key_digest` is the SHA-256 (hex) of its SubjectPublicKeyInfo."""

    serial: str
    public_key_digest: str
    not_before_ns: int
    not_after_ns: int
    chain_pem: bytes


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A request that passed its own checks: who asks for which name, with which key and token."""

    token_id: str
    token_secret: str
    device_id: str
    public_key_digest: str
    agent_version: str


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """What a stream starts with.

    Attributes:
        applied: The highest seq applied for the store id, per class.
        incarnation: Identity of the database.
        is_restored: This Hello gave the database away as an older copy, and it took a new incarnation.
    """

    epoch: int
    applied: tuple[tuple[ItemClass, int], ...]
    incarnation: HubIncarnation
    is_restored: bool


@dataclass(frozen=True, slots=True)
class Delivered:
    """One item on its way into the store; `payload` is the escalation as bytes.

    Attributes:
        low_water: Everything below it in the device's outbox is settled there.
    """

    key: ItemKey
    question: Question
    hub_pack: str
    payload: bytes
    escalation: Escalation
    low_water: int = 0


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How much was forgotten."""

    items: int
    verdicts: int


@dataclass(frozen=True, slots=True)
class WaitingItem:
    """One stored question without an answer; `row_id` is its place in the queue."""

    row_id: int
    device: DeviceKey
    item_class: ItemClass
    question: Question
    hub_pack: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What is to be logged for one waiting item; `unscorable` says why there is no output, and is not logged."""

    item: WaitingItem
    tier: Tier
    output: Output | None
    unscorable: str | None
    confidence: float
    models: tuple[ModelUse, ...]
    decided_at_ns: int
    infer_ms: float


class DeviceStore(Protocol):
    """Who may call, and how they are."""

    async def device(self, key: DeviceKey) -> RegisteredDevice | None:
        """Look a device up; raises StorageError."""

    async def register_local(self, key: DeviceKey, now_ns: int) -> None:
        """Add a device without a certificate (`--insecure`), once; raises StorageError."""

    async def enrol(
        self,
        enrolment: Enrolment,
        issue: Callable[[DeviceKey], IssuedCertificate],
        now_ns: int,
    ) -> tuple[DeviceKey, IssuedCertificate]:
        """Check the token, issue and record the certificate in one transaction.

        A repeat with the same key returns the certificate of the first time.
        Raises DeviceFault by the rules of `core.tokens`, StorageError.
        """

    async def save_hello(self, device: DeviceKey, hello: DeviceHello) -> None:
        """Note what the device says it is; raises StorageError."""

    async def save_heartbeat(self, device: DeviceKey, heartbeat: Heartbeat, now_ns: int) -> DesiredTwin | None:
        """Replace the device's latest heartbeat, with its trend and what it tells anew, in one transaction.

        Returns what the device should run, lifted above the version that it holds; returns when all is durable.
        Raises StorageError.
        """

    async def devices(self) -> tuple[DeviceFacts, ...]:
        """Read the registry, ordered by key; raises StorageError."""


class EventOutbox(Protocol):
    """What happened, in the order in which it did, and how much was heard."""

    @property
    def reports_stored(self) -> int:
        """How many heartbeats this process has stored: a number that moves when the fleet's picture has."""

    async def events(self, after_id: EventId, limit: int, device: DeviceKey | None = None) -> tuple[HubEvent, ...]:
        """Read the outbox on from a cursor, oldest first; raises StorageError."""

    async def event_span(self) -> tuple[EventId, EventId]:
        """Read the ids of the oldest event that is kept and of the newest; both 0 when there is none.

        Raises StorageError.
        """

    async def wait_for_event(self, after_id: EventId, timeout_s: float) -> bool:
        """Wait until there is an event behind the cursor, whichever process wrote it; False when the time is over.

        Raises StorageError.
        """


class FleetRecords(EventOutbox, Protocol):
    """What the hub wants of its fleet, what it heard, and what happened."""

    async def devices(self) -> tuple[DeviceFacts, ...]:
        """Read the registry, ordered by key; raises StorageError."""

    async def facts(self, device: DeviceKey) -> DeviceFacts | None:
        """Read one device of the registry; None for an unknown one; raises StorageError."""

    async def desire(self, device: DeviceKey, slots: Sequence[DesiredSlot], *, actor: str, now_ns: int) -> DesiredTwin:
        """State what bindings of a known device should run; the others keep theirs; raises StorageError."""

    async def end_desire(self, device: DeviceKey, binding: str, *, actor: str, now_ns: int) -> DesiredTwin | None:
        """End what a binding should run, with an event; None when nothing is desired there; raises StorageError."""

    async def desired(self, device: DeviceKey) -> DesiredTwin | None:
        """Read what a device should run; None when nothing was ever desired; raises StorageError."""

    async def trend(self, device: DeviceKey | None, since_ns: int, until_ns: int = NO_END_NS) -> tuple[TrendPoint, ...]:
        """Read the increments of each bucket, oldest first, of one device or of all; raises StorageError.

        What was written by a clock that was ahead is left out by `until_ns`: now.
        """

    async def lately(self, since_ns: int, until_ns: int = NO_END_NS) -> tuple[TrendPoint, ...]:
        """Read one point a device and binding: what happened from its first bucket since then to its last.

        Cheap for a large fleet; `until_ns` as in `trend`. Raises StorageError.
        """

    async def record(self, happening: Happening) -> None:
        """Write an event that stands alone; raises StorageError."""

    async def recent_events(self, limit: int, device: DeviceKey | None = None) -> tuple[HubEvent, ...]:
        """Read the latest events, newest first; raises StorageError."""


class PolicyBook(Protocol):
    """How devices decide, what backs it, and how it fares."""

    async def keep_promises(self, promises: Mapping[str, Promise]) -> None:
        """Note what the certificates of packs say, by pack digest; raises StorageError."""

    async def records(self, device: DeviceKey | None = None) -> tuple[PolicyRecord, ...]:
        """Read how policies fare, of one device or of all, the newest of a binding first; raises StorageError."""

    async def desire(
        self, device: DeviceKey, binding: str, make: Callable[[int], PolicyDesire]
    ) -> tuple[DesiredTwin, PolicyDesire]:
        """State how a binding should decide; `make` gets the next version and writes the policy with it.

        The twin, the version and the event are one transaction. Raises StorageError.
        """

    async def overdue(self, device: DeviceKey | None, before_ns: int) -> Mapping[PolicyKey, Overdue]:
        """Count what came before then and is still not answered or labelled; raises StorageError."""

    async def field_rows(
        self, device: DeviceKey, binding: str, pack_digest: str, since_ns: int
    ) -> tuple[FieldRow, ...]:
        """Read what came of one pack in one binding since then, oldest first; raises StorageError."""


class FleetWatchStore(Protocol):
    """What the loop that watches the fleet reads and writes."""

    async def heard(self) -> tuple[Heard, ...]:
        """Read when each accepted device was last heard, and what was told of it; raises StorageError."""

    async def tell_liveness(self, changes: Sequence[LivenessChange], now_ns: int) -> None:
        """Note changes and write their events, in one transaction; raises StorageError."""

    async def forget(self, before_ns: int) -> Forgotten:
        """Delete a page of answered items that came before then and cannot come again, with cases and verdicts.

        Nothing of what people labelled, and no verdict that the device has not. Raises StorageError.
        """

    async def prune(self, *, events_before_ns: int, max_events: int, trends_before_ns: int) -> None:
        """Delete events and trends beyond their age, and the oldest events beyond their count; raises StorageError."""


@dataclass(frozen=True, slots=True)
class PackFacts:
    """A published pack as people see it.

    Attributes:
        digest: The pack digest (of pack.json): what a desire names.
        size_bytes: All blobs together.
        manifest: What it says about itself (role, family, task, labels, escalates_to, golden, …).
        signed_by: Ids of the keys whose signatures came along.
        certificate: What backs its threshold; None if it carries none.
        card: Its model card, Markdown; empty if it carries none. An author's text: not to be trusted as HTML.
    """

    ref: PackRef
    digest: str
    size_bytes: int
    manifest: PackManifest
    signed_by: tuple[str, ...]
    certificate: Certificate | None
    card: str


@dataclass(frozen=True, slots=True)
class UnreadablePack:
    """A published pack whose documents are damaged; `reason` and `mend` are for a person."""

    ref: PackRef
    reason: str
    mend: str


class PackShelf(Protocol):
    """The published packs. Documents are checked against their digests, weights are not read."""

    async def packs(self) -> tuple[PackFacts | UnreadablePack, ...]:
        """List them by name and version; raises StorageError when the store's index is damaged."""

    async def pack(self, ref: PackRef) -> PackFacts | UnreadablePack | None:
        """Look one up; None when it is not published; raises StorageError when the store's index is damaged."""


class EscalationStore(Protocol):
    """Items in, verdicts out."""

    async def open_session(self, device: DeviceKey, hello: Hello, now_ns: int) -> OpenedSession:
        """Start a new epoch, and lift the verdict counter above what the device has seen.

        A database that the device shows to be an older copy takes a new incarnation first. Raises StorageError.
        """

    async def apply(self, device: DeviceKey, items: Sequence[Delivered], now_ns: int) -> tuple[Delivery, ...]:
        """Store items that came together, in one transaction, each at most once.

        What is asked again from a new place in the outbox gets its answer to the end of the device's log again.
        Returns what was decided, in order. Raises StorageError; nothing is stored then.
        """

    async def waiting(self, limit: int, except_packs: Collection[str] = ()) -> tuple[WaitingItem, ...]:
        """Read stored items without an answer, in the order in which they came.

        Where there are more than `limit`, half of them are the newest, so that what is live overtakes a backlog, and
        half the oldest, so that none waits for ever. Raises StorageError.
        """

    async def waiting_by_device(self) -> Mapping[DeviceKey, int]:
        """Count the stored items without an answer; raises StorageError."""

    async def answer(self, answers: Sequence[Answer]) -> tuple[tuple[DeviceKey, Verdict], ...]:
        """Log verdicts in one transaction, each at the end of its device's log, and close the items.

        Returns what was logged: fewer than given where a higher tier has spoken. Raises StorageError.
        """

    async def verdicts(self, device: DeviceKey, after_seq: int, limit: int) -> tuple[Verdict, ...]:
        """Read a device's log from a cursor; raises StorageError."""

    async def acknowledge(self, device: DeviceKey, verdict_seq: int) -> None:
        """Advance the device's cursor; never back; raises StorageError."""


class CaseRecords(Protocol):
    """What was escalated, and what people say of it."""

    async def cases(self, wanted: CaseFilter, limit: int) -> CasePage:
        """List cases, newest first; raises StorageError."""

    async def case(self, device: DeviceKey, prediction_id: PredictionId) -> CaseDetail | None:
        """Read one case with its tensors, verdicts and feedback; None if it was never here; raises StorageError."""

    async def review_queue(self, limit: int, by: str) -> tuple[Case, ...]:
        """Read what to review next, in order, without what this person could not tell; raises StorageError."""

    async def review_count(self) -> int:
        """Count the cases without a label; raises StorageError."""

    async def case_trend(self, since_ns: int, bucket_s: float, device: DeviceKey | None) -> tuple[CaseCount, ...]:
        """Count cases by bucket, device, binding and reason, oldest first; raises StorageError."""

    async def judgements(self, limit: int, before: int | None = None) -> GivenPage:
        """List what people said, newest first; `before` is the cursor of the page before; raises StorageError."""

    async def label(self, given: LabelGiven) -> LabelOutcome:
        """Store a person's label with its human verdict and its event, in one transaction.

        A label that this person repeats is stored once; one that holds already makes no new verdict.
        Raises CaseUnknownError, StorageError.
        """

    async def receive_feedback(
        self,
        device: DeviceKey,
        batch: FeedbackBatch,
        refused: Sequence[FeedbackRefusal],
        now_ns: int,
    ) -> FeedbackTaken:
        """Store what people at a device say, once by (store_id, seq), in one transaction.

        A right answer and a label become a human verdict, "wrong" lifts the case in the review queue. `refused` joins
        the receipt. Raises StorageError; nothing is stored then.
        """


class People(Protocol):
    """Who may log in; passwords and secrets are kept as digests only."""

    async def people(self) -> tuple[Person, ...]:
        """List them by name; raises StorageError."""

    async def add_person(self, person: Person, password_hash: str, *, actor: str) -> None:
        """Add one, with an event; raises PersonTakenError, StorageError."""

    async def remove_person(self, name: str, *, actor: str, now_ns: int) -> None:
        """Remove one with all sessions and tokens, with an event; raises PersonUnknownError, StorageError."""

    async def set_password(self, name: str, password_hash: str, *, actor: str, now_ns: int) -> None:
        """Replace the password, end all web sessions, with an event; raises PersonUnknownError, StorageError."""

    async def password_hash(self, name: str) -> str | None:
        """Read what `PasswordHasher.verify` compares with; None for nobody; raises StorageError."""

    async def open_web_session(self, name: str, now_ns: int, life_s: float) -> str:
        """Make a session's secret; raises PersonUnknownError, StorageError."""

    async def web_session(self, secret: str, now_ns: int) -> Person | None:
        """Find whose live session it is; raises StorageError."""

    async def close_web_session(self, secret: str) -> None:
        """End a session; an unknown one is none; raises StorageError."""

    async def open_api_token(self, name: str, *, actor: str, now_ns: int) -> str:
        """Make an API token, valid until it is revoked, with an event; raises PersonUnknownError, StorageError."""

    async def api_token(self, secret: str) -> Person | None:
        """Find whose token it is; raises StorageError."""

    async def revoke_api_tokens(self, name: str) -> int:
        """Revoke all of a person's tokens and count them; raises PersonUnknownError, StorageError."""


class JoinTokens(Protocol):
    """Where join tokens are kept."""

    async def add_token(self, token: Token, now_ns: int) -> None:
        """Store a new token; raises StorageError."""


class PasswordHasher(Protocol):
    """Turns passwords into what may be stored; slow on purpose, so it runs beside the loop."""

    async def hash(self, password: str) -> str:
        """Hash a new password."""

    async def verify(self, stored: str | None, password: str) -> bool:
        """Compare a password with a stored hash; None (nobody has this name) takes as long and is False."""


class FullModel(Protocol):
    """A hub pack that can be asked."""

    @property
    def manifest(self) -> PackManifest:
        """What the pack says about itself."""

    @property
    def digest(self) -> str:
        """The pack digest."""


class FullModels(Protocol):
    """The hub packs of this hub."""

    async def find(self, pack: str) -> FullModel:
        """Return a published pack's model, loading it on first use; raises PackUnavailableError."""


class Authority(Protocol):
    """Signs what devices present."""

    @property
    def certificate_pem(self) -> bytes:
        """The authority's own certificate."""

    def public_key_digest(self, csr_der: bytes) -> str:
        """Check a certificate request (signature, P-256) and digest its key; raises CertificateRequestError."""

    def issue(self, csr_der: bytes, device: DeviceKey, now_ns: int) -> IssuedCertificate:
        """Sign a checked request's key for a device; raises CertificateRequestError."""


class StreamBell(Protocol):
    """Tells the stream of a device, if one is open, that its log has grown."""

    def ring(self, logged: Sequence[tuple[DeviceKey, Verdict]]) -> None:
        """Tell each device's stream what was added to its log, in the log's order."""
