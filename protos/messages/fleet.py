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


class PolicyState(StrEnum):
    """What a policy is to the binding that reports it."""

    ACTIVE = "active"
    FORMER = "former"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """How one policy of one binding fared; counts are totals for (binding, pack, policy version).

    Attributes:
        policy_version: 0: the pack's own.
        pack: name@version that it decided with.
        kept: Answered at the edge, audited ones included.
        escalated: Audits are not in it.
        audits_lost: Drawn, and ended without a verdict.
        audit_rate: Probability of an audit, 0..1.
        threshold: None when everything is escalated.
        detail: Of a refusal: one sentence for a person.
        suppressed: Wanted by the policy and, for want of budget, not asked.
        suppressed_asked: Short of budget, too, but drawn by the lottery, and so asked; they are in `escalated`.
        unanswered: Of `escalated`, those that ended without a verdict.
    """

    binding: str
    policy_version: int
    pack: str
    pack_digest: str
    decided: int
    kept: int
    escalated: int
    audits_drawn: int
    audits_lost: int
    audit_rate: float
    threshold: float | None
    state: PolicyState
    detail: str = ""
    suppressed: int = 0
    suppressed_asked: int = 0
    unanswered: int = 0


@dataclass(frozen=True, slots=True)
class BudgetReport:
    """One part of the device's budget, as of its last debit.

    Attributes:
        resource: "calls", "bytes" or "money".
        pool: Whom the part is for: "main", "audit" or "unscorable".
        spent: Since the device's store was made.
        left: What can be spent now.
    """

    resource: str
    pool: str
    spent: float
    left: float


@dataclass(frozen=True, slots=True)
class DriftReport:
    """An input statistic of a binding has changed.

    Attributes:
        signal: Which statistic.
        at_ns: Event time of the window that told it, Unix epoch, UTC.
        statistic: What the detector saw, in the signal's own unit.
    """

    binding: str
    signal: str
    at_ns: int
    statistic: float


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """How the device is now.

    Attributes:
        outbox_oldest_age_ms: None when the outbox is empty or the age is not known.
        desired_version: The newest desire that is durable on the device; 0: none yet.
        slots: The reported side of the twin, one for each binding.
        policies: How the bindings decide: one active each, former ones while answers to them are outstanding, and the
            latest refused one.
        drift: The newest alarms of the input statistics, at most one for each (binding, signal).
        budget: Its bounded parts; empty when nothing is bounded.
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
    policies: tuple[PolicyReport, ...] = ()
    drift: tuple[DriftReport, ...] = ()
    budget: tuple[BudgetReport, ...] = ()


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


class PolicyMode(StrEnum):
    """What a policy wants of the binding's decisions."""

    SERVE = "serve"
    TIGHTEN = "tighten"
    HUB_ONLY = "hub_only"


@dataclass(frozen=True, slots=True)
class DesiredPolicy:
    """How a binding should decide.

    `tighten` needs a threshold above the one in force and nothing else; `hub_only` needs nothing. `serve` without a
    threshold is the pack's own policy; with one below the pack's it needs a certificate, and a signature by a key that
    the device trusts for the pack (`protos.link.signed_policy`).

    Attributes:
        version: Only grows for each binding of a device, also over changes of the pack; from 1.
        threshold: With `serve`, None: the pack's own.
        audit_rate: Probability of an audit, 0..1; None: as the device is configured.
        certificate: Canonical JSON of what backs the threshold; empty: none.
        signature: Ed25519, of the policy's statement; empty: none.
        pack_digest: The policy holds only while this pack runs; empty: whichever runs.
        voided_certificate: Digest of the certificate that the field has refuted; empty: none.
    """

    version: int
    mode: PolicyMode
    threshold: float | None = None
    audit_rate: float | None = None
    certificate: bytes = b""
    signature: bytes = b""
    pack_digest: str = ""
    voided_certificate: str = ""


@dataclass(frozen=True, slots=True)
class DesiredSlot:
    """What one binding should run, and how it should decide.

    Attributes:
        pack: name@version; empty: it keeps the pack that it has, and only the policy is desired. Devices that do not
            say `policy` in their capabilities are never sent such a slot.
        digest: Of the pack's pack.json; empty with an empty `pack`.
        policy: None: it keeps the policy that it has.
    """

    binding: str
    pack: str
    digest: str
    policy: DesiredPolicy | None = None


@dataclass(frozen=True, slots=True)
class Desired:
    """What the device should run; the newest version wins, a binding that is not named keeps what it has."""

    version: int
    slots: tuple[DesiredSlot, ...]


DeviceReport = DeviceHello | Heartbeat
HubDirective = FleetWelcome | HeartbeatAck | Desired
