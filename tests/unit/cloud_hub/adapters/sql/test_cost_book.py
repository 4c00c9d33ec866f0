"""What requests cost adds up by day, caller and pack, within bounds of days and rows."""

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

from cloud_hub.adapters.sql import database
from cloud_hub.adapters.sql.cost_book import CostBounds
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.core.serving.costs import OTHERS, Cost, CostKey
from tests.simulators.loops import in_loop

PRESS, OVEN = CostKey("plant", "press", "a@1.0.0"), CostKey("plant", "oven", "a@1.0.0")


@contextlib.asynccontextmanager
async def opened(folder: Path, bounds: CostBounds) -> AsyncIterator[SqlStore]:
    """A store of its own."""
    engine = database.make_engine(f"sqlite+aiosqlite:///{folder / 'hub.db'}")
    store = SqlStore(engine, time.time_ns, cost_bounds=bounds)
    try:
        await store.upgrade()
        await store.open()
        yield store
    finally:
        await store.close()


@in_loop
async def test_costs_add_up_by_day_caller_and_pack(tmp_path: Path) -> None:
    """Twice the same key makes one row with the sums; the latest day comes first, in it the dearest."""
    async with opened(tmp_path, CostBounds(10, 100)) as store:
        await store.costs.add_costs(7, {PRESS: Cost(1, 2, 3.4, 4.6, 5.0, 0), OVEN: Cost(1, 1, 90.0, 1.0, 1.0, 1)})
        await store.costs.add_costs(7, {PRESS: Cost(1, 1, 1.0, 1.0, 1.0, 1)})
        await store.costs.add_costs(8, {PRESS: Cost(1, 1, 1.0, 1.0, 1.0, 0)})
        rows = await store.costs.costs(0)
        assert [(row.day, row.key) for row in rows] == [(8, PRESS), (7, OVEN), (7, PRESS)]
        assert rows[2].cost == Cost(2, 3, 4, 6, 6, 1)
        assert [row.day for row in await store.costs.costs(8)] == [8]


@in_loop
async def test_the_oldest_days_go_first(tmp_path: Path) -> None:
    """Beyond as many days, or as many rows, as are kept; a clock that jumped ahead deletes no more than one day."""
    async with opened(tmp_path, CostBounds(days=3, rows=4)) as store:
        for day in (1, 2, 3, 4, 90_000):
            await store.costs.add_costs(day, {PRESS: Cost(requests=1)})
        assert [row.day for row in await store.costs.costs(0)] == [90_000, 4, 3]
        await store.costs.add_costs(90_000, {OVEN: Cost(requests=1), PRESS: Cost(requests=1)})
        assert [row.day for row in await store.costs.costs(0)] == [90_000, 90_000, 4]


@in_loop
async def test_a_day_that_fills_the_table_sums_up_its_newest_callers(tmp_path: Path) -> None:
    """There are never many more rows than the bound, and nothing is lost from the sums."""
    async with opened(tmp_path, CostBounds(days=3, rows=2)) as store:
        for index in range(5):
            await store.costs.add_costs(1, {CostKey("plant", f"caller{index}", "a@1.0.0"): Cost(requests=1)})
        rows = {row.key.caller: row.cost.requests for row in await store.costs.costs(0)}
        assert rows == {"caller0": 1, "caller1": 1, OTHERS: 3}
