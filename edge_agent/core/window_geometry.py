"""Owns what a binding declares about its windows, in seconds, and the same in slots of the sampling grid."""

import math
from dataclasses import dataclass

from edge_agent.core.grid import Grid, whole_ns, whole_slots
from edge_agent.core.missing import Missing


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
        max_leap_s: How much further than the time that went by since the one before it a record may lie ahead, where
            no synchronised clock speaks for it, without another one that agrees.
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
    max_leap_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Geometry:
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
    max_leap: float

    @classmethod
    def of(cls, spec: HoppingSpec, channels: int) -> "Geometry":
        """Lay a spec on the grid.

        Args:
            spec: As declared.
            channels: Width of a sample.

        Raises:
            ValueError: Size or hop is no whole number of slots, or the hop is longer than the window.
        """
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
            max_leap=spec.max_leap_s * spec.rate_hz,
        )

    @property
    def shape(self) -> str:
        """Tells kept states apart: windows of another shape cannot go on from them."""
        names = "/".join(self.captures)
        return f"{self.grid.rate_hz:g} Hz, {self.size} every {self.hop}, {self.channels} channels, by {names!r}"

    def first_open(self, closed_through: int) -> int:
        """The first window that ends after a slot; so many less its number for another slot have ended between."""
        return (closed_through - self.size) // self.hop + 1

    def end(self, window: int) -> int:
        """The slot after a window."""
        return window * self.hop + self.size
