"""Owns the fleet service: who a device says it is, how it is, and when it shall report again."""

from collections.abc import AsyncIterable

from cloud_hub.adapters.grpc.gate import Context, Gate, refusals_told
from cloud_hub.core.devices import DeviceKey
from cloud_hub.errors import StreamOrderError, WireVersionError
from cloud_hub.ports import Clock, DeviceStore
from protos.codec.errors import CodecError
from protos.codec.fleet import directive_to_wire, report_from_wire
from protos.messages.escalation import WIRE_VERSION, HubIncarnation
from protos.messages.fleet import DeviceHello, FleetWelcome, Heartbeat, HeartbeatAck, HubDirective
from protos.tandem.v1 import fleet_pb2 as pb

_MS_PER_S = 1000


class FleetService:
    """`tandem.v1.FleetService`.

    Args:
        gate: Says who calls.
        store: The registry.
        incarnation: Identity of the hub's database.
        clock: Wall clock.
        heartbeat_interval_s: How often a device shall report.
    """

    def __init__(
        self,
        gate: Gate,
        store: DeviceStore,
        *,
        incarnation: HubIncarnation,
        clock: Clock,
        heartbeat_interval_s: float,
    ) -> None:
        self._gate = gate
        self._store = store
        self._incarnation = incarnation
        self._clock = clock
        self._interval_ms = max(1, round(heartbeat_interval_s * _MS_PER_S))

    async def Session(  # noqa: N802 - the service's own name
        self, request_iterator: AsyncIterable[pb.DeviceReport], context: Context
    ) -> None:
        """Answer each report when it is stored, until the device ends the session."""
        async with refusals_told(context):
            device = await self._gate.admit(context)
            is_first = True
            async for wire in request_iterator:
                try:
                    report = report_from_wire(wire)
                except CodecError as error:
                    raise StreamOrderError(f"a report cannot be read: {error}") from error
                if isinstance(report, DeviceHello) is not is_first:
                    raise StreamOrderError("the first report must be the hello, and only the first")
                is_first = False
                await context.write(directive_to_wire(await self._answer(device, report)))

    async def _answer(self, device: DeviceKey, report: DeviceHello | Heartbeat) -> HubDirective:
        now_ns = self._clock()
        match report:
            case DeviceHello():
                if report.wire_version != WIRE_VERSION:
                    raise WireVersionError(report.wire_version, WIRE_VERSION)
                await self._store.save_hello(device, report)
                return FleetWelcome(self._interval_ms, now_ns, self._incarnation)
            case Heartbeat():
                await self._store.save_heartbeat(device, report, now_ns)
                return HeartbeatAck(report.number, now_ns)
