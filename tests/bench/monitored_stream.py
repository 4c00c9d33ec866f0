"""Owns the simulation behind the monitoring benches: windows from a pool, a threshold, a lottery, and the hub's watch.

The watch is the hub's own (`cloud_hub.core.monitoring`), fed as its store feeds it: one outcome an audit, one batch of
decisions a heartbeat. Which figures are taken is the benches'.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cloud_hub.core.cases import UNSURE_BELOW
from cloud_hub.core.monitoring.rates import RateWatch, band, seen
from cloud_hub.core.monitoring.watch import (
    WHOLE,
    Alarm,
    Limits,
    Measure,
    Outcome,
    Promise,
    Tally,
    by_hub,
    by_human,
    counted,
    level_of,
    standing,
)
from tests.bench.field_pools import Family, Pool

HEARTBEAT_WINDOWS: Final = 10
"""A window a second, a report each ten seconds: the hub's default."""
_NOW_NS: Final = 1


@dataclass(frozen=True, slots=True)
class Drawn:
    """A stream of windows; all arrays [windows].

    Attributes:
        at: int, each window's place in its pool.
        is_kept: bool, its confidence reaches the threshold.
        is_audited: bool, kept and drawn by the lottery, which does not look at it.
    """

    pool: Pool
    at: NDArray[np.intp]
    is_kept: NDArray[np.bool_]
    is_audited: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.at)


def draw(pool: Pool, n: int, threshold: float, audit_rate: float, random: np.random.Generator) -> Drawn:
    """Draw a stream with replacement."""
    at = random.integers(0, len(pool), n)
    is_kept = pool.confidence[at] >= threshold
    return Drawn(pool, at, is_kept, is_kept & (random.random(n) < audit_rate))


def promise_of(family: Family) -> Promise:
    """What the family's certificate says."""
    said = family.certificate
    return Promise(Measure(said.risk), said.target, said.delta, said.coverage, said.digest)


@dataclass(slots=True)
class Station:
    """The hub's watch over one policy version of one device."""

    promise: Promise
    limits: Limits
    tallies: dict[Measure, Tally] = field(default_factory=dict)
    rates: RateWatch = field(default_factory=RateWatch)
    inputs_moved: bool = False

    def hear(self, outcome: Outcome, *, is_labelled: bool) -> None:
        """Take what became known of an audited window."""
        said = {**by_hub(outcome), **(by_human(outcome) if is_labelled else {})}
        for measure, is_loss in said.items():
            against = level_of(measure, WHOLE, self.promise, self.limits)
            before = self.tallies.get(measure, Tally())
            self.tallies[measure] = counted(before, is_loss=is_loss, against=against, now_ns=_NOW_NS)

    def report(self, windows: int, escalated: int) -> None:
        """Take what a heartbeat says."""
        within = band(self.promise.coverage, self.limits.rate_factor)
        self.rates = seen(self.rates, windows, escalated, within)

    @property
    def alarms(self) -> frozenset[Alarm]:
        """Those that stand."""
        return standing(self.tallies.items(), self.rates, self.promise, self.limits, inputs_moved=self.inputs_moved)


def outcome_of(pool: Pool, place: int) -> Outcome:
    """What edge, hub and a person say of a window."""
    return Outcome(
        edge=str(pool.edge[place]),
        hub=str(pool.hub[place]),
        is_hub_sure=bool(pool.hub_confidence[place] >= UNSURE_BELOW),
        human=str(pool.truth[place]),
    )


def watch(station: Station, stream: Drawn, is_labelled: Callable[[], bool]) -> Iterator[tuple[int, bool]]:
    """Let the station see a stream, heartbeat by heartbeat.

    Args:
        station: Changed as it goes.
        stream: What happens.
        is_labelled: Whether a person labels the next audited window.

    Yields:
        The windows passed so far, and whether anything came in with the last one: after each audit and each heartbeat.
    """
    for first in range(0, len(stream), HEARTBEAT_WINDOWS):
        last = min(first + HEARTBEAT_WINDOWS, len(stream))
        for place in np.flatnonzero(stream.is_audited[first:last]).tolist():
            station.hear(outcome_of(stream.pool, int(stream.at[first + place])), is_labelled=is_labelled())
            yield first + place + 1, True
        station.report(last - first, int((~stream.is_kept[first:last]).sum()))
        yield last, False
