"""Owns the fleet service: who a device says it is, how it is, when it shall report again, and what it should run.

A desire is told right after the welcome, and after each heartbeat that does not have it yet, so it needs no receipt:
the device's next heartbeat says which version it holds. What is desired, and what a report tells, is `core.twin`.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Protocol

from cloud_hub.adapters.grpc.gate import HELLO_S, Context, Gate, refusals_told
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.policies import POLICY_CAPABILITY
from cloud_hub.core.twin import DESIRED_CAPABILITY, DesiredTwin
from cloud_hub.errors import HelloLateError, StreamOrderError, WireVersionError
from cloud_hub.ports import Clock, DeviceStore, FleetRecords
from protos.codec.errors import CodecError
from protos.codec.fleet import directive_to_wire, report_from_wire
from protos.messages.escalation import WIRE_VERSION, HubIncarnation
from protos.messages.fleet import Desired, DeviceHello, FleetWelcome, Heartbeat, HeartbeatAck, HubDirective
from protos.tandem.v1 import fleet_pb2 as pb

_MS_PER_S = 1000


class FleetStore(DeviceStore, FleetRecords, Protocol):
    """What the fleet service needs of the database."""

    @property
    def incarnation(self) -> HubIncarnation:
        """Identity of the database; a restored one gets a new one."""


class FleetService:
    """`tandem.v1.FleetService`.

    Args:
        gate: Says who calls.
        store: The registry, and what is desired.
        clock: Wall clock.
        heartbeat_interval_s: How often a device shall report.
    """

    def __init__(
        self,
        gate: Gate,
        store: FleetStore,
        *,
        clock: Clock,
        heartbeat_interval_s: float,
    ) -> None:
        self._gate = gate
        self._store = store
        self._clock = clock
        self._interval_ms = max(1, round(heartbeat_interval_s * _MS_PER_S))

    async def Session(  # noqa: N802 - the service's own name
        self, request_iterator: AsyncIterable[pb.DeviceReport], context: Context
    ) -> None:
        """Answer each report when it is stored, until the device ends the session.

        Whether it may call is judged with each heartbeat: one that was removed, or whose name has another key now, is
        heard no more.
        """
        async with refusals_told(context):
            device = await self._gate.admit(context)
            hello: DeviceHello | None = None
            async for wire in _greeting(request_iterator):
                try:
                    report = report_from_wire(wire)
                except CodecError as error:
                    raise StreamOrderError(f"a report cannot be read: {error}") from error
                if isinstance(report, DeviceHello) and hello is None:
                    hello = report
                    directives = await self._welcome(device, hello)
                elif isinstance(report, Heartbeat) and hello is not None:
                    await self._gate.admit(context)
                    directives = await self._heard(device, hello, report)
                else:
                    raise StreamOrderError("the first report must be the hello, and only the first")
                for directive in directives:
                    await context.write(directive_to_wire(directive))

    async def _welcome(self, device: DeviceKey, hello: DeviceHello) -> Sequence[HubDirective]:
        if hello.wire_version != WIRE_VERSION:
            raise WireVersionError(hello.wire_version, WIRE_VERSION)
        await self._store.save_hello(device, hello)
        welcome = FleetWelcome(self._interval_ms, self._clock(), self._store.incarnation)
        twin = await self._store.desired(device) if DESIRED_CAPABILITY in hello.capabilities else None
        return (welcome,) if twin is None else (welcome, _told(twin, hello))

    async def _heard(self, device: DeviceKey, hello: DeviceHello, heartbeat: Heartbeat) -> Sequence[HubDirective]:
        now_ns = self._clock()
        twin = await self._store.save_heartbeat(device, heartbeat, now_ns)
        ack = HeartbeatAck(heartbeat.number, now_ns)
        if twin is None or DESIRED_CAPABILITY not in hello.capabilities:
            return (ack,)
        return (ack, _told(twin, hello)) if heartbeat.desired_version < twin.version else (ack,)


def _told(twin: DesiredTwin, hello: DeviceHello) -> Desired:
    return twin.message(takes_policies=POLICY_CAPABILITY in hello.capabilities)


async def _greeting(reports: AsyncIterable[pb.DeviceReport]) -> AsyncIterator[pb.DeviceReport]:
    """The same reports, the first of them within its time."""
    rest = aiter(reports)
    try:
        async with asyncio.timeout(HELLO_S):
            first = await anext(rest)
    except StopAsyncIteration:
        return
    except TimeoutError as error:
        raise HelloLateError(HELLO_S) from error
    yield first
    async for report in rest:
        yield report
