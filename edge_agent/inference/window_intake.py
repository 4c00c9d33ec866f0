"""Owns the way from samples to windows: journal rows, and the windows of one binding as the last commit left them.

How a payload decodes and which windows close are `core/payload.py` and `core/windows.py`.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edge_agent.core.payload import PayloadSpec, Vectors, decode_vectors
from edge_agent.core.window_changes import Changes, PartitionState
from edge_agent.core.windows import HoppingWindows, abandoned
from edge_agent.inference.draft import Draft
from edge_agent.inference.intake import Ready, partition_of
from edge_agent.ports import BindingName, Delivery, JournalRow, Remembered, UnitStore

_TIMES = np.dtype("<i8")
_VALUES = np.dtype("<f4")

logger = logging.getLogger(__name__)


class WindowIntake:
    """Samples in, windows out. Implements `Intake[Vectors]`.

    Args:
        binding: Its name.
        partition: Captures that tell partitions apart.
        payload: How a record is read.
        new_windows: Makes empty windows; `restore` fills them.
        store: For row ids.
    """

    def __init__(
        self,
        binding: BindingName,
        partition: tuple[str, ...],
        payload: PayloadSpec,
        new_windows: Callable[[], HoppingWindows],
        store: UnitStore,
    ) -> None:
        self._binding = binding
        self._partition = partition
        self._payload = payload
        self._new_windows = new_windows
        self._windows = new_windows()
        self._store = store
        self._abandoned: list[Changes] = []

    def restore(self, known: Remembered, now_s: float) -> None:
        """Rebuild the windows; what cannot go on, since the configuration has changed, is counted by the next pass."""
        self._windows = self._new_windows()
        states = {name: PartitionState.from_json(text) for name, text in known.states.items()}
        left: dict[str, dict[int, int]] = {name: {} for name in self._windows.restore(states, now_s)}
        for row in known.journal:
            if row.partition in left:
                left[row.partition][row.row] = row.pending
                continue
            values = np.frombuffer(row.values, _VALUES).reshape(-1, self._payload.channels)
            pending = self._windows.replay(row.partition, row.row, np.frombuffer(row.times_ns, _TIMES), values)
            if pending != row.pending:
                logger.error("journal_row_differs", extra={"row": row.row, "held": row.pending, "rebuilt": pending})
        self._abandoned = [abandoned(name, rows) for name, rows in left.items()]

    def decode(self, delivery: Delivery, captures: Mapping[str, str], received_ns: int | None) -> Vectors:
        """Read the samples of a record."""
        del captures
        return decode_vectors(delivery.payload, self._payload, delivery.topic, received_ns)

    def feed(
        self, delivery: Delivery, captures: Mapping[str, str], decoded: Vectors, now_s: float, draft: Draft
    ) -> Sequence[Ready]:
        """Journal the samples, and close the windows that they fill."""
        self._give_up(draft)
        row = self._store.new_row()
        partition = partition_of(captures, self._partition)
        changes = self._windows.feed(
            partition,
            row,
            decoded.times_ns,
            decoded.values,
            now_s,
            out_of_range=decoded.out_of_range,
            is_vouched=draft.is_synced,
            first_ns=decoded.first_ns,
        )
        if row in changes.released:  # it came and goes within the pass: there is nothing to journal
            draft.journal[row] = None
        else:
            draft.journal[row] = JournalRow(
                row,
                self._binding,
                partition,
                delivery.received_ns,
                decoded.times_ns.astype(_TIMES, copy=False).tobytes(),
                decoded.values.astype(_VALUES, copy=False).tobytes(),
                changes.pending.get(row, 0),
            )
        return self._closed(changes, draft)

    def tick(self, now_s: float, draft: Draft) -> Sequence[Ready]:
        """Close the windows of silent partitions."""
        self._give_up(draft)
        return self._closed(self._windows.tick(now_s), draft)

    def _give_up(self, draft: Draft) -> None:
        """Count what windows of another shape left behind, before anything new is fed."""
        left, self._abandoned = self._abandoned, []
        for changes in left:
            draft.change(self._binding, changes)

    def _closed(self, changes: Changes, draft: Draft) -> Sequence[Ready]:
        draft.change(self._binding, changes)
        return [
            Ready(window, dict(zip(self._partition, window.partition.split("/"), strict=False)))
            for window in changes.closed
        ]
