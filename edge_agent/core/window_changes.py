"""Owns what a call of the windows changes: windows that closed, counts, journal rows, and what must outlive a crash."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.accounting import Count, of_reason

_STATE_VERSION = 1


class Unused(StrEnum):
    """Why a sample was in no emitted window, and (but for `same_slot` and `leap`) why a window was skipped."""

    GAP = "gap"
    MIN_FILL = "min_fill"
    IDLE = "idle"
    PARTITION_EVICTED = "partition_evicted"
    SAME_SLOT = "same_slot"
    LEAP = "leap"


@dataclass(slots=True)
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


@dataclass(slots=True)
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
        emitted = ", ".join([f"[{start_ns}, {row}]" for start_ns, row in self.emitted])
        return (
            f'{{"v": {_STATE_VERSION}, "shape": {_quoted(self.shape)}, '
            f'"closed_through_ns": {self.closed_through_ns}, "emitted": [{emitted}]}}'
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


@dataclass(slots=True)
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

    closed: tuple[ClosedWindow, ...] = ()
    skipped: tuple[SkippedWindow, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    pending: Mapping[int, int] = field(default_factory=dict)
    released: tuple[int, ...] = ()
    states: Mapping[str, PartitionState | None] = field(default_factory=dict)


@lru_cache(maxsize=64)  # pure, and of each binding the same
def _quoted(text: str) -> str:
    return json.dumps(text)


def closing(window: ClosedWindow, row: int, state: PartitionState) -> Changes:
    """What a record changes that is one whole window: all of it is used at once, and the record is needed no more."""
    counts: dict[str, int] = {
        Count.SAMPLES_DECODED: window.samples,
        Count.WINDOWS_CLOSED: 1,
        Count.SAMPLES_USED: window.samples,
    }
    return Changes((window,), counts=counts, released=(row,), states={window.partition: state})


class Tally:
    """Gathers what a call changes."""

    def __init__(self) -> None:
        self.closed: list[ClosedWindow] = []
        self.skipped: list[SkippedWindow] = []
        self.counts: Counter[str] = Counter()
        self.pending: dict[int, int] = {}
        self.released: list[int] = []
        self.states: dict[str, PartitionState | None] = {}

    def row(self, row: int, need: "Need") -> None:
        """Note what a row is still needed for."""
        if need.held:
            self.pending[row] = need.pending
        else:
            self.pending.pop(row, None)
            self.released.append(row)

    def unused(self, reason: Unused, samples: int) -> None:
        """Count samples that no window used."""
        self.counts[of_reason(Count.SAMPLES_UNUSED, reason)] += samples

    def changes(self) -> Changes:
        """What was gathered."""
        return Changes(
            closed=tuple(self.closed),
            skipped=tuple(self.skipped),
            counts={name: value for name, value in self.counts.items() if value},
            pending=self.pending,
            released=tuple(self.released),
            states=self.states,
        )


@dataclass(slots=True)
class Need:
    """Samples of one row: those without a fate yet, and those that an open window may need."""

    pending: int = 0
    held: int = 0


@dataclass(frozen=True, slots=True)
class Doubted:
    """A record whose time leapt ahead, held until another one agrees with it.

    Attributes:
        slots: int64 [n].
        values: float32 [n, channels].
        at_s: Monotonic receive clock.
    """

    row: int
    slots: NDArray[np.int64] = field(repr=False, compare=False)
    values: NDArray[np.float32] = field(repr=False, compare=False)
    at_s: float
