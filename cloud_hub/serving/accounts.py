"""Owns writing down what answering cost: the book's rows into the metrics by pack, and into a table by who asked.

What could not be written stays in the book and is written with the next. The rows are `core.serving.costs`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from cloud_hub.core.serving.costs import Cost, CostKey
from cloud_hub.errors import StorageError
from cloud_hub.metrics import HubMetrics
from cloud_hub.serving.cost_book import CostBook

NS_PER_DAY: Final = 86_400 * 1_000_000_000
_NS_PER_S: Final = 1e9


@dataclass(frozen=True, slots=True)
class CostRow:
    """What one caller's requests to one pack cost on one day.

    Attributes:
        day: Days since 1970-01-01, UTC.
        key: Whose cost it is.
        cost: What was done.
    """

    day: int
    key: CostKey
    cost: Cost


class CostStore(Protocol):
    """Where costs are written down."""

    async def add_costs(self, day: int, costs: Mapping[CostKey, Cost]) -> None:
        """Add to a day's rows, in one transaction, and drop what is beyond the bounds; raises StorageError."""

    async def costs(self, since_day: int) -> tuple[CostRow, ...]:
        """Read rows, the latest day first; raises StorageError."""


class Accounts:
    """Writes the book down.

    Args:
        book: What was done.
        store: Where it is written.
        metrics: Where it is counted.
        wall_ns: Wall clock.
    """

    def __init__(self, book: CostBook, store: CostStore, metrics: HubMetrics, wall_ns: Callable[[], int]) -> None:
        self._book = book
        self._store = store
        self._metrics = metrics
        self._wall_ns = wall_ns

    async def write(self) -> None:
        """Write what was done since the last time.

        Raises:
            StorageError: It could not be written, and stays in the book.
        """
        rows = self._book.drain()
        if not rows:
            return
        try:
            await self._store.add_costs(self._wall_ns() // NS_PER_DAY, rows)
        except StorageError:
            self._book.put_back(rows)
            raise
        for key, cost in rows.items():
            self._count(key.pack, cost)

    def _count(self, pack: str, cost: Cost) -> None:
        metrics = self._metrics
        metrics.pack_requests.labels(pack).inc(cost.requests)
        metrics.pack_windows.labels(pack).inc(cost.windows)
        metrics.pack_compute_s.labels(pack).inc(cost.compute_ns / _NS_PER_S)
        metrics.pack_bytes.labels(pack, "in").inc(cost.input_bytes)
        metrics.pack_bytes.labels(pack, "out").inc(cost.output_bytes)
