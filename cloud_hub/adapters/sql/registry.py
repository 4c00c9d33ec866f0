"""Owns the one query over all that the tables know about each device; what it means is `core.registry`."""

from sqlalchemy import ColumnElement, FromClause, Table, and_, func, select

from cloud_hub.adapters.sql import twins
from cloud_hub.adapters.sql.device_keys import AnyRow, AnySelect, belongs_to, key_columns, key_of
from cloud_hub.adapters.sql.items import WAITING
from cloud_hub.adapters.sql.schema import (
    DEVICE_COLUMNS,
    certificate,
    desired_twin,
    device,
    device_session,
    heartbeat,
    item,
)
from cloud_hub.adapters.sql.stored_json import read_heartbeat
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.registry import DeviceFacts


def select_registry(only: DeviceKey | None = None) -> AnySelect:
    """One row a device, ordered by key; of one device only, if it is given."""
    counts = (
        select(
            *key_columns(item),
            func.count().label("n_items"),
            func.count().filter(item.c.state == WAITING).label("n_waiting"),
        )
        .where(*_of(item, only))
        .group_by(*key_columns(item))
        .subquery()
    )
    newest = (
        select(*key_columns(certificate), func.max(certificate.c.not_after_ns).label("not_after_ns"))
        .where(*_of(certificate, only))
        .group_by(*key_columns(certificate))
        .subquery()
    )
    joined: FromClause = device
    for other in (device_session, heartbeat, desired_twin, counts, newest):
        on = and_(*(device.c[name] == other.c[name] for name in DEVICE_COLUMNS))
        joined = joined.outerjoin(other, on)
    return (
        select(
            *key_columns(device),
            device.c.is_removed,
            device.c.enrolled_at_ns,
            device.c.agent_version,
            device_session.c.session_epoch,
            device_session.c.store_id,
            device_session.c.verdict_seq,
            device_session.c.verdict_acked,
            heartbeat.c.received_at_ns,
            heartbeat.c.report,
            counts.c.n_items,
            counts.c.n_waiting,
            newest.c.not_after_ns,
            *twins.COLUMNS,
        )
        .select_from(joined)
        .where(*_of(device, only))
        .order_by(*key_columns(device))
    )


def device_facts(row: AnyRow) -> DeviceFacts:
    """What a row of `select_registry` says."""
    key = key_of(row)
    return DeviceFacts(
        key=key,
        is_removed=row.is_removed,
        enrolled_at_ns=row.enrolled_at_ns,
        certificate_not_after_ns=row.not_after_ns,
        session_epoch=row.session_epoch or 0,
        agent_version=row.agent_version,
        store_id=row.store_id or "",
        last_heartbeat_at_ns=row.received_at_ns,
        heartbeat=None if row.report is None else read_heartbeat(row.report),
        items=row.n_items or 0,
        waiting=row.n_waiting or 0,
        verdicts=row.verdict_seq or 0,
        verdicts_acked=row.verdict_acked or 0,
        desired=twins.read_twin(key, row),
    )


def _of(table: Table, only: DeviceKey | None) -> tuple[ColumnElement[bool], ...]:
    return () if only is None else (belongs_to(table, only),)
