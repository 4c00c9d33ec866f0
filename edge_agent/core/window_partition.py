"""Owns the windows of one partition: its buffer, which of them are closed, and the needs of its journal rows.

What the windows of a binding are as a whole is `windows.py`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.accounting import Count, of_reason
from edge_agent.core.missing import Missing, fill_holes
from edge_agent.core.slot_buffer import SlotBuffer
from edge_agent.core.window_changes import ClosedWindow, Doubted, Need, PartitionState, SkippedWindow, Tally, Unused
from edge_agent.core.window_geometry import Geometry


class Partition:
    """One partition.

    Args:
        name: What its windows say.
        geometry: Of all windows of the binding.
        closed_through: Every window that ends by this slot counts as closed.

    Attributes:
        active_s: When the last record came; monotonic receive clock.
        told_s: When the last one came that was not doubted.
    """

    def __init__(self, name: str, geometry: Geometry, closed_through: int) -> None:
        self._name = name
        self._geometry = geometry
        self._shape = geometry.shape
        self._buffer = SlotBuffer(geometry.channels)
        self._needs: dict[int, Need] = {}
        self._last_row = 0
        self._closed_through = closed_through
        self._end = closed_through  # the slot after the last one taken, if that is later
        self._emitted: dict[int, int] = {}  # window -> last row fed
        self._buffer.base = self._first_open() * geometry.hop
        self._doubted: Doubted | None = None
        self.active_s = 0.0
        self.told_s = 0.0

    @classmethod
    def restored(cls, name: str, geometry: Geometry, state: PartitionState) -> "Partition":
        """One that goes on where its last commit was; then `replay` its rows."""
        partition = cls(name, geometry, geometry.grid.slot(state.closed_through_ns))
        partition._emitted = {start_ns // geometry.hop_ns: row for start_ns, row in state.emitted}
        partition._end = max(map(geometry.end, partition._emitted), default=partition._end)
        return partition

    def is_empty(self) -> bool:
        """Whether no open window needs anything of it."""
        return self._doubted is None and self._buffer.is_empty()

    def leaps(self, slots: NDArray[np.int64], now_s: float) -> bool:
        """Whether a record lies further ahead than the time that went by since the last one explains.

        Args:
            slots: int64 [n], in any order.
            now_s: Monotonic receive clock.
        """
        return self._is_leap(int(np.minimum.reduce(slots)), now_s)

    def doubt(
        self, row: int, slots: NDArray[np.int64], values: NDArray[np.float32], now_s: float, tally: Tally
    ) -> None:
        """Take a record that leaps: hold it, or believe it together with the one that is held, if they agree.

        Of two that disagree the earlier is given up. Arguments as of `feed`.
        """
        held = self._doubted
        self._doubted = None
        if held is None or not self._agree(held, slots, now_s):
            self._give_up(held, tally)
            self._doubted = Doubted(row, slots, values, now_s)
            self._needs[row] = Need(len(slots), len(slots))
            tally.row(row, self._needs[row])
        else:
            self.feed(held.row, held.slots, held.values, held.at_s, tally)
            self.feed(row, slots, values, now_s, tally)

    def state(self) -> PartitionState:
        """What must outlive a crash."""
        emitted = tuple((window * self._geometry.hop_ns, row) for window, row in self._emitted.items())
        return PartitionState(self._shape, self._geometry.grid.time_ns(self._closed_through), emitted)

    def append(self, row: int, slots: NDArray[np.int64], values: NDArray[np.float32], now_s: float) -> bool:
        """Take the samples of one record if they go on where the partition ends, and no window closes with them.

        That is what nearly all records do, so it is worth a way of its own: `feed` would change the same and report
        nothing but the row's pending samples.

        Returns:
            False when that is not so; nothing has changed then.
        """
        geometry, first, count = self._geometry, int(slots[0]), len(slots)
        end = first + count
        closed_through = max(end - 1 - geometry.lateness, self._closed_through)
        if (
            self._doubted is not None
            or first < max(self._end, self._closed_through)
            or first - self._end >= geometry.max_leap  # to be told in the state, or a replay would doubt it
            or geometry.first_open(end) != geometry.first_open(first)  # a window may be full
            or geometry.first_open(closed_through) != self._first_open()  # the watermark passes the end of one
            or (count > 1 and not (slots == np.arange(first, end)).all())
        ):
            return False
        self._last_row, self._end, self._closed_through, self.told_s = row, end, closed_through, now_s
        self._needs[row] = Need(count, count)
        self._buffer.append(first, values, row)
        return True

    def whole(
        self, row: int, first_ns: int, values: NDArray[np.float32], now_s: float, *, is_vouched: bool
    ) -> ClosedWindow | None:
        """Take the samples of one record if they are one whole window and nothing else, of windows that do not overlap.

        Senders that know the window send it so; then there is nothing to gather, and `feed` would change the same.

        Args:
            row: Journal row of the record.
            first_ns: Time of its first sample; the others follow in steps of the grid.
            values: float32 [n, channels].
            now_s: Monotonic receive clock.
            is_vouched: Whether a leap in time is to be believed.

        Returns:
            The window, which needs its record no more; None when that is not so: nothing has changed then.
        """
        geometry = self._geometry
        if len(values) != geometry.size or geometry.hop != geometry.size or self._needs:
            return None  # another length, overlapping windows, or a record that an open window may need
        first = geometry.grid.even_slot(first_ns)
        if first is None or first % geometry.hop or first < max(self._end, self._closed_through):
            return None
        if not is_vouched and self._is_leap(first, now_s):
            return None
        if np.isnan(np.minimum.reduce(values, axis=None)):
            return None
        window = first // geometry.hop
        self._last_row, self._end, self.told_s = max(self._last_row, row), first + geometry.size, now_s
        self._closed_through = max(self._closed_through, self._end - 1 - geometry.lateness)
        first_open = self._first_open()
        self._emitted = {one: last for one, last in self._emitted.items() if one >= first_open}
        if window >= first_open:
            self._emitted[window] = self._last_row
        self._buffer.skip_to(first_open * geometry.hop)
        start_ns = window * geometry.hop_ns
        return ClosedWindow(self._name, start_ns, start_ns + geometry.size_ns, values, geometry.size, 1.0)

    def feed(self, row: int, slots: NDArray[np.int64], values: NDArray[np.float32], now_s: float, tally: Tally) -> None:
        """Take the samples of one record.

        Args:
            row: Journal row of the record.
            slots: int64 [n], in any order.
            values: float32 [n, channels].
            now_s: Monotonic receive clock.
            tally: Takes what changes.
        """
        self.told_s = now_s
        self._last_row = max(self._last_row, row)
        self._needs[row] = Need()
        order = np.argsort(slots, kind="stable")
        slots, values = slots[order], values[order]
        # Runs of neighbouring slots are taken one after the other, so that the buffer never spans a leap in time.
        cuts = np.flatnonzero(np.diff(slots) > 1) + 1
        for first, last in zip([0, *cuts], [*cuts, len(slots)], strict=True):
            self._feed_run(row, slots[first:last], values[first:last], tally)
        self._settle({row}, tally)
        self._reconsider(tally)

    def replay(self, row: int, slots: NDArray[np.int64], values: NDArray[np.float32]) -> int:
        """Put a kept row back; how many of its samples are pending."""
        if len(slots) and self._leap(slots) > self._geometry.max_leap:  # held when its row was kept
            self._doubted = Doubted(row, slots, values, self.told_s)
            self._needs[row] = Need(len(slots), len(slots))
            return len(slots)
        self._last_row = row
        taken, _, _ = self._sift(slots)
        at = self._put(slots[taken], values[taken], row)
        for window, last_row in self._emitted.items():
            if row <= last_row:
                start = window * self._geometry.hop - self._buffer.base
                self._buffer.is_used[at[(start <= at) & (at < start + self._geometry.size)]] = True
        need = self._needs[row] = Need(int((~self._buffer.is_used[at]).sum()), len(at))
        return need.pending

    def close_all(self, cause: Unused, tally: Tally) -> None:
        """Close every window that has a sample; emit those that may be, if the cause is a silence."""
        geometry, touched = self._geometry, set[int]()
        held, self._doubted = self._doubted, None
        self._give_up(held, tally)
        if not self._buffer.is_empty():
            last = (self._buffer.end() - 1) // geometry.hop
            self._advance(geometry.end(last), cause, touched, tally)
        self._settle(touched, tally)

    def _leap(self, slots: NDArray[np.int64]) -> int:
        """How far ahead of the newest sample, or what is known to be past, all of these lie."""
        return self._ahead(int(np.minimum.reduce(slots)))

    def _ahead(self, slot: int) -> int:
        return slot - max(self._closed_through + self._geometry.lateness, self._end - 1)

    def _is_leap(self, slot: int, now_s: float) -> bool:
        return self._ahead(slot) > self._geometry.max_leap + (now_s - self.told_s) * self._geometry.grid.rate_hz

    def _agree(self, held: Doubted, slots: NDArray[np.int64], now_s: float) -> bool:
        """Whether a record lies where time would be now if the held one were right."""
        passed = (now_s - held.at_s) * self._geometry.grid.rate_hz
        ahead = int(slots.min()) - int(held.slots.min())
        return -self._geometry.max_leap <= ahead <= self._geometry.max_leap + passed

    def _reconsider(self, tally: Tally) -> None:
        """Believe the held record when the others come near it; give it up when they pass it."""
        held = self._doubted
        if held is None or self._leap(held.slots) > self._geometry.max_leap:
            return
        self._doubted = None
        if self._leap(held.slots) > 0:
            self.feed(held.row, held.slots, held.values, held.at_s, tally)
        else:
            self._give_up(held, tally)

    def _give_up(self, held: Doubted | None, tally: Tally) -> None:
        if held is not None:
            tally.unused(Unused.LEAP, len(held.slots))
            tally.row(held.row, Need())
            del self._needs[held.row]

    def _feed_run(self, row: int, slots: NDArray[np.int64], values: NDArray[np.float32], tally: Tally) -> None:
        first, last = int(slots[0]), int(slots[-1])
        touched: set[int] = set()
        watermark = max(last - self._geometry.lateness, self._closed_through)
        # Windows before the run cannot gain from it: close them first, and the buffer need not span the time between.
        self._advance(min(watermark, first), None, touched, tally)
        if first >= max(self._end, self._closed_through) and last - first == len(slots) - 1:
            self._buffer.reach(last)  # all go on where the partition ends
        else:
            taken, late, same_slot = self._sift(slots)
            slots, values = slots[taken], values[taken]
            tally.counts[Count.SAMPLES_LATE] += late
            tally.unused(Unused.SAME_SLOT, same_slot)
        if len(slots):
            self._put(slots, values, row)
            need = self._needs[row]
            need.pending += len(slots)
            need.held += len(slots)
        self._advance(watermark, None, touched, tally, is_fuller=True)
        self._settle(touched - {row}, tally)

    def _put(self, slots: NDArray[np.int64], values: NDArray[np.float32], row: int) -> NDArray[np.int64]:
        self._end = max(self._end, int(slots.max(initial=self._end - 1)) + 1)
        return self._buffer.put(slots, values, row)

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
        self, closed_through: int, cause: Unused | None, touched: set[int], tally: Tally, *, is_fuller: bool = False
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

    def _close(self, closed_through: int, cause: Unused | None, touched: set[int], tally: Tally) -> dict[int, Unused]:
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
        self, window: int, cause: Unused | None, touched: set[int], tally: Tally, *, is_past: bool
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
        for row, samples in Counter(buffer.rows[at][newly].tolist()).items():
            self._needs[row].pending -= samples
            touched.add(row)
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

    def _release(self, reasons: Mapping[int, Unused], touched: set[int], tally: Tally) -> None:
        """Let go of the samples that no open window covers; those that no window used are counted as unused."""
        geometry, buffer = self._geometry, self._buffer
        held = np.flatnonzero(buffer.is_held)
        gone = held[~self._is_open(held + buffer.base)] if len(held) else held
        if len(gone):
            for row, samples in Counter(buffer.rows[gone].tolist()).items():
                self._needs[row].held -= samples
                touched.add(row)
            unused = gone[~buffer.is_used[gone]]
            for row, samples in Counter(buffer.rows[unused].tolist()).items():
                self._needs[row].pending -= samples
            # The last window that covered an unused sample is the last that closed: all of them closed in order.
            for window, samples in Counter(((unused + buffer.base) // geometry.hop).tolist()).items():
                tally.unused(reasons[window], samples)
            buffer.is_held[gone] = False
        first = self._first_open()
        buffer.forget_before(first * geometry.hop)
        for window in [w for w in self._emitted if (geometry.end(w) - 1) // geometry.hop < first]:
            del self._emitted[window]

    def _settle(self, touched: Iterable[int], tally: Tally) -> None:
        """Report rows whose needs changed; forget those that nothing needs."""
        for row in sorted(touched):
            need = self._needs[row]
            tally.row(row, need)
            if not need.held:
                del self._needs[row]
