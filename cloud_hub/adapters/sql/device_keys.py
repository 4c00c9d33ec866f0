"""Owns how a device's key stands in a table: its columns, the condition on them, and reading it back from a row."""

from collections.abc import Iterable
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Row, Select, Table, and_

from cloud_hub.adapters.sql.schema import DEVICE_COLUMNS
from cloud_hub.core.devices import DeviceKey

AnyRow: TypeAlias = Row[*tuple[Any, ...]]
AnySelect: TypeAlias = Select[*tuple[Any, ...]]


def columns(key: DeviceKey) -> dict[str, str]:
    """The values of the key's columns."""
    return {"org_id": key.org_id, "site_id": key.site_id, "device_id": key.device_id}


def belongs_to(table: Table, key: DeviceKey) -> ColumnElement[bool]:
    """The condition that a row of the table is this device's."""
    return and_(*(table.c[name] == value for name, value in columns(key).items()))


def key_columns(table: Table) -> tuple[ColumnElement[str], ...]:
    """The key's columns of a table, to select or to group by."""
    return tuple(table.c[name] for name in DEVICE_COLUMNS)


def by_site(table: Table, keys: Iterable[DeviceKey]) -> tuple[ColumnElement[bool], ...]:
    """Conditions that together find these devices' rows, one a site: only so is each device looked up by its index."""
    sites: dict[tuple[str, str], set[str]] = {}
    for key in keys:
        sites.setdefault((key.org_id, key.site_id), set()).add(key.device_id)
    return tuple(
        and_(table.c.org_id == org_id, table.c.site_id == site_id, table.c.device_id.in_(device_ids))
        for (org_id, site_id), device_ids in sites.items()
    )


def key_of(row: AnyRow) -> DeviceKey:
    """The device that a row with the key's columns is about."""
    return DeviceKey(row.org_id, row.site_id, row.device_id)
