"""Owns the simulation behind the monitoring benches: windows from a pool, a threshold, a lottery, and the hub's watch.

The watch is the hub's own (`cloud_hub.core.monitoring`), fed as its store feeds it: one outcome an audit, one batch of
decisions a heartbeat, and the word of the agent's own detector of moving inputs (`edge_agent.core.input_statistics`).
Which figures are taken is the benches'.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cloud_hub.core.cases import UNSURE_BELOW
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.monitoring.record import Found, PolicyKey, PolicyRecord, Stratum, inputs_moved, judged, reported
from cloud_hub.core.monitoring.watch import Alarm, Limits, Measure, Outcome, Promise, by_hub, by_human
from edge_agent.core.input_statistics import InputMonitor
from protos.messages.fleet import PolicyReport, PolicyState
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
    inputs: InputMonitor | None = None
    record: PolicyRecord = field(init=False)

    def __post_init__(self) -> None:
        """Begin with the version."""
        key = PolicyKey(DeviceKey("bench", "bench", "bench"), "bench", "bench", 0)
        self.record = PolicyRecord(key, "bench", _NOW_NS, promise=self.promise)

    def hear(self, outcome: Outcome, *, is_labelled: bool) -> None:
        """Take what became known of an audited window."""
        losses = {**by_hub(outcome), **(by_human(outcome) if is_labelled else {})}
        self.record = judged(self.record, Found(Stratum.KEPT, losses), self.limits, _NOW_NS)

    def sense(self, inputs: NDArray[Any]) -> None:
        """Let the device's own detector look at its inputs, if it has one, and tell if they moved."""
        if self.inputs is None:
            return
        has_moved = False
        for values in inputs:
            has_moved |= bool(self.inputs.observe(values, _NOW_NS).drifts)
        if has_moved:
            self.record = inputs_moved(self.record, _NOW_NS)

    def report(self, windows: int, escalated: int) -> None:
        """Take what a heartbeat says."""
        before = self.record.totals
        said = PolicyReport(
            binding="bench",
            policy_version=0,
            pack="bench",
            pack_digest="bench",
            decided=before.decided + windows,
            kept=before.kept + windows - escalated,
            escalated=before.escalated + escalated,
            audits_drawn=0,
            audits_lost=0,
            audit_rate=0.0,
            threshold=None,
            state=PolicyState.ACTIVE,
        )
        self.record = reported(self.record, said, self.limits, _NOW_NS)

    @property
    def alarms(self) -> Mapping[Alarm, int]:
        """Those that stand."""
        return self.record.alarms


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
        station.sense(stream.pool.inputs[stream.at[first:last]])
        station.report(last - first, int((~stream.is_kept[first:last]).sum()))
        yield last, False
