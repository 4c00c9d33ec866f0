"""Owns the policies of devices as one object: what they promise, how they fare, what is wanted, and their field data.

It fills `ports.PolicyBook` on the store's own connections. Statements are `policy_records.py`, `twins.py` and here.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql import policy_records, twins
from cloud_hub.adapters.sql.device_keys import AnyRow, AnySelect, belongs_to
from cloud_hub.adapters.sql.schema import case_record
from cloud_hub.adapters.sql.writer import Job, ResultT
from cloud_hub.core.cases import CaseState
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.monitoring.field_rows import FieldRow, in_edge_words
from cloud_hub.core.monitoring.record import Overdue, PolicyKey, PolicyRecord
from cloud_hub.core.monitoring.response import next_version
from cloud_hub.core.monitoring.watch import Promise
from cloud_hub.core.policies import PolicyDesire, policy_of
from cloud_hub.core.twin import DesiredTwin
from protos.messages.escalation import Reason

MAX_ROWS = 200_000


class Write(Protocol):
    """Runs a job in a transaction, and wakes who waits for its events."""

    async def __call__(self, job: Job[ResultT]) -> ResultT:
        """Run it."""


class SqlPolicyBook:
    """The policies in the hub's database.

    Args:
        write: Runs a job in a transaction.
        read: Reads all rows of a query.
    """

    def __init__(self, write: Write, read: Callable[[AnySelect], Awaitable[Sequence[AnyRow]]]) -> None:
        self._write = write
        self._read = read

    async def keep_promises(self, promises: Mapping[str, Promise]) -> None:
        """Note what the certificates of packs say."""

        async def keep(connection: AsyncConnection) -> None:
            for digest, promise in promises.items():
                await policy_records.keep_promise(connection, digest, promise)

        if promises:
            await self._write(keep)

    async def records(self, device: DeviceKey | None = None) -> tuple[PolicyRecord, ...]:
        """Read how policies fare, the newest of a binding first."""
        rows = await self._read(policy_records.select_records(device))
        tallies = await self._read(policy_records.select_tallies(device))
        return policy_records.read_records(rows, tallies)

    async def desire(
        self, device: DeviceKey, binding: str, make: Callable[[int], PolicyDesire]
    ) -> tuple[DesiredTwin, PolicyDesire]:
        """State how a binding should decide, in its next version."""

        async def state(connection: AsyncConnection) -> tuple[DesiredTwin, PolicyDesire]:
            twin = await twins.find(connection, device)
            newest = None if twin is None else policy_of(twin.policies, binding)
            reported = await policy_records.newest_version(connection, device, binding)
            desire = make(next_version(None if newest is None else newest.policy, reported))
            return await twins.desire_policy(connection, device, desire), desire

        return await self._write(state)

    async def overdue(self, device: DeviceKey | None, before_ns: int) -> Mapping[PolicyKey, Overdue]:
        """Count what was to be answered or labelled by then and was not."""
        case = case_record.c
        unanswered = func.count().filter(case.reason == Reason.AUDIT.value, case.state == CaseState.WAITING.value)
        unlabelled = func.count().filter(case.is_for_people.is_(True), case.human_label.is_(None))
        place = (case.org_id, case.site_id, case.device_id, case.binding, case.edge_digest, case.policy_version)
        query = (
            select(*place, unanswered.label("unanswered"), unlabelled.label("unlabelled"))
            .where(case.received_at_ns < before_ns)
            .group_by(*place)
        )
        if device is not None:
            query = query.where(belongs_to(case_record, device))
        return {
            PolicyKey(
                DeviceKey(row.org_id, row.site_id, row.device_id), row.binding, row.edge_digest, row.policy_version
            ): Overdue(row.unanswered, row.unlabelled)
            for row in await self._read(query)
            if row.unanswered or row.unlabelled
        }

    async def field_rows(
        self, device: DeviceKey, binding: str, pack_digest: str, since_ns: int
    ) -> tuple[FieldRow, ...]:
        """Read what came of one pack in one binding since then, oldest first, the newest at most."""
        case = case_record.c
        query = (
            select(case_record)
            .where(
                belongs_to(case_record, device),
                case.binding == binding,
                case.edge_digest == pack_digest,
                case.received_at_ns >= since_ns,
            )
            .order_by(case.case_id.desc())
            .limit(MAX_ROWS)
        )
        rows = await self._read(query)
        said = [in_edge_words(row.edge_label, row.hub_label, row.human_label, agrees=row.agrees) for row in rows]
        return tuple(
            FieldRow(
                prediction_id=row.prediction_id,
                at_ns=row.window_end_ns,
                propensity=row.propensity,
                confidence=row.edge_confidence,
                edge=row.edge_label,
                hub=hub,
                human=human,
                is_for_people=row.is_for_people,
            )
            for row, (hub, human) in zip(reversed(rows), reversed(said), strict=True)
        )
