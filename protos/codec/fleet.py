"""The fleet session between its frozen values and its generated classes."""

from protos.codec.errors import CodecError
from protos.codec.inference import model_from_wire, model_to_wire
from protos.messages.escalation import HubIncarnation, StoreId
from protos.messages.fleet import (
    BindingReport,
    DeviceHello,
    DeviceReport,
    FleetWelcome,
    Heartbeat,
    HeartbeatAck,
    HubDirective,
)
from protos.tandem.v1 import fleet_pb2 as pb


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
        case _:
            raise CodecError("kind", "is not set, or is newer than this program")


def _binding_to_wire(report: BindingReport) -> pb.BindingReport:
    return pb.BindingReport(
        binding=report.binding,
        model=model_to_wire(report.model),
        decided=report.decided,
        escalated=report.escalated,
        answered=report.answered,
        certificate_state=report.certificate_state,
    )


def _binding_from_wire(wire: pb.BindingReport, field: str) -> BindingReport:
    return BindingReport(
        binding=wire.binding,
        model=model_from_wire(wire.model, f"{field}.model"),
        decided=wire.decided,
        escalated=wire.escalated,
        answered=wire.answered,
        certificate_state=wire.certificate_state,
    )
