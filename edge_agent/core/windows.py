"""Owns hopping windows over a vector stream: which samples make which window, and what became of every sample.

Window `k` of a partition covers `[k * hop, k * hop + size)` after the Unix epoch. A sample belongs to the nearest slot
of the sampling grid (`grid.py`). A full window closes at once; an incomplete one when the watermark (latest sample
minus lateness) passes its end, or after a silence. A window without any sample never existed.
Time does not go back: after a sample from the future, what comes before its windows is late. How far ahead a record may
be is the decoder's bound (`max_skew_s`), which needs a synchronised clock; here nothing tells a glitch from a long gap.

Every decoded sample is counted once, in the end: used | late | out_of_range | unused{reason}; until then it is pending
in its journal row. Values and journal rows are kept while an open window may need them; with the partitions' states
they rebuild the windows after a crash (`restore`, then `replay` row by row), and nothing is counted again.
"""

import json
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.accounting import Count, of_reason
from edge_agent.core.grid import Grid, whole_ns, whole_slots
from edge_agent.core.missing import Missing, fill_holes
from edge_agent.core.slot_buffer import SlotBuffer

_STATE_VERSION = 1


class Unused(StrEnum):
    """Why a sample was in no emitted window, and (but for `same_slot`) why a window was skipped."""

    GAP = "gap"
    MIN_FILL = "min_fill"
    IDLE = "idle"
    PARTITION_EVICTED = "partition_evicted"
    SAME_SLOT = "same_slot"


@dataclass(frozen=True, slots=True)
class HoppingSpec:
    """What a binding declares about its windows.

    Attributes:
        rate_hz: Samples a second.
        size_s: Length of a window.
        hop_s: From one window's start to the next one's; at most `size_s`.
        lateness_s: How far behind the latest sample a sample may come and still count.
        idle_s: Silence on a partition (monotonic receive clock) after which its open windows close.
        min_fill: Least share of real values in a window that may be filled up, 0..1.
        missing: How holes are filled; `reject` skips windows that have any.
        max_partitions: Partitions kept at once; the one that was silent longest gives way.
        captures: What the parts of a partition's name are.
    """

    rate_hz: float
    size_s: float
    hop_s: float
    lateness_s: float
    idle_s: float
    min_fill: float
    missing: Missing
    max_partitions: int
    captures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClosedWindow:
    """A window to infer.

    Attributes:
        start_ns: Inclusive start, Unix epoch, UTC.
        end_ns: Exclusive end.
        values: float32 [samples, channels], holes filled, owned by the receiver.
        samples: Length of `values`.
        fill: Real values / expected values.
    """

    partition: str
    start_ns: int
    end_ns: int
    values: NDArray[np.float32] = field(repr=False, compare=False)
    samples: int
    fill: float

    @property
    def identity(self) -> tuple[str | int, ...]:
        """What names the window among those of its binding."""
        return self.partition, self.start_ns, self.end_ns


@dataclass(frozen=True, slots=True)
class SkippedWindow:
    """A window that is not inferred; times and fill as in `ClosedWindow`."""

    partition: str
    start_ns: int
    end_ns: int
    fill: float
    reason: Unused


@dataclass(frozen=True, slots=True)
class PartitionState:
    """What must outlive a crash beside the kept journal rows.

    Attributes:
        shape: Of the windows that it belongs to; others cannot go on from it.
        closed_through_ns: Every window that ends by then is closed.
        emitted: (start_ns, journal row) of emitted windows whose samples may still be held; the row is the last one
            that had been fed, so samples of later rows were not in the window.
    """

    shape: str
    closed_through_ns: int
    emitted: tuple[tuple[int, int], ...]

    def to_json(self) -> str:
        """Write the state for the store."""
        return json.dumps(
            {
                "v": _STATE_VERSION,
                "shape": self.shape,
                "closed_through_ns": self.closed_through_ns,
                "emitted": self.emitted,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "PartitionState":
        """Read what `to_json` wrote.

        Raises:
            ValueError: Another program or version wrote it.
        """
        try:
            table = json.loads(text)
            version = table["v"]
            emitted = tuple((int(start_ns), int(row)) for start_ns, row in table["emitted"])
            state = cls(str(table["shape"]), int(table["closed_through_ns"]), emitted)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no state of a partition: {error}") from error
        if version != _STATE_VERSION:
            raise ValueError(f"a partition's state of version {version}; this program reads {_STATE_VERSION}")
        return state


@dataclass(frozen=True, slots=True)
class Changes:
    """What one call changed.

    Attributes:
        closed: Windows to infer, in the order of their closing.
        skipped: Windows that are not inferred.
        counts: What to add to the counters of `accounting.py`.
        pending: Undecided samples by journal row, for rows that are still needed and changed.
        released: Journal rows that no window needs any more.
        states: New state by partition; None: forget it.
    """

    closed: tuple[ClosedWindow, ...]
    skipped: tuple[SkippedWindow, ...]
    counts: Mapping[str, int]
    pending: Mapping[int, int]
    released: tuple[int, ...]
    states: Mapping[str, PartitionState | None]


class HoppingWindows:
    """The windows of one binding, all partitions.

    Args:
        spec: As declared; size and hop must be whole numbers of slots.
        channels: Width of a sample.

    Raises:
        ValueError: The spec cannot be laid on a grid.
    """

    def __init__(self, spec: HoppingSpec, channels: int) -> None:
        self._geometry = _Geometry.of(spec, channels)
        self._idle_s = spec.idle_s
        self._max_partitions = spec.max_partitions
        self._partitions: OrderedDict[str, _Partition] = OrderedDict()  # the longest silent first

    def feed(
        self,
        partition: str,
        row: int,
        times_ns: NDArray[np.int64],
        values: NDArray[np.float32],
        now_s: float,
        *,
        out_of_range: int = 0,
    ) -> Changes:
        """Take the samples of one record.

        Args:
            partition: Where they belong.
            row: Journal row of the record; rises from call to call.
            times_ns: int64 [n], Unix epoch, UTC, in any order; of two in one slot the first counts.
            values: float32 [n, channels]; NaN is a missing value; not changed.
            now_s: Monotonic receive clock.
            out_of_range: Samples of the record that the decoder took out.

        Returns:
            What changed; the row is in `pending` or in `released`.
        """
        tally = _Tally()
        tally.counts[Count.SAMPLES_DECODED] += len(times_ns) + out_of_range
        tally.counts[Count.SAMPLES_OUT_OF_RANGE] += out_of_range
        if len(times_ns) == 0:
            tally.released.append(row)
            return tally.changes()
        slots = self._geometry.grid.slots(times_ns)
        found = self._partitions.get(partition)
        if found is None:
            self._make_room(tally)
            closed_through = int(slots.min()) - self._geometry.lateness
            found = self._partitions[partition] = _Partition(partition, self._geometry, closed_through)
        self._partitions.move_to_end(partition)
        found.active_s = now_s
        found.feed(row, slots, values, tally)
        tally.states[partition] = found.state()
        return tally.changes()

    def tick(self, now_s: float) -> Changes:
        """Close the windows of partitions that have been silent for `idle_s`.

        Args:
            now_s: Monotonic receive clock.

        Returns:
            What changed; mostly nothing.
        """
        tally = _Tally()
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
            self._partitions[name] = _Partition.restored(name, self._geometry, states[name])
            self._partitions[name].active_s = now_s
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

    def _make_room(self, tally: "_Tally") -> None:
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
    tally = _Tally()
    tally.unused(Unused.PARTITION_EVICTED, sum(pending.values()))
    tally.released += sorted(pending)
    tally.states[partition] = None
    return tally.changes()


@dataclass(frozen=True, slots=True)
class _Geometry:
    """The spec in slots."""

    grid: Grid
    channels: int
    size: int
    hop: int
    size_ns: int
    hop_ns: int
    lateness: int
    min_fill: float
    missing: Missing
    captures: tuple[str, ...]

    @classmethod
    def of(cls, spec: HoppingSpec, channels: int) -> "_Geometry":
        grid = Grid(spec.rate_hz)
        size, hop = whole_slots(spec.size_s, spec.rate_hz), whole_slots(spec.hop_s, spec.rate_hz)
        if size is None or hop is None or hop > size:
            raise ValueError(
                f"a window of {spec.size_s} s every {spec.hop_s} s is no whole number of samples at {spec.rate_hz} Hz"
            )
        lateness = -grid.slot(-whole_ns(spec.lateness_s))
        return cls(
            grid=grid,
            channels=channels,
            size=size,
            hop=hop,
            size_ns=whole_ns(spec.size_s),
            hop_ns=whole_ns(spec.hop_s),
            lateness=lateness,
            min_fill=spec.min_fill,
            missing=spec.missing,
            captures=spec.captures,
        )

    @property
    def shape(self) -> str:
        """Tells kept states apart: windows of another shape cannot go on from them."""
        names = "/".join(self.captures)
        return f"{self.grid.rate_hz:g} Hz, {self.size} every {self.hop}, {self.channels} channels, by {names!r}"

    def first_open(self, closed_through: int) -> int:
        """The first window that ends after a slot."""
        return (closed_through - self.size) // self.hop + 1

    def end(self, window: int) -> int:
        return window * self.hop + self.size


class _Tally:
    """Gathers what a call changes."""

    def __init__(self) -> None:
        self.closed: list[ClosedWindow] = []
        self.skipped: list[SkippedWindow] = []
        self.counts: Counter[str] = Counter()
        self.pending: dict[int, int] = {}
        self.released: list[int] = []
        self.states: dict[str, PartitionState | None] = {}

    def row(self, row: int, need: "_Need") -> None:
        if need.held:
            self.pending[row] = need.pending
        else:
            self.pending.pop(row, None)
            self.released.append(row)

    def unused(self, reason: Unused, samples: int) -> None:
        self.counts[of_reason(Count.SAMPLES_UNUSED, reason)] += samples

    def changes(self) -> Changes:
        return Changes(
            closed=tuple(self.closed),
            skipped=tuple(self.skipped),
            counts={name: value for name, value in self.counts.items() if value},
            pending=self.pending,
            released=tuple(self.released),
            states=self.states,
        )


@dataclass(slots=True)
class _Need:
    """Samples of one row: those without a fate yet, and those that an open window may need."""

    pending: int = 0
    held: int = 0


class _Partition:
    """One partition: its buffer, which of its windows are closed, and the needs of its journal rows."""

    def __init__(self, name: str, geometry: _Geometry, closed_through: int) -> None:
        self._name = name
        self._geometry = geometry
        self._buffer = SlotBuffer(geometry.channels)
        self._needs: dict[int, _Need] = {}
        self._last_row = 0
        self._closed_through = closed_through
        self._emitted: dict[int, int] = {}  # window -> last row fed
        self._buffer.base = self._first_open() * geometry.hop
        self.active_s = 0.0

    @classmethod
    def restored(cls, name: str, geometry: _Geometry, state: PartitionState) -> "_Partition":
        partition = cls(name, geometry, geometry.grid.slot(state.closed_through_ns))
        partition._emitted = {start_ns // geometry.hop_ns: row for start_ns, row in state.emitted}
        return partition

    def is_empty(self) -> bool:
        return self._buffer.is_empty()

    def state(self) -> PartitionState:
        emitted = tuple((window * self._geometry.hop_ns, row) for window, row in self._emitted.items())
        return PartitionState(self._geometry.shape, self._geometry.grid.time_ns(self._closed_through), emitted)

    def feed(self, row: int, slots: NDArray[np.int64], values: NDArray[np.float32], tally: _Tally) -> None:
        self._last_row = row
        self._needs[row] = _Need()
        order = np.argsort(slots, kind="stable")
        slots, values = slots[order], values[order]
        # Runs of neighbouring slots are taken one after the other, so that the buffer never spans a leap in time.
        cuts = np.flatnonzero(np.diff(slots) > 1) + 1
        for first, last in zip([0, *cuts], [*cuts, len(slots)], strict=True):
            self._feed_run(row, slots[first:last], values[first:last], tally)
        self._settle({row}, tally)

    def replay(self, row: int, slots: NDArray[np.int64], values: NDArray[np.float32]) -> int:
        self._last_row = row
        taken, _, _ = self._sift(slots)
        at = self._buffer.put(slots[taken], values[taken], row)
        for window, last_row in self._emitted.items():
            if row <= last_row:
                start = window * self._geometry.hop - self._buffer.base
                self._buffer.is_used[at[(start <= at) & (at < start + self._geometry.size)]] = True
        need = self._needs[row] = _Need(int((~self._buffer.is_used[at]).sum()), len(at))
        return need.pending

    def close_all(self, cause: Unused, tally: _Tally) -> None:
        """Close every window that has a sample; emit those that may be, if the cause is a silence."""
        geometry, touched = self._geometry, set[int]()
        if not self._buffer.is_empty():
            last = (self._buffer.end() - 1) // geometry.hop
            self._advance(geometry.end(last), cause, touched, tally)
        self._settle(touched, tally)

    def _feed_run(self, row: int, slots: NDArray[np.int64], values: NDArray[np.float32], tally: _Tally) -> None:
        first, last = int(slots[0]), int(slots[-1])
        touched: set[int] = set()
        watermark = max(last - self._geometry.lateness, self._closed_through)
        # Windows before the run cannot gain from it: close them first, and the buffer need not span the time between.
        self._advance(min(watermark, first), None, touched, tally)
        taken, late, same_slot = self._sift(slots)
        tally.counts[Count.SAMPLES_LATE] += late
        tally.unused(Unused.SAME_SLOT, same_slot)
        if len(taken):
            self._buffer.put(slots[taken], values[taken], row)
            need = self._needs[row]
            need.pending += len(taken)
            need.held += len(taken)
        self._advance(watermark, None, touched, tally, is_fuller=True)
        self._settle(touched - {row}, tally)

    def _sift(self, slots: NDArray[np.int64]) -> tuple[NDArray[np.intp], int, int]:
        """Which samples to take; how many are too late; how many find their slot taken."""
        is_open = self._is_open(slots)
        _, first_of_slot = np.unique(slots, return_index=True)
        is_new = np.zeros(len(slots), np.bool_)
        is_new[first_of_slot] = True
        opened = np.flatnonzero(is_open)
        if len(opened):
            self._buffer.reach(int(slots[opened].max()))
            is_new[opened] &= ~self._buffer.is_present[slots[opened] - self._buffer.base]
        taken = np.flatnonzero(is_open & is_new)
        return taken, len(slots) - len(opened), len(opened) - len(taken)

    def _is_open(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether some open window covers each slot."""
        geometry, first_open = self._geometry, self._first_open()
        last = slots // geometry.hop
        is_open: NDArray[np.bool_] = last >= first_open
        # Windows that were full closed before the watermark passed them; the other ones are counted up to each window.
        early = [window - first_open for window in self._emitted if window >= first_open]
        if early and is_open.any():
            opened = np.ones(max(*early, int(last.max()) - first_open) + 1, np.int64)
            opened[early] = 0
            up_to = np.concatenate(([0], np.cumsum(opened)))
            first = np.maximum((slots - geometry.size) // geometry.hop + 1, first_open)
            covering = up_to[np.maximum(last, first_open) - first_open + 1] - up_to[np.maximum(first - first_open, 0)]
            is_open &= covering > 0
        return is_open

    def _first_open(self) -> int:
        return self._geometry.first_open(self._closed_through)

    def _advance(
        self, closed_through: int, cause: Unused | None, touched: set[int], tally: _Tally, *, is_fuller: bool = False
    ) -> None:
        """Move the watermark, close what is due, let go of what nothing needs.

        Args:
            closed_through: The new watermark, in slots.
            cause: Why windows close that are not due.
            touched: Takes the rows whose needs change.
            tally: Takes what changes.
            is_fuller: Samples were put, so a window may be full now.
        """
        ended = len(tally.closed) + len(tally.skipped)
        is_passing = self._geometry.first_open(closed_through) > self._first_open()
        reasons = self._close(closed_through, cause, touched, tally) if is_passing or is_fuller else {}
        self._closed_through = max(self._closed_through, closed_through)
        if is_passing or len(tally.closed) + len(tally.skipped) > ended:
            self._release(reasons, touched, tally)

    def _close(self, closed_through: int, cause: Unused | None, touched: set[int], tally: _Tally) -> dict[int, Unused]:
        """Close what ends by `closed_through`, and full windows; tell why which were skipped."""
        geometry, buffer = self._geometry, self._buffer
        reasons: dict[int, Unused] = {}
        if not buffer.is_empty():
            windows = np.arange(self._first_open(), (buffer.end() - 1) // geometry.hop + 1)
            starts = windows * geometry.hop - buffer.base
            present = np.concatenate(([0], np.cumsum(buffer.is_present)))
            found = present[np.minimum(starts + geometry.size, len(present) - 1)] - present[starts]
            is_due = (found > 0) & (
                (found == geometry.size) | (windows * geometry.hop + geometry.size <= closed_through)
            )
            for window in windows[is_due].tolist():
                if window not in self._emitted:
                    is_past = geometry.end(window) <= closed_through
                    reason = self._finish(window, cause, touched, tally, is_past=is_past)
                    if reason is not None:
                        reasons[window] = reason
        return reasons

    def _finish(
        self, window: int, cause: Unused | None, touched: set[int], tally: _Tally, *, is_past: bool
    ) -> Unused | None:
        """Emit one window, or tell why not; a full one that may not be emitted stays open until it is past."""
        geometry, buffer = self._geometry, self._buffer
        at = buffer.window(window * geometry.hop, geometry.size)
        values = buffer.values[at]
        fill = float(np.count_nonzero(~np.isnan(values)) / values.size)
        start_ns = window * geometry.hop_ns
        end_ns = start_ns + geometry.size_ns
        filled = fill_holes(values, geometry.missing)
        reason = self._objection(fill, cause, is_fillable=filled is not None)
        if reason is not None and not is_past:
            return None
        tally.counts[Count.WINDOWS_CLOSED] += 1
        if filled is None or reason is not None:
            reason = reason or Unused.GAP
            tally.skipped.append(SkippedWindow(self._name, start_ns, end_ns, fill, reason))
            tally.counts[of_reason(Count.WINDOWS_SKIPPED, reason)] += 1
            return reason
        tally.closed.append(ClosedWindow(self._name, start_ns, end_ns, filled, geometry.size, fill))
        self._emitted[window] = self._last_row
        newly = buffer.is_present[at] & ~buffer.is_used[at]
        buffer.is_used[at] |= newly
        tally.counts[Count.SAMPLES_USED] += int(newly.sum())
        for row, samples in zip(*np.unique(buffer.rows[at][newly], return_counts=True), strict=True):
            self._needs[int(row)].pending -= int(samples)
            touched.add(int(row))
        return None

    def _objection(self, fill: float, cause: Unused | None, *, is_fillable: bool) -> Unused | None:
        if cause is Unused.PARTITION_EVICTED:
            return cause
        if is_fillable and fill >= self._geometry.min_fill:
            return None
        if cause is Unused.IDLE:
            return cause
        is_rejected = self._geometry.missing is Missing.REJECT
        return Unused.GAP if is_rejected or fill >= self._geometry.min_fill else Unused.MIN_FILL

    def _release(self, reasons: Mapping[int, Unused], touched: set[int], tally: _Tally) -> None:
        """Let go of the samples that no open window covers; those that no window used are counted as unused."""
        geometry, buffer = self._geometry, self._buffer
        held = np.flatnonzero(buffer.is_held)
        gone = held[~self._is_open(held + buffer.base)] if len(held) else held
        if len(gone):
            for row, samples in zip(*np.unique(buffer.rows[gone], return_counts=True), strict=True):
                self._needs[int(row)].held -= int(samples)
                touched.add(int(row))
            unused = gone[~buffer.is_used[gone]]
            for row, samples in zip(*np.unique(buffer.rows[unused], return_counts=True), strict=True):
                self._needs[int(row)].pending -= int(samples)
            # The last window that covered an unused sample is the last that closed: all of them closed in order.
            for window, samples in zip(
                *np.unique((unused + buffer.base) // geometry.hop, return_counts=True), strict=True
            ):
                tally.unused(reasons[int(window)], int(samples))
            buffer.is_held[gone] = False
        first = self._first_open()
        buffer.forget_before(first * geometry.hop)
        for window in [w for w in self._emitted if (geometry.end(w) - 1) // geometry.hop < first]:
            del self._emitted[window]

    def _settle(self, touched: Iterable[int], tally: _Tally) -> None:
        """Report rows whose needs changed; forget those that nothing needs."""
        for row in sorted(touched):
            need = self._needs[row]
            tally.row(row, need)
            if not need.held:
                del self._needs[row]
