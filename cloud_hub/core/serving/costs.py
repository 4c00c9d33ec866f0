"""Owns what answering cost, by who asked and which pack answered, until it is written down: a bounded book.

Compute time of a shared run is divided among its requests by their windows, so that all shares make the run.
"""

import threading
from dataclasses import dataclass
from typing import Final, NamedTuple

OTHERS: Final = "(others)"
"""Stands for the callers of a tenant for whom the book has no row left."""


class CostKey(NamedTuple):
    """Whose cost it is: who asked, who pays, and name@version of the pack that answered."""

    tenant: str
    caller: str
    pack: str


@dataclass(slots=True)
class Cost:
    """What was done.

    Attributes:
        requests: Requests answered or failed.
        windows: Windows in them.
        compute_ns: Their shares of the runs, nanoseconds.
        input_bytes: Their shares of what went into the runs.
        output_bytes: Their shares of what came out of them.
        cached: Requests answered out of the cache.
    """

    requests: int = 0
    windows: int = 0
    compute_ns: float = 0.0
    input_bytes: float = 0.0
    output_bytes: float = 0.0
    cached: int = 0


class CostBook:
    """Costs since the last time that they were written down; any thread may add.

    Args:
        max_rows: Most rows; callers beyond are summed up as `OTHERS` of their tenant.
    """

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._rows: dict[CostKey, Cost] = {}
        self._lock = threading.Lock()

    def add(self, key: CostKey, cost: Cost) -> None:
        """Add what was done.

        Args:
            key: Whose cost it is.
            cost: What was done.
        """
        with self._lock:
            self._add(key, cost)

    def drain(self) -> dict[CostKey, Cost]:
        """Take everything out, to write it down.

        Returns:
            What was done since the last time.
        """
        with self._lock:
            rows, self._rows = self._rows, {}
        return rows

    def put_back(self, rows: dict[CostKey, Cost]) -> None:
        """Take back what could not be written down, so that it is written with the next.

        Args:
            rows: What `drain` gave.
        """
        with self._lock:
            for key, cost in rows.items():
                self._add(key, cost)

    def _add(self, key: CostKey, cost: Cost) -> None:
        row = self._rows.get(key)
        if row is None:
            is_full = len(self._rows) >= self._max_rows
            row = self._rows.setdefault(key._replace(caller=OTHERS) if is_full else key, Cost())
        row.requests += cost.requests
        row.windows += cost.windows
        row.compute_ns += cost.compute_ns
        row.input_bytes += cost.input_bytes
        row.output_bytes += cost.output_bytes
        row.cached += cost.cached
