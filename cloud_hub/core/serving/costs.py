"""Owns what answering cost, as values: by who asked and which pack answered.

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
