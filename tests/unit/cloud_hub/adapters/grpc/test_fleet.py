"""The fleet session: whoever is no longer accepted is heard no more, also on a session that was open."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from sqlalchemy import update

from cloud_hub.adapters.grpc.fleet import FleetService
from cloud_hub.adapters.sql.device_keys import belongs_to
from cloud_hub.adapters.sql.schema import device
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.policies import PolicyDesire
from cloud_hub.errors import DeviceFault, DeviceKeyError, DeviceRemovedError
from protos.codec.fleet import directive_from_wire, report_to_wire
from protos.messages.escalation import StoreId
from protos.messages.fleet import Desired, DesiredPolicy, DeviceHello, PolicyMode
from protos.tandem.v1 import fleet_pb2 as pb
from tests.simulators.loops import in_loop
from tests.unit.cloud_hub.adapters.sql.test_fleet_records import beat
from tests.unit.cloud_hub.adapters.sql.test_store import opened
from tests.unit.cloud_hub.escalations import PRESS


@dataclass
class RegistryGate:
    """Admits a device while the registry does, by the key of its enrolment."""

    store: SqlStore

    async def admit(self, _context: object) -> DeviceKey:
        """Look it up."""
        known = await self.store.device(PRESS)
        assert known is not None
        if known.is_removed:
            raise DeviceRemovedError(str(PRESS))
        if known.public_key_digest:
            raise DeviceKeyError(str(PRESS))
        return PRESS


@dataclass
class Call:
    """What the hub did with a call."""

    told: list[object] = field(default_factory=list)
    ended_with: grpc.StatusCode | None = None

    async def write(self, directive: object) -> None:
        """Note it."""
        self.told.append(directive)

    async def abort(self, code: grpc.StatusCode, _text: str) -> None:
        """Note how it ended."""
        self.ended_with = code


@pytest.mark.parametrize(
    ("change", "fault"), [({"is_removed": True}, DeviceRemovedError), ({"public_key_digest": "b"}, DeviceKeyError)]
)
@in_loop
async def test_a_device_that_is_no_longer_accepted_is_not_heard_on_its_open_session(
    change: dict[str, object], fault: type[DeviceFault], tmp_path: Path
) -> None:
    """Removed, or enrolled with another key: the next heartbeat ends the session with its status, and is not stored."""
    async with opened(tmp_path) as store:
        await store.register_local(PRESS, 1)

        async def reports() -> AsyncIterator[pb.DeviceReport]:
            yield report_to_wire(DeviceHello("1", StoreId("store"), ("desired",)))
            yield report_to_wire(beat(1))
            async with store._engine.begin() as connection:
                await connection.execute(update(device).where(belongs_to(device, PRESS)).values(**change))
            yield report_to_wire(beat(2))

        call = Call()
        service = FleetService(
            RegistryGate(store),
            store,
            clock=lambda: 5,
            heartbeat_interval_s=10.0,
        )
        await service.Session(reports(), call)  # type: ignore[arg-type]  # of the call, these two are all it uses
        facts = await store.facts(PRESS)
        assert facts is not None
        assert facts.heartbeat == beat(1)
        assert len(call.told) == 2
        assert call.ended_with is not None
        assert call.ended_with.value[0] == fault.status.value


@pytest.mark.parametrize(("capabilities", "n_slots"), [(("desired",), 0), (("desired", "policy"), 1)])
@in_loop
async def test_a_policy_comes_with_the_answer_to_the_next_heartbeat(
    capabilities: tuple[str, ...], n_slots: int, tmp_path: Path
) -> None:
    """And never to a device that does not say that it takes policies."""
    async with opened(tmp_path) as store:
        await store.register_local(PRESS, 1)

        async def reports() -> AsyncIterator[pb.DeviceReport]:
            yield report_to_wire(DeviceHello("1", StoreId("store"), capabilities))
            await store.policies.desire(
                PRESS, "band", lambda v: PolicyDesire("band", DesiredPolicy(v, PolicyMode.HUB_ONLY), "void", "m", 5)
            )
            yield report_to_wire(beat(1, version=0))

        call = Call()
        service = FleetService(RegistryGate(store), store, clock=lambda: 5, heartbeat_interval_s=10.0)
        await service.Session(reports(), call)  # type: ignore[arg-type]  # of the call, these two are all it uses
        desired = directive_from_wire(call.told[-1])  # type: ignore[arg-type]  # what a call is told is on the wire
        assert isinstance(desired, Desired)
        assert (desired.version, len(desired.slots)) == (1, n_slots)
