"""The words of the fleet session as frozen values: what a device reports, and what the hub answers."""

from dataclasses import dataclass

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
    """One binding as the device sees it; counts are totals since the device's store was made."""

    binding: str
    model: ModelUse
    decided: int
    escalated: int
    answered: int
    certificate_state: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """How the device is now; `outbox_oldest_age_ms` is None when the outbox is empty or the age is not known."""

    number: int
    device_time_ns: int
    state: str
    problems: tuple[str, ...]
    outbox_bytes: int
    outbox_items: int
    outbox_oldest_age_ms: int | None
    bindings: tuple[BindingReport, ...]


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


DeviceReport = DeviceHello | Heartbeat
HubDirective = FleetWelcome | HeartbeatAck
