"""The fleet session between its frozen values and its generated classes."""

import math
from enum import StrEnum
from typing import TypeVar

from protos.codec.errors import CodecError
from protos.codec.inference import model_from_wire, model_to_wire
from protos.codec.policy import (
    budget_from_wire,
    budget_to_wire,
    drift_from_wire,
    drift_to_wire,
    policy_from_wire,
    policy_report_from_wire,
    policy_report_to_wire,
    policy_to_wire,
)
from protos.messages.escalation import HubIncarnation, StoreId
from protos.messages.fleet import (
    BindingReport,
    Desired,
    DesiredSlot,
    DeviceHello,
    DeviceReport,
    FailureAction,
    FleetWelcome,
    Heartbeat,
    HeartbeatAck,
    HubDirective,
    InstallPhase,
    PackFailure,
    SlotReport,
    SlotState,
)
from protos.tandem.v1 import fleet_pb2 as pb

MAX_SLOTS = 256
"""Slots, and bindings, of one heartbeat: it is stored and compared as a whole."""

MAX_POLICIES = 4 * MAX_SLOTS
"""Policies, and drift alarms, of one heartbeat: a binding has an active policy and a few former ones."""

_E = TypeVar("_E", bound=StrEnum)


def report_to_wire(report: DeviceReport) -> pb.DeviceReport:
    """One report of the device."""
    match report:
        case DeviceHello():
            return pb.DeviceReport(
                hello=pb.DeviceHello(
                    wire_version=report.wire_version,
                    agent_version=report.agent_version,
                    store_id=report.store_id,
                    capabilities=report.capabilities,
                )
            )
        case Heartbeat():
            return pb.DeviceReport(
                heartbeat=pb.Heartbeat(
                    number=report.number,
                    device_time_ns=report.device_time_ns,
                    state=report.state,
                    problems=report.problems,
                    outbox_bytes=report.outbox_bytes,
                    outbox_items=report.outbox_items,
                    outbox_oldest_age_ms=report.outbox_oldest_age_ms,
                    bindings=[_binding_to_wire(binding) for binding in report.bindings],
                    desired_version=report.desired_version,
                    slots=[_slot_to_wire(slot) for slot in report.slots],
                    policies=[policy_report_to_wire(policy) for policy in report.policies],
                    drift=[drift_to_wire(one) for one in report.drift],
                    budget=[budget_to_wire(one) for one in report.budget],
                )
            )


def report_from_wire(wire: pb.DeviceReport) -> DeviceReport:
    """One report of the device.

    Raises:
        CodecError: A field is missing or cannot be what it says.
    """
    match wire.WhichOneof("kind"):
        case "hello":
            return DeviceHello(
                agent_version=wire.hello.agent_version,
                store_id=StoreId(wire.hello.store_id),
                capabilities=tuple(wire.hello.capabilities),
                wire_version=wire.hello.wire_version,
            )
        case "heartbeat":
            beat = wire.heartbeat
            _check_entries(beat)
            return Heartbeat(
                number=beat.number,
                device_time_ns=beat.device_time_ns,
                state=beat.state,
                problems=tuple(beat.problems),
                outbox_bytes=beat.outbox_bytes,
                outbox_items=beat.outbox_items,
                outbox_oldest_age_ms=beat.outbox_oldest_age_ms if beat.HasField("outbox_oldest_age_ms") else None,
                bindings=tuple(
                    _binding_from_wire(one, f"heartbeat.bindings[{i}]") for i, one in enumerate(beat.bindings)
                ),
                desired_version=beat.desired_version,
                slots=tuple(_slot_from_wire(one, f"heartbeat.slots[{i}]") for i, one in enumerate(beat.slots)),
                policies=tuple(
                    policy_report_from_wire(one, f"heartbeat.policies[{i}]") for i, one in enumerate(beat.policies)
                ),
                drift=tuple(drift_from_wire(one, f"heartbeat.drift[{i}]") for i, one in enumerate(beat.drift)),
                budget=tuple(budget_from_wire(one, f"heartbeat.budget[{i}]") for i, one in enumerate(beat.budget)),
            )
        case _:
            raise CodecError("kind", "is not set, or is newer than this program")


def directive_to_wire(directive: HubDirective) -> pb.HubDirective:
    """One answer of the hub."""
    match directive:
        case FleetWelcome():
            return pb.HubDirective(
                welcome=pb.FleetWelcome(
                    wire_version=directive.wire_version,
                    heartbeat_interval_ms=directive.heartbeat_interval_ms,
                    hub_time_ns=directive.hub_time_ns,
                    hub_incarnation=directive.hub_incarnation,
                )
            )
        case HeartbeatAck():
            return pb.HubDirective(
                heartbeat_ack=pb.HeartbeatAck(number=directive.number, hub_time_ns=directive.hub_time_ns)
            )
        case Desired():
            slots = [
                pb.DesiredSlot(binding=one.binding, pack=one.pack, digest=one.digest, policy=policy_to_wire(one.policy))
                for one in directive.slots
            ]
            return pb.HubDirective(desired=pb.Desired(version=directive.version, slots=slots))


def directive_from_wire(wire: pb.HubDirective) -> HubDirective:
    """One answer of the hub.

    Raises:
        CodecError: A field is missing or cannot be what it says.
    """
    match wire.WhichOneof("kind"):
        case "welcome":
            if wire.welcome.heartbeat_interval_ms == 0:
                raise CodecError("welcome.heartbeat_interval_ms", "is 0")
            return FleetWelcome(
                heartbeat_interval_ms=wire.welcome.heartbeat_interval_ms,
                hub_time_ns=wire.welcome.hub_time_ns,
                hub_incarnation=HubIncarnation(wire.welcome.hub_incarnation),
                wire_version=wire.welcome.wire_version,
            )
        case "heartbeat_ack":
            return HeartbeatAck(number=wire.heartbeat_ack.number, hub_time_ns=wire.heartbeat_ack.hub_time_ns)
        case "desired":
            if wire.desired.version == 0:
                raise CodecError("desired.version", "is 0; versions start at 1")
            slots = tuple(_desired_from_wire(one, f"desired.slots[{i}]") for i, one in enumerate(wire.desired.slots))
            return Desired(wire.desired.version, slots)
        case _:
            raise CodecError("kind", "is not set, or is newer than this program")


def _check_entries(beat: pb.Heartbeat) -> None:
    for name, entries, most in (
        ("bindings", len(beat.bindings), MAX_SLOTS),
        ("slots", len(beat.slots), MAX_SLOTS),
        ("policies", len(beat.policies), MAX_POLICIES),
        ("drift", len(beat.drift), MAX_POLICIES),
        ("budget", len(beat.budget), MAX_SLOTS),
    ):
        if entries > most:
            raise CodecError(f"heartbeat.{name}", f"{entries} entries, wanted at most {most}")


def _desired_from_wire(wire: pb.DesiredSlot, field: str) -> DesiredSlot:
    policy = policy_from_wire(wire.policy, f"{field}.policy") if wire.HasField("policy") else None
    return DesiredSlot(wire.binding, wire.pack, wire.digest, policy)


def _binding_to_wire(report: BindingReport) -> pb.BindingReport:
    return pb.BindingReport(
        binding=report.binding,
        model=model_to_wire(report.model),
        decided=report.decided,
        escalated=report.escalated,
        answered=report.answered,
        certificate_state=report.certificate_state,
        answer_p95_ms=report.answer_p95_ms,
    )


def _binding_from_wire(wire: pb.BindingReport, field: str) -> BindingReport:
    p95_ms = wire.answer_p95_ms if wire.HasField("answer_p95_ms") else None
    if p95_ms is not None and not (math.isfinite(p95_ms) and p95_ms >= 0):
        raise CodecError(f"{field}.answer_p95_ms", f"{p95_ms} is no time")
    return BindingReport(
        binding=wire.binding,
        model=model_from_wire(wire.model, f"{field}.model"),
        decided=wire.decided,
        escalated=wire.escalated,
        answered=wire.answered,
        certificate_state=wire.certificate_state,
        answer_p95_ms=p95_ms,
    )


def _slot_to_wire(slot: SlotReport) -> pb.SlotReport:
    failure = slot.failure
    return pb.SlotReport(
        binding=slot.binding,
        pack=slot.pack,
        digest=slot.digest,
        state=slot.state.value,
        previous_pack=slot.previous_pack or "",
        is_pinned=slot.is_pinned,
        phase=slot.phase.value,
        done_bytes=slot.done_bytes,
        total_bytes=slot.total_bytes,
        failure=None
        if failure is None
        else pb.PackFailure(
            pack=failure.pack,
            digest=failure.digest,
            action=failure.action.value,
            reason=failure.reason,
            detail=failure.detail,
            at_ns=failure.at_ns,
        ),
    )


def _slot_from_wire(wire: pb.SlotReport, field: str) -> SlotReport:
    failure = None
    if wire.HasField("failure"):
        failure = PackFailure(
            pack=wire.failure.pack,
            digest=wire.failure.digest,
            action=_member(FailureAction, wire.failure.action, f"{field}.failure.action"),
            reason=wire.failure.reason,
            detail=wire.failure.detail,
            at_ns=wire.failure.at_ns,
        )
    return SlotReport(
        binding=wire.binding,
        pack=wire.pack,
        digest=wire.digest,
        state=_member(SlotState, wire.state, f"{field}.state"),
        previous_pack=wire.previous_pack or None,
        is_pinned=wire.is_pinned,
        phase=_member(InstallPhase, wire.phase, f"{field}.phase"),
        done_bytes=wire.done_bytes,
        total_bytes=wire.total_bytes,
        failure=failure,
    )


def _member(kind: type[_E], value: str, field: str) -> _E:
    try:
        return kind(value)
    except ValueError as exc:
        raise CodecError(field, f"{value[:64]!r} is unknown") from exc
