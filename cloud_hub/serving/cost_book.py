"""Owns what answering cost until it is written down: a bounded book that any thread adds to."""

import threading

from cloud_hub.core.serving.costs import OTHERS, Cost, CostKey


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
