"""Owns how long runs of one model take, learnt from the runs themselves, and what follows for who waits.

An exponentially weighted mean for each size class of batches (powers of two), so that a model whose time grows with the
batch and one whose time does not are both told right.
"""

from typing import Final

_WEIGHT: Final = 0.125
"""Of the newest run; as TCP smooths round-trip times (RFC 6298, section 2)."""

_NS_PER_S: Final = 1e9


class RunTimes:
    """One model's runs; any thread may note and ask."""

    def __init__(self) -> None:
        self._mean_ns: dict[int, float] = {}

    def note(self, rows: int, took_ns: int) -> None:
        """Learn from one run.

        Args:
            rows: Windows in it.
            took_ns: How long it took.
        """
        size = rows.bit_length()
        before = self._mean_ns.get(size)
        mean_ns = took_ns if before is None else before + _WEIGHT * (took_ns - before)
        self._mean_ns = {**self._mean_ns, size: mean_ns}  # who reads the other meanwhile reads it whole

    def run_s(self, rows: int) -> float:
        """Expect the time of a run.

        Args:
            rows: Windows in it.

        Returns:
            Seconds: what the nearest known size took, in proportion where that was smaller; 0 while nothing is known.
        """
        means_ns = self._mean_ns
        if not means_ns:
            return 0.0
        size = rows.bit_length()
        nearest = min(means_ns, key=lambda known: (abs(known - size), known))
        return means_ns[nearest] * 2.0 ** max(0, size - nearest) / _NS_PER_S

    def wait_s(self, rows_before: int, batch: int, instances: int, *, is_busy: bool) -> float:
        """Expect how long a new request waits for its run.

        Args:
            rows_before: Windows that run before it.
            batch: Most windows in one run.
            instances: Runs at the same time.
            is_busy: All instances run something now.

        Returns:
            Seconds.
        """
        full, rest = divmod(rows_before, batch)
        work_s = full * self.run_s(batch) + (self.run_s(rest) if rest else 0.0)
        now_s = self.run_s(batch) / 2 if is_busy else 0.0  # a run that began at any time has half of it to go
        return (work_s + now_s) / instances
