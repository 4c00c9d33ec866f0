"""Owns hopping windows over a vector stream: which samples make which window, and what became of every sample.

Window `k` of a partition covers `[k * hop, k * hop + size)` after the Unix epoch. A sample belongs to the nearest slot
of the sampling grid (`grid.py`). A full window closes at once; an incomplete one when the watermark (latest sample
minus lateness) passes its end, or after a silence. A window without any sample never existed.
Time does not go back: after a sample from the future, what comes before its windows is late. How far ahead a record may
be is the decoder's bound, which needs a synchronised clock. Where there is none, a record that leaps further ahead than
the time that went by explains is held until a second one agrees with it: one glitch makes nothing late.

Every decoded sample is counted once, in the end: used | late | out_of_range | unused{reason}; until then it is pending
in its journal row. Values and journal rows are kept while an open window may need them; with the partitions' states
they rebuild the windows after a crash (`restore`, then `replay` row by row), and nothing is counted again.
"""

from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.accounting import Count
from edge_agent.core.window_changes import Changes, PartitionState, Tally, Unused, closing
from edge_agent.core.window_geometry import Geometry, HoppingSpec
from edge_agent.core.window_partition import Partition


class HoppingWindows:
    """The windows of one binding, all partitions.

    Args:
        spec: As declared; size and hop must be whole numbers of slots.
        channels: Width of a sample.

    Raises:
        ValueError: The spec cannot be laid on a grid.
    """

    def __init__(self, spec: HoppingSpec, channels: int) -> None:
        self._geometry = Geometry.of(spec, channels)
        self._idle_s = spec.idle_s
        self._max_partitions = spec.max_partitions
        self._partitions: OrderedDict[str, Partition] = OrderedDict()  # the longest silent first

    def feed(
        self,
        partition: str,
        row: int,
        times_ns: NDArray[np.int64],
        values: NDArray[np.float32],
        now_s: float,
        *,
        out_of_range: int = 0,
        is_vouched: bool = True,
        first_ns: int | None = None,
    ) -> Changes:
        """Take the samples of one record.

        Args:
            partition: Where they belong.
            row: Journal row of the record; rises from call to call.
            times_ns: int64 [n], Unix epoch, UTC, in any order; of two in one slot the first counts.
            values: float32 [n, channels]; NaN is a missing value; not changed.
            now_s: Monotonic receive clock.
            out_of_range: Samples of the record that the decoder took out.
            is_vouched: Whether a synchronised clock said that its time is not ahead; if not, a leap is doubted.
            first_ns: The first of `times_ns`, if the others follow it in steps of the grid.

        Returns:
            What changed; the row is in `pending` or in `released`.
        """
        found = self._partitions.get(partition)
        if found is not None and first_ns is not None and not out_of_range:
            window = found.whole(row, first_ns, values, now_s, is_vouched=is_vouched)
            if window is not None:
                self._partitions.move_to_end(partition)
                found.active_s = now_s
                return closing(window, row, found.state())
        slots = self._geometry.grid.slots(times_ns)
        is_doubted = found is not None and not is_vouched and len(slots) > 0 and found.leaps(slots, now_s)
        is_plain = len(slots) > 0 and not (is_doubted or out_of_range)
        if found is not None and is_plain and found.append(row, slots, values, now_s):
            self._partitions.move_to_end(partition)
            found.active_s = now_s
            return Changes(counts={Count.SAMPLES_DECODED: len(slots)}, pending={row: len(slots)})
        tally = Tally()
        tally.counts[Count.SAMPLES_DECODED] += len(slots) + out_of_range
        tally.counts[Count.SAMPLES_OUT_OF_RANGE] += out_of_range
        if len(slots) == 0:
            tally.released.append(row)
            return tally.changes()
        if found is None:
            self._make_room(tally)
            closed_through = int(slots.min()) - self._geometry.lateness
            found = self._partitions[partition] = Partition(partition, self._geometry, closed_through)
        self._partitions.move_to_end(partition)
        found.active_s = now_s
        (found.doubt if is_doubted else found.feed)(row, slots, values, now_s, tally)
        tally.states[partition] = found.state()
        return tally.changes()

    def tick(self, now_s: float) -> Changes:
        """Close the windows of partitions that have been silent for `idle_s`.

        Args:
            now_s: Monotonic receive clock.

        Returns:
            What changed; mostly nothing.
        """
        tally = Tally()
        for name, partition in self._partitions.items():
            if now_s - partition.active_s < self._idle_s:
                break
            if not partition.is_empty():
                partition.close_all(Unused.IDLE, tally)
                tally.states[name] = partition.state()
        return tally.changes()

    def restore(self, states: Mapping[str, PartitionState], now_s: float) -> frozenset[str]:
        """Start where the last commit was; then `replay` the kept rows.

        Args:
            states: As committed.
            now_s: Monotonic receive clock; silence is counted from here.

        Returns:
            Partitions that were left out, because rate, size, hop, channels or captures have changed since;
            they are `abandoned`.
        """
        foreign = frozenset(name for name, state in states.items() if state.shape != self._geometry.shape)
        for name in states.keys() - foreign:
            self._partitions[name] = Partition.restored(name, self._geometry, states[name])
            self._partitions[name].active_s = self._partitions[name].told_s = now_s
        return foreign

    def replay(self, partition: str, row: int, times_ns: NDArray[np.int64], values: NDArray[np.float32]) -> int:
        """Put a kept journal row back; nothing closes and nothing is counted.

        Args:
            partition: A restored one.
            row: Rises from call to call.
            times_ns: As it was fed.
            values: As it was fed.

        Returns:
            How many of its samples are pending.
        """
        return self._partitions[partition].replay(row, self._geometry.grid.slots(times_ns), values)

    def _make_room(self, tally: Tally) -> None:
        while len(self._partitions) >= self._max_partitions:
            name, evicted = self._partitions.popitem(last=False)
            evicted.close_all(Unused.PARTITION_EVICTED, tally)
            tally.states[name] = None


def abandoned(partition: str, pending: Mapping[int, int]) -> Changes:
    """Give up what windows of another shape left behind: they can never close.

    Args:
        partition: One that `HoppingWindows.restore` left out, or that nothing makes windows of any more.
        pending: Undecided samples by kept journal row.

    Returns:
        Changes that count the samples as evicted with their partition, release the rows and forget the state.
    """
    tally = Tally()
    tally.unused(Unused.PARTITION_EVICTED, sum(pending.values()))
    tally.released += sorted(pending)
    tally.states[partition] = None
    return tally.changes()
