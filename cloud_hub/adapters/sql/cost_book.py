"""Owns the table of what requests to full models cost, by day, caller and pack, and its bounds.

Bounds are of rows and of days that have any, never of ages: a wall clock that jumps deletes nothing that it should not.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql.device_keys import AnyRow, AnySelect
from cloud_hub.adapters.sql.policy_book import Write
from cloud_hub.adapters.sql.schema import request_cost
from cloud_hub.core.serving.costs import OTHERS, Cost, CostKey
from cloud_hub.serving.accounts import CostRow

_FIELDS = tuple(field.name for field in fields(Cost))


@dataclass(frozen=True, slots=True)
class CostBounds:
    """How much is kept.

    Attributes:
        days: Of those that have rows.
        rows: In all.
    """

    days: int
    rows: int


DEFAULT_BOUNDS = CostBounds(days=90, rows=100_000)


class SqlCostBook:
    """What requests cost, in the hub's database; fills `cloud_hub.serving.accounts.CostStore`.

    Args:
        write: Runs a job in a transaction.
        read: Reads all rows of a query.
        bounds: How much is kept.
    """

    def __init__(
        self,
        write: Write,
        read: Callable[[AnySelect], Awaitable[Sequence[AnyRow]]],
        bounds: CostBounds,
    ) -> None:
        self._write = write
        self._read = read
        self._bounds = bounds

    async def add_costs(self, day: int, costs: Mapping[CostKey, Cost]) -> None:
        """Add to a day's rows, and drop what is beyond the bounds."""

        async def add(connection: AsyncConnection) -> None:
            room = await self._room(connection, day, len(costs))
            for key, cost in costs.items():
                if await _added(connection, day, key, cost):
                    continue
                if room <= 0:  # one day alone fills the table: its newest callers are summed up
                    key = CostKey(key.tenant, OTHERS, key.pack)  # noqa: PLW2901 - the row that it goes to
                    if await _added(connection, day, key, cost):
                        continue
                room -= 1
                await connection.execute(insert(request_cost).values(day=day, **key._asdict(), **_values(cost)))

        await self._write(add)

    async def costs(self, since_day: int) -> tuple[CostRow, ...]:
        """Read rows, the latest day first, the dearest first in a day."""
        row = request_cost.c
        query = (
            select(request_cost)
            .where(row.day >= since_day)
            .order_by(row.day.desc(), row.compute_ns.desc(), row.tenant, row.caller, row.pack)
        )
        return tuple(
            CostRow(
                found.day,
                CostKey(found.tenant, found.caller, found.pack),
                Cost(**{name: getattr(found, name) for name in _FIELDS}),
            )
            for found in await self._read(query)
        )

    async def _room(self, connection: AsyncConnection, today: int, wanted: int) -> int:
        """Rows that may be added, once the oldest days have made room."""
        by_day = select(request_cost.c.day, func.count()).group_by(request_cost.c.day).order_by(request_cost.c.day)
        days = [(day, count) for day, count in (await connection.execute(by_day)).all()]
        rows: int = sum(count for _, count in days)
        others = self._bounds.days - 1
        while (
            days
            and days[0][0] != today
            and (sum(day != today for day, _ in days) > others or rows + wanted > self._bounds.rows)
        ):
            day, count = days.pop(0)
            rows -= count
            await connection.execute(delete(request_cost).where(request_cost.c.day == day))
        return self._bounds.rows - rows


async def _added(connection: AsyncConnection, day: int, key: CostKey, cost: Cost) -> bool:
    """Add to a row that is there."""
    row = request_cost.c
    same = (row.day == day, row.tenant == key.tenant, row.caller == key.caller, row.pack == key.pack)
    more = {name: row[name] + value for name, value in _values(cost).items()}
    return bool((await connection.execute(update(request_cost).where(*same).values(more))).rowcount)


def _values(cost: Cost) -> dict[str, int]:
    return {name: round(value) for name, value in zip(_FIELDS, astuple(cost), strict=True)}
