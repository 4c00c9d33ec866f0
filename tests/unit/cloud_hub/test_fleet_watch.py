"""The watch over the fleet: tells silence once, prunes now and then, and outlives a database that fails."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from cloud_hub.config import FleetConfig
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.liveness import Heard, Liveness, LivenessChange
from cloud_hub.errors import StorageError
from cloud_hub.fleet_watch import PRUNE_EVERY_S, SETTLED_S, FleetWatch
from cloud_hub.metrics import HubMetrics
from cloud_hub.ports import Forgotten
from model_packs.process.metrics import Registry
from tests.simulators.loops import in_loop

PRESS = DeviceKey("o", "s", "press-07")
S = 1_000_000_000
DAY_NS = 86_400 * S
CONFIG = FleetConfig(heartbeat_interval_s=10.0, trend_days=2, event_days=3, answered_days=4, max_events=50)


@dataclass
class Records:
    """A store of one device that remembers what it was told; `failures` calls fail first."""

    heard_at_ns: int = 0
    told: list[Liveness] = field(default_factory=list)
    pruned: list[tuple[int, int, int]] = field(default_factory=list)
    forgotten_before_ns: list[int] = field(default_factory=list)
    old_pages: int = 2
    failures: int = 0
    has_told: asyncio.Event = field(default_factory=asyncio.Event)

    async def heard(self) -> tuple[Heard, ...]:
        """When the device was last heard."""
        if self.failures:
            self.failures -= 1
            raise StorageError("the disk is gone")
        return (Heard(PRESS, self.heard_at_ns, self.told[-1] if self.told else None),)

    async def tell_liveness(self, changes: Sequence[LivenessChange], now_ns: int) -> None:
        """Note what was told."""
        assert now_ns > 0
        self.told += [change.now for change in changes]
        self.has_told.set()

    async def forget(self, before_ns: int) -> Forgotten:
        """Two pages are old, and then nothing."""
        self.forgotten_before_ns.append(before_ns)
        self.old_pages -= 1
        return Forgotten(200, 150) if self.old_pages >= 0 else Forgotten(0, 0)

    async def prune(self, *, events_before_ns: int, max_events: int, trends_before_ns: int) -> None:
        """Note the bounds."""
        self.pruned.append((events_before_ns, max_events, trends_before_ns))


class Hand:
    """A wall clock that is set by hand, and the monotonic one beside it that nobody can set."""

    def __init__(self, at_ns: int) -> None:
        self.at_ns = at_ns
        self.passed_s = 0.0

    def __call__(self) -> int:
        """The time."""
        return self.at_ns

    def monotonic_s(self) -> float:
        """What has passed."""
        return self.passed_s

    def advance(self, seconds: float) -> None:
        """Let time pass, on both."""
        self.at_ns += round(seconds * S)
        self.passed_s += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock, while no time passes."""
        self.at_ns += round(seconds * S)


def watching(records: Records, clock: Hand) -> FleetWatch:
    """A watch by that clock."""
    return FleetWatch(records, HubMetrics(Registry()), clock, CONFIG, monotonic_s=clock.monotonic_s)


@in_loop
async def test_a_device_that_falls_silent_and_comes_back_is_told_once_each() -> None:
    """Online, stale, offline and online again, however often the watch looks."""
    clock, records = Hand(10 * DAY_NS), Records(heard_at_ns=10 * DAY_NS)
    watch = watching(records, clock)
    for pause_s in (0, 1, 39, 1, 99, 1):
        clock.advance(pause_s)
        await watch.look()
    records.heard_at_ns = clock.at_ns
    await watch.look()
    await watch.look()
    assert records.told == [Liveness.ONLINE, Liveness.STALE, Liveness.OFFLINE, Liveness.ONLINE]


@in_loop
async def test_what_is_too_old_is_pruned_once_the_clock_is_trusted_and_then_now_and_then() -> None:
    """The bounds are those of the settings, counted from now."""
    clock, records, registry = Hand(10 * DAY_NS - round(SETTLED_S) * S), Records(), Registry()
    watch = FleetWatch(records, HubMetrics(registry), clock, CONFIG, monotonic_s=clock.monotonic_s)
    await watch.look()
    assert (records.pruned, records.forgotten_before_ns) == ([], [])
    clock.advance(SETTLED_S)
    for _ in range(3):
        await watch.look()
    assert records.pruned == [(7 * DAY_NS, 50, 8 * DAY_NS)]
    assert records.forgotten_before_ns == [6 * DAY_NS] * 3
    assert 'hub_forgotten_total{what="item"} 400.0' in registry.expose().decode()
    assert 'hub_forgotten_total{what="verdict"} 300.0' in registry.expose().decode()
    clock.advance(PRUNE_EVERY_S + 1)
    await watch.look()
    assert len(records.pruned) == 2


@in_loop
async def test_one_wrong_step_of_the_clock_deletes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A year ahead for a look, and back: both jumps are told, and pruning waits until the clock has been steady."""
    clock, records = Hand(10 * DAY_NS), Records()
    watch = watching(records, clock)
    await watch.look()
    clock.advance(SETTLED_S)
    for jump_s in (0, 400 * 86_400, -400 * 86_400):
        clock.jump(jump_s)
        clock.advance(PRUNE_EVERY_S + 1)
        await watch.look()
    assert len(records.pruned) == 1
    assert [record.message for record in caplog.records] == ["clock_jumped", "clock_jumped"]
    clock.advance(SETTLED_S)
    await watch.look()
    assert len(records.pruned) == 2


@in_loop
async def test_a_jump_of_the_clock_is_nobodys_silence() -> None:
    """Ahead or back, nobody is told silent for it; who then says nothing is, by the time that has passed."""
    clock, records = Hand(10 * DAY_NS), Records(heard_at_ns=10 * DAY_NS)
    watch = watching(records, clock)
    await watch.look()
    clock.jump(30 * 86_400)
    await watch.look()
    records.heard_at_ns = clock.at_ns
    clock.jump(-30 * 86_400)
    await watch.look()
    assert records.told == [Liveness.ONLINE]
    clock.advance(140)
    await watch.look()
    assert records.told == [Liveness.ONLINE, Liveness.OFFLINE]


@in_loop
async def test_the_watch_outlives_a_database_that_fails() -> None:
    """A failed look is counted, and what it would have told is told later."""
    registry, records = Registry(), Records(heard_at_ns=1, failures=2)
    clock = Hand(2)
    config = FleetConfig(heartbeat_interval_s=0.01)
    running = asyncio.create_task(FleetWatch(records, HubMetrics(registry), clock, config).run())
    await records.has_told.wait()
    running.cancel()
    await asyncio.wait([running])
    assert records.told == [Liveness.ONLINE]
    assert b'hub_loop_failures_total{loop="fleet_watch"} 2.0' in registry.expose()
