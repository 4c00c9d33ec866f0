"""Owns what the hub needs from the world, as Protocols, and the values that cross them; adapters fill them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from cloud_hub.core.delivery import Delivery, ItemKey, Question
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.registry import DeviceFacts
from model_packs.manifest import PackManifest
from model_packs.outputs import Output
from protos.messages.escalation import Hello, HubIncarnation, ItemClass, Verdict
from protos.messages.fleet import DeviceHello, Heartbeat
from protos.messages.inference import ModelUse, Tier

Clock = Callable[[], int]
"""Wall clock in nanoseconds since the Unix epoch, UTC."""


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
    """What a stream starts with; `applied` holds the highest seq applied for the store id, per class."""

    epoch: int
    applied: tuple[tuple[ItemClass, int], ...]


@dataclass(frozen=True, slots=True)
class Delivered:
    """One item on its way into the store; `payload` is the escalation as bytes."""

    key: ItemKey
    question: Question
    hub_pack: str
    payload: bytes


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

    async def save_heartbeat(self, device: DeviceKey, heartbeat: Heartbeat, now_ns: int) -> None:
        """Replace the device's latest heartbeat; returns when it is durable; raises StorageError."""

    async def devices(self) -> tuple[DeviceFacts, ...]:
        """Read the registry, ordered by key; raises StorageError."""


class EscalationStore(Protocol):
    """Items in, verdicts out."""

    @property
    def incarnation(self) -> HubIncarnation:
        """Identity of this database; a restored one gets a new one."""

    async def open_session(self, device: DeviceKey, hello: Hello, now_ns: int) -> OpenedSession:
        """Start a new epoch, and lift the verdict counter above what the device has seen; raises StorageError."""

    async def apply(self, device: DeviceKey, items: Sequence[Delivered], now_ns: int) -> tuple[Delivery, ...]:
        """Store items that came together, in one transaction, each at most once.

        Returns what was decided, in order. Raises StorageError; nothing is stored then.
        """

    async def waiting(self, limit: int, except_packs: Collection[str] = ()) -> tuple[WaitingItem, ...]:
        """Read the oldest stored items without an answer; raises StorageError."""

    async def answer(self, answers: Sequence[Answer]) -> tuple[tuple[DeviceKey, Verdict], ...]:
        """Log verdicts in one transaction, each at the end of its device's log, and close the items.

        Returns what was logged: fewer than given where a higher tier has spoken. Raises StorageError.
        """

    async def verdicts(self, device: DeviceKey, after_seq: int, limit: int) -> tuple[Verdict, ...]:
        """Read a device's log from a cursor; raises StorageError."""

    async def acknowledge(self, device: DeviceKey, verdict_seq: int) -> None:
        """Advance the device's cursor; never back; raises StorageError."""


class FullModel(Protocol):
    """A hub pack, loaded and warmed up."""

    @property
    def manifest(self) -> PackManifest:
        """What the pack says about itself."""

    @property
    def digest(self) -> str:
        """The pack digest."""

    @property
    def is_quick(self) -> bool:
        """A full batch runs in so little time that it may run between two messages."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run one batch; raises whatever the engine raises."""


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
