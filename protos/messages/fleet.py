"""The words of the fleet session as frozen values: what a device reports, and what the hub answers."""

from dataclasses import dataclass
from enum import StrEnum

from protos.messages.escalation import WIRE_VERSION, HubIncarnation, StoreId
from protos.messages.inference import ModelUse


@dataclass(frozen=True, slots=True)
class DeviceHello:
    """First report of a session."""

    agent_version: str
    store_id: StoreId
    capabilities: tuple[str, ...] = ()
    wire_version: int = WIRE_VERSION


@dataclass(frozen=True, slots=True)
class BindingReport:
    """One binding as the device sees it; counts are totals since the device's store was made.

    Attributes:
        answer_p95_ms: From message to answer, over the last minutes; None when nothing was answered.
    """

    binding: str
    model: ModelUse
    decided: int
    escalated: int
    answered: int
    certificate_state: str
    answer_p95_ms: float | None = None


class SlotState(StrEnum):
    """How sure the device is of the pack that a binding runs."""

    TRIAL = "trial"
    COMMITTED = "committed"


class InstallPhase(StrEnum):
    """Where the way to the desired pack is."""

    IDLE = "idle"
    DOWNLOADING = "downloading"
    VERIFYING = "verifying"
    PROBING = "probing"
    BAKING = "baking"
    WAITING = "waiting"


class FailureAction(StrEnum):
    """What became of a pack that failed."""

    REFUSED = "refused"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True, slots=True)
class PackFailure:
    """Why a pack does not run.

    Attributes:
        digest: Of its pack.json as it was desired.
        reason: One of the names in `edge_agent.core.pack_slots.FailureReason`; a newer device may send others.
        detail: One sentence for a person.
        at_ns: Device wall clock, Unix epoch, UTC.
    """

    pack: str
    digest: str
    action: FailureAction
    reason: str
    detail: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class SlotReport:
    """What one binding runs, and how the way to what it should run goes.

    Attributes:
        pack: Active pack, name@version.
        previous_pack: Where a rollback would go; None: nowhere.
        is_pinned: Held on the device: desires wait.
        done_bytes: Of the download in hand, out of `total_bytes`.
        failure: The last one, until another pack succeeds.
    """

    binding: str
    pack: str
    digest: str
    state: SlotState
    previous_pack: str | None
    is_pinned: bool
    phase: InstallPhase
    done_bytes: int = 0
    total_bytes: int = 0
    failure: PackFailure | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """How the device is now.

    Attributes:
        outbox_oldest_age_ms: None when the outbox is empty or the age is not known.
        desired_version: The newest desire that is durable on the device; 0: none yet.
        slots: The reported side of the twin, one for each binding.
    """

    number: int
    device_time_ns: int
    state: str
    problems: tuple[str, ...]
    outbox_bytes: int
    outbox_items: int
    outbox_oldest_age_ms: int | None
    bindings: tuple[BindingReport, ...]
    desired_version: int = 0
    slots: tuple[SlotReport, ...] = ()


@dataclass(frozen=True, slots=True)
class FleetWelcome:
    """The hub's answer to `DeviceHello`."""

    heartbeat_interval_ms: int
    hub_time_ns: int
    hub_incarnation: HubIncarnation
    wire_version: int = WIRE_VERSION


@dataclass(frozen=True, slots=True)
class HeartbeatAck:
    """The hub has stored heartbeat `number`."""

    number: int
    hub_time_ns: int


@dataclass(frozen=True, slots=True)
class DesiredSlot:
    """What one binding should run: `pack` is name@version, `digest` that of its pack.json."""

    binding: str
    pack: str
    digest: str


@dataclass(frozen=True, slots=True)
class Desired:
    """What the device should run; the newest version wins, a binding that is not named keeps what it has."""

    version: int
    slots: tuple[DesiredSlot, ...]


DeviceReport = DeviceHello | Heartbeat
HubDirective = FleetWelcome | HeartbeatAck | Desired
