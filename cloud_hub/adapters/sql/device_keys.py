"""Owns how a device's key stands in a table: its columns, conditions on them, reading it, and rows of many devices."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from sqlalchemy import BindParameter, ColumnElement, Row, Select, Table, and_, bindparam, insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql.schema import DEVICE_COLUMNS
from cloud_hub.core.devices import DeviceKey

AnyRow: TypeAlias = Row[*tuple[Any, ...]]
AnySelect: TypeAlias = Select[*tuple[Any, ...]]


class FromDevice(Protocol):
    """What a device sent."""

    @property
    def device(self) -> DeviceKey:
        """Whose it is."""


FromDeviceT = TypeVar("FromDeviceT", bound=FromDevice)


def columns(key: DeviceKey) -> dict[str, str]:
    """The values of the key's columns."""
    return {"org_id": key.org_id, "site_id": key.site_id, "device_id": key.device_id}


def belongs_to(table: Table, key: DeviceKey) -> ColumnElement[bool]:
    """The condition that a row of the table is this device's."""
    return and_(*(table.c[name] == value for name, value in columns(key).items()))


def placed(table: Table, *names: str) -> ColumnElement[bool]:
    """The condition that these columns of a row are what `place` says: for statements that are made once.

    Building a statement costs more than running it, where SQLite is a call away.
    """
    return and_(*(table.c[name] == bindparam(f"at_{name}") for name in names))


def place(values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of `placed`, by the columns' names."""
    return {f"at_{name}": value for name, value in values.items()}


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


def each_once(arrivals: Sequence[FromDeviceT]) -> Sequence[FromDeviceT]:
    """The arrivals up to the first whose device is among those before it."""
    seen: set[DeviceKey] = set()
    for place, one in enumerate(arrivals):
        if one.device in seen:
            return arrivals[:place]
        seen.add(one.device)
    return arrivals


async def write_rows(
    connection: AsyncConnection,
    table: Table,
    values: Mapping[DeviceKey, Mapping[str, Any]],
    known: Collection[DeviceKey],
) -> None:
    """Write one row a device, in two statements however many there are.

    Args:
        connection: Inside a transaction.
        table: Has the key's columns.
        values: The other columns, the same ones for each device.
        known: Devices that have a row already.
    """
    new = [{**columns(key), **row} for key, row in values.items() if key not in known]
    changed = [
        {**{f"at_{name}": value for name, value in columns(key).items()}, **row}
        for key, row in values.items()
        if key in known
    ]
    if new:
        await connection.execute(insert(table), new)
    if changed:
        place = [table.c[name] == bindparam(f"at_{name}") for name in DEVICE_COLUMNS]
        names = next(iter(values.values()))
        fields: dict[str, BindParameter[Any]] = {name: bindparam(name) for name in names}
        await connection.execute(update(table).where(*place).values(fields), changed)
