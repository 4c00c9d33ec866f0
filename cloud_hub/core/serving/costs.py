"""Owns what answering cost, by who asked and which pack answered, until it is written down: a bounded book.

Compute time of a shared run is divided among its requests by their windows, so that all shares make the run.
"""

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
    """Costs since the last time that they were written down.

    Args:
        max_rows: Most rows; callers beyond are summed up as `OTHERS` of their tenant.
    """

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._rows: dict[tuple[str, str, str], Cost] = {}

    def row(self, tenant: str, caller: str, pack: str) -> Cost:
        """Find the row to add to.

        Args:
            tenant: Who pays.
            caller: Who asked.
            pack: name@version.

        Returns:
            The row, valid until `drain`.
        """
        row = self._rows.get((tenant, caller, pack))  # a key's equal; this is asked for every request
        if row is None:
            is_full = len(self._rows) >= self._max_rows
            row = self._rows.setdefault(CostKey(tenant, OTHERS if is_full else caller, pack), Cost())
        return row

    def drain(self) -> dict[CostKey, Cost]:
        """Take everything out, to write it down.

        Returns:
            What was done since the last time.
        """
        rows, self._rows = self._rows, {}
        return {CostKey(*key): cost for key, cost in rows.items()}

    def put_back(self, rows: dict[CostKey, Cost]) -> None:
        """Take back what could not be written down, so that it is written with the next.

        Args:
            rows: What `drain` gave.
        """
        for key, cost in rows.items():
            row = self.row(*key)
            row.requests += cost.requests
            row.windows += cost.windows
            row.compute_ns += cost.compute_ns
            row.input_bytes += cost.input_bytes
            row.output_bytes += cost.output_bytes
            row.cached += cost.cached
