"""Owns the statements of one heartbeat: the latest report, its trend, what it tells anew, and the twin it answers to.

What is news is `core.twin`; all of it is one transaction, which heartbeats of other devices share.
"""

from dataclasses import dataclass

from sqlalchemy import FromClause, and_, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql import events, trends, twins
from cloud_hub.adapters.sql.device_keys import AnySelect, belongs_to, columns
from cloud_hub.adapters.sql.schema import DEVICE_COLUMNS, desired_twin, device, heartbeat
from cloud_hub.adapters.sql.stored_json import heartbeat_text, read_heartbeat
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import Happening
from cloud_hub.core.trends import bucket_of, totals
from cloud_hub.core.twin import DesiredTwin, slot_news
from protos.messages.fleet import Heartbeat


@dataclass(frozen=True, slots=True)
class Saved:
    """What a stored heartbeat comes to: what the device should run, and whether events were written."""

    twin: DesiredTwin | None
    has_news: bool


async def save(connection: AsyncConnection, key: DeviceKey, report: Heartbeat, now_ns: int, bucket_ns: int) -> Saved:
    """Replace a device's latest heartbeat."""
    row = (await connection.execute(_select_before(key))).first()
    before = None if row is None or row.report is None else read_heartbeat(row.report).slots
    happenings: list[Happening] = list(slot_news(key, before, report.slots, now_ns))
    twin = None if row is None else twins.read_twin(key, row)
    if twin is not None:
        twin, lifting = await twins.lift(connection, twin, report.desired_version, now_ns)
        happenings += lifting
    values = {"received_at_ns": now_ns, "report": heartbeat_text(report)}
    if before is None:
        await connection.execute(insert(heartbeat).values(**columns(key), **values))
    else:
        await connection.execute(update(heartbeat).where(belongs_to(heartbeat, key)).values(**values))
    await trends.save(connection, key, totals(key, report, bucket_of(now_ns, bucket_ns)))
    return Saved(twin, has_news=await events.add(connection, happenings) > 0)


def _select_before(key: DeviceKey) -> AnySelect:
    """The heartbeat before, and the twin: one row for every registered device."""
    joined: FromClause = device
    for other in (heartbeat, desired_twin):
        joined = joined.outerjoin(other, and_(*(device.c[name] == other.c[name] for name in DEVICE_COLUMNS)))
    return select(heartbeat.c.report, *twins.COLUMNS).select_from(joined).where(belongs_to(device, key))
