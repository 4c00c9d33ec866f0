"""Owns the statements of heartbeats that came together: the latest reports, their trends, what they tell, the twins.

What is news is `core.twin`. A batch costs the same few statements however many devices are in it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import FromClause, and_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql import events, monitoring, trends, twins
from cloud_hub.adapters.sql.device_keys import AnyRow, AnySelect, by_site, each_once, key_columns, key_of, write_rows
from cloud_hub.adapters.sql.schema import DEVICE_COLUMNS, desired_twin, device, heartbeat
from cloud_hub.adapters.sql.stored_json import heartbeat_text, read_heartbeat
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import Happening
from cloud_hub.core.monitoring.response import Rules
from cloud_hub.core.trends import bucket_of, totals
from cloud_hub.core.twin import DesiredTwin, slot_news
from protos.messages.fleet import Heartbeat


@dataclass(frozen=True, slots=True)
class Arrival:
    """One heartbeat on its way into the tables."""

    device: DeviceKey
    report: Heartbeat
    at_ns: int


@dataclass(frozen=True, slots=True)
class Saved:
    """What a stored heartbeat comes to: what the device should run, and whether its batch wrote events."""

    twin: DesiredTwin | None
    has_news: bool


async def save(
    connection: AsyncConnection, arrivals: Sequence[Arrival], *, bucket_ns: int, rules: Rules
) -> list[Saved]:
    """Replace the devices' latest heartbeats; of two of one device, the second comes after the first."""
    saved: list[Saved] = []
    rest = arrivals
    while rest:
        first = each_once(rest)
        saved += await _save(connection, first, bucket_ns, rules)
        rest = rest[len(first) :]
    return saved


async def _save(connection: AsyncConnection, arrivals: Sequence[Arrival], bucket_ns: int, rules: Rules) -> list[Saved]:
    reports = [monitoring.Reported(one.device, one.report, one.at_ns) for one in arrivals]
    has_alarm = await monitoring.heard(connection, reports, rules)  # first: it may change the twins that are told below
    before = await _before(connection, [one.device for one in arrivals])
    found: list[DesiredTwin | None] = []
    happenings: list[Happening] = []
    for one in arrivals:
        row = before.get(one.device)
        known = None if row is None or row.report is None else read_heartbeat(row.report).slots
        happenings += slot_news(one.device, known, one.report.slots, one.at_ns)
        twin = None if row is None else twins.read_twin(one.device, row)
        if twin is not None:
            twin, lifting = await twins.lift(connection, twin, one.report.desired_version, one.at_ns)
            happenings += lifting
        found.append(twin)
    values = {one.device: {"received_at_ns": one.at_ns, "report": heartbeat_text(one.report)} for one in arrivals}
    await write_rows(connection, heartbeat, values, {key for key, row in before.items() if row.report is not None})
    await trends.save(
        connection,
        [row for one in arrivals for row in totals(one.device, one.report, bucket_of(one.at_ns, bucket_ns))],
    )
    has_news = await events.add(connection, happenings) > 0 or has_alarm
    return [Saved(twin, has_news) for twin in found]


async def _before(connection: AsyncConnection, keys: Iterable[DeviceKey]) -> Mapping[DeviceKey, AnyRow]:
    """The heartbeat before and the twin, of every registered device."""
    rows: dict[DeviceKey, AnyRow] = {}
    for condition in by_site(device, keys):
        rows |= {key_of(row): row for row in await connection.execute(_select_before().where(condition))}
    return rows


def _select_before() -> AnySelect:
    joined: FromClause = device
    for other in (heartbeat, desired_twin):
        joined = joined.outerjoin(other, and_(*(device.c[name] == other.c[name] for name in DEVICE_COLUMNS)))
    return select(*key_columns(device), heartbeat.c.report, *twins.COLUMNS).select_from(joined)
