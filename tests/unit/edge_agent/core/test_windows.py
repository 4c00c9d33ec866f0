"""Hopping windows: boundaries, skips and ends of samples, checked by hand and against a plain reference."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.core.accounting import Count, equations
from edge_agent.core.missing import Missing
from edge_agent.core.timestamps import NS_PER_S
from edge_agent.core.window_changes import Changes, PartitionState, Unused
from edge_agent.core.window_geometry import HoppingSpec
from edge_agent.core.windows import HoppingWindows, abandoned

PERIOD_NS = NS_PER_S // 10
SPEC = HoppingSpec(
    rate_hz=10.0,
    size_s=1.0,
    hop_s=0.5,
    lateness_s=0.5,
    idle_s=5.0,
    min_fill=0.8,
    missing=Missing.HOLD,
    max_partitions=2,
)


def array(
    slots: Sequence[int], channels: int = 1, *, has_nulls: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Times and values of samples; a value is its slot, so that windows show what they hold."""
    index = np.array(slots, np.int64)
    values = np.repeat(index.astype(np.float32)[:, None], channels, axis=1)
    if has_nulls:
        values[index % 4 == 1] = np.nan
    return index * PERIOD_NS, values


@dataclass
class Agent:
    """Drives the windows as the pipeline does: adds counts, keeps rows, survives crashes."""

    spec: HoppingSpec
    has_nulls: bool = False
    tells_first: bool = True
    windows: HoppingWindows = field(init=False)
    counts: Counter[str] = field(default_factory=Counter)
    journal: dict[int, tuple[str, Sequence[int]]] = field(default_factory=dict)
    pending: dict[int, int] = field(default_factory=dict)
    states: dict[str, PartitionState] = field(default_factory=dict)
    closed: list[tuple[str, int, tuple[float, ...]]] = field(default_factory=list)
    skipped: list[tuple[str, int, Unused]] = field(default_factory=list)
    row: int = 0

    def __post_init__(self) -> None:
        self.windows = HoppingWindows(self.spec, 1)

    def feed(
        self, slots: Sequence[int], partition: str = "a", now_s: float = 0.0, *, is_vouched: bool = False
    ) -> Changes:
        """Feed one record and commit what changed."""
        self.row += 1
        self.journal[self.row] = (partition, slots)
        times_ns, values = array(slots, has_nulls=self.has_nulls)
        is_even = len(slots) > 0 and list(slots) == list(range(slots[0], slots[0] + len(slots)))
        first_ns = slots[0] * PERIOD_NS if is_even and self.tells_first else None
        return self.commit(
            self.windows.feed(partition, self.row, times_ns, values, now_s, is_vouched=is_vouched, first_ns=first_ns)
        )

    def tick(self, now_s: float) -> Changes:
        """Let time pass and commit what changed."""
        return self.commit(self.windows.tick(now_s))

    def commit(self, changes: Changes) -> Changes:
        """Apply one call's changes, as one transaction of the store."""
        self.counts.update(changes.counts)
        self.pending.update(changes.pending)
        for row in changes.released:
            del self.journal[row]
            self.pending.pop(row, None)
        for partition, state in changes.states.items():
            if state is None:
                del self.states[partition]
            else:
                self.states[partition] = PartitionState.from_json(state.to_json())
        self.closed += [(w.partition, w.start_ns // PERIOD_NS, tuple(w.values[:, 0].tolist())) for w in changes.closed]
        self.skipped += [(w.partition, w.start_ns // PERIOD_NS, w.reason) for w in changes.skipped]
        return changes

    def crash(self, now_s: float = 0.0) -> None:
        """Forget everything in memory and rebuild it from what was committed."""
        self.windows = HoppingWindows(self.spec, 1)
        self.windows.restore(self.states, now_s)
        for row, (partition, slots) in sorted(self.journal.items()):
            assert self.windows.replay(partition, row, *array(slots, has_nulls=self.has_nulls)) == self.pending[row]

    def starts(self) -> list[int]:
        """Start slots of the windows that were emitted."""
        return [start for _, start, _ in self.closed]

    def check(self) -> None:
        """Every sample is in exactly one state, and every window has one end."""
        counts = {("b", name): value for name, value in self.counts.items()}
        counts["b", Count.SAMPLES_PENDING] = sum(self.pending.values())
        counts["b", Count.WINDOWS_INFERRED] = len(self.closed)
        by_name = {equation.name: equation for equation in equations(counts)}
        assert by_name["samples"].holds, by_name["samples"]
        assert by_name["windows"].holds, by_name["windows"]
        assert self.counts[Count.SAMPLES_DECODED] == by_name["samples"].left.value
        assert set(self.pending) == set(self.journal)


def test_a_full_window_closes_at_once() -> None:
    """The last missing sample closes the window, whatever the lateness."""
    agent = Agent(replace(SPEC, hop_s=1.0, lateness_s=60.0))
    assert not agent.feed(range(9)).closed
    (window,) = agent.feed([9]).closed
    assert (window.start_ns, window.end_ns, window.samples, window.fill) == (0, NS_PER_S, 10, 1.0)
    assert window.identity == (window.partition, 0, NS_PER_S)
    assert window.values.shape == (10, 1)
    assert window.values.dtype == np.float32
    agent.check()


def test_windows_hop_on_the_epoch_grid() -> None:
    """Windows start at multiples of the hop since the epoch, wherever the stream starts."""
    agent = Agent(SPEC)
    agent.feed(range(1003, 1030))
    assert agent.starts() == [1005, 1010, 1015, 1020]
    assert agent.closed[0][2] == tuple(float(slot) for slot in range(1005, 1015))


def test_an_end_is_exclusive() -> None:
    """The sample at a window's end belongs to the next window."""
    agent = Agent(replace(SPEC, hop_s=1.0))
    agent.feed(range(10))
    agent.feed(range(10, 20))
    assert [values[0] for _, _, values in agent.closed] == [0.0, 10.0]


def test_jitter_within_half_a_period_falls_on_the_same_slot() -> None:
    """Times that are off by less than half a period make the same full window."""
    windows = HoppingWindows(replace(SPEC, hop_s=1.0), 1)
    times_ns, values = array(range(10))
    jitter_ns = np.array([0, 40, -40, 49, -50, 1, -1, 30, -30, 49]) * 1_000_000
    (window,) = windows.feed("a", 1, times_ns + jitter_ns, values, 0.0).closed
    assert window.values[:, 0].tolist() == list(range(10))


def test_out_of_order_samples_within_the_lateness_count() -> None:
    """A sample that comes late, but before the watermark passes its window, fills its slot."""
    agent = Agent(replace(SPEC, hop_s=1.0))
    agent.feed([*range(8), 9, *range(10, 14)])
    assert agent.starts() == []
    agent.feed([8])
    assert agent.starts() == [0]
    agent.check()


def test_the_watermark_closes_an_incomplete_window_and_holes_are_held() -> None:
    """Past the lateness the window closes; its hole repeats the value before it."""
    agent = Agent(replace(SPEC, hop_s=1.0))
    agent.feed([*range(5), *range(6, 15)])
    assert agent.starts() == []
    agent.feed([15])
    assert agent.closed == [("a", 0, (0.0, 1.0, 2.0, 3.0, 4.0, 4.0, 6.0, 7.0, 8.0, 9.0))]
    agent.check()


def test_a_sample_whose_windows_are_all_closed_is_late() -> None:
    """What comes after the watermark passed changes nothing and is counted."""
    agent = Agent(replace(SPEC, hop_s=1.0))
    agent.feed([*range(5), *range(6, 16)])
    changes = agent.feed([5])
    assert agent.counts[Count.SAMPLES_LATE] == 1
    assert changes.released == (2,)
    agent.check()


@pytest.mark.parametrize(
    ("missing", "min_fill", "slots", "reason"),
    [
        (Missing.REJECT, 0.0, [*range(5), *range(6, 16)], Unused.GAP),
        (Missing.HOLD, 0.95, [*range(5), *range(6, 16)], Unused.MIN_FILL),
    ],
)
def test_a_window_with_too_many_holes_is_skipped(
    missing: Missing, min_fill: float, slots: list[int], reason: Unused
) -> None:
    """Its samples are unused for the same reason."""
    agent = Agent(replace(SPEC, hop_s=1.0, missing=missing, min_fill=min_fill))
    agent.feed(slots)
    assert agent.skipped == [("a", 0, reason)]
    assert agent.counts[f"samples_unused{{{reason}}}"] == 9
    agent.check()


def test_a_channel_without_any_value_is_a_gap() -> None:
    """Nothing can be held where nothing ever was."""
    windows = HoppingWindows(replace(SPEC, hop_s=1.0, min_fill=0.0), 2)
    times_ns, values = array(range(10), channels=2)
    values[:, 1] = np.nan
    assert not windows.feed("a", 1, times_ns, values, 0.0).counts.get(Count.WINDOWS_CLOSED)
    changes = windows.feed("a", 2, *array([15], channels=2), 0.0)
    assert [(window.reason, window.fill) for window in changes.skipped] == [(Unused.GAP, 0.5)]
    assert changes.counts["samples_unused{gap}"] == 10


def test_a_null_in_a_full_window_is_filled() -> None:
    """A missing value follows the policy, and the fill says so."""
    windows = HoppingWindows(replace(SPEC, hop_s=1.0, missing=Missing.LINEAR), 2)
    times_ns, values = array(range(10), channels=2)
    values[4, 1] = np.nan
    (window,) = windows.feed("a", 1, times_ns, values, 0.0).closed
    assert window.values[4].tolist() == [4.0, 4.0]
    assert window.fill == 0.95


def test_silence_closes_what_is_open() -> None:
    """After the idle time a window that may be filled is emitted, another is skipped, and later samples are late."""
    agent = Agent(replace(SPEC, hop_s=1.0))
    agent.feed(range(9))
    agent.feed(range(3), partition="b", now_s=1.0)
    assert not agent.tick(4.9).closed
    agent.tick(6.0)
    assert agent.closed == [("a", 0, (*map(float, range(9)), 8.0))]
    assert agent.skipped == [("b", 0, Unused.IDLE)]
    agent.feed([9], now_s=7.0)
    assert agent.counts[Count.SAMPLES_LATE] == 1
    assert not agent.pending
    assert not agent.tick(100.0).counts
    agent.check()


def test_the_partition_that_was_silent_longest_gives_way() -> None:
    """Its samples and windows are counted as evicted, its rows are released, its state is forgotten."""
    agent = Agent(SPEC)
    agent.feed(range(3), partition="a")
    agent.feed(range(3), partition="b", now_s=1.0)
    agent.feed([3], partition="a", now_s=2.0)
    changes = agent.feed(range(3), partition="c", now_s=3.0)
    assert changes.states["b"] is None
    assert {partition for partition, _, _ in agent.skipped} == {"b"}
    assert agent.counts["samples_unused{partition_evicted}"] == 3
    assert 2 in changes.released
    assert changes.states.keys() == {"b", "c"}
    agent.check()


def test_a_second_sample_in_a_slot_is_counted_and_not_used() -> None:
    """The first one stays."""
    agent = Agent(replace(SPEC, hop_s=1.0))
    agent.feed([0, 0, *range(1, 9)])
    agent.feed([3, 9])
    assert agent.counts["samples_unused{same_slot}"] == 2
    assert agent.starts() == [0]
    agent.check()


def test_a_row_is_needed_until_no_open_window_covers_it() -> None:
    """With overlapping windows a used sample keeps its row until its last window closes."""
    agent = Agent(SPEC)
    agent.feed(range(10))
    assert agent.starts() == [0]
    assert agent.pending == {1: 0}
    changes = agent.feed(range(10, 15))
    assert changes.released == (1,)
    assert agent.counts[Count.SAMPLES_USED] == 15
    agent.check()


def test_a_record_that_only_goes_on_changes_nothing_but_its_own_row() -> None:
    """Nearly all records do: what the partition's last state says is true after them, too."""
    agent = Agent(SPEC)
    agent.feed([10])
    changes = agent.feed([11, 12])
    assert (changes.pending, changes.states, changes.released) == ({2: 2}, {}, ())
    assert agent.feed([14]).states == {"a": agent.states["a"]}  # the window up to 14 might have been full
    assert agent.feed([16, 18]).states == {"a": agent.states["a"]}  # holes


def test_a_sample_of_an_emitted_window_is_late_after_a_crash_too() -> None:
    """The window's rows are gone; its state says where it ended."""
    agent = Agent(replace(SPEC, hop_s=1.0))
    agent.feed(range(10))
    agent.crash(0.0)
    agent.feed([6])
    assert (agent.counts[Count.SAMPLES_LATE], agent.counts[Count.SAMPLES_USED]) == (1, 10)


def test_a_leap_in_time_costs_no_memory() -> None:
    """Decades between two samples, in one record or two, are not spanned by a buffer."""
    agent = Agent(SPEC)
    agent.feed([0, 1, 18_000_000_000])
    agent.feed([18_500_000_000])
    agent.feed([2])
    assert agent.counts[Count.SAMPLES_LATE] == 1
    agent.check()


GUARDED = replace(SPEC, hop_s=1.0, max_leap_s=3.0)


def test_one_record_from_the_future_makes_nothing_late() -> None:
    """It is held, and given up once the partition is silent; what came meanwhile is used."""
    agent = Agent(GUARDED)
    agent.feed(range(5))
    assert agent.feed([10_000, 10_001]).pending == {2: 2}
    agent.feed(range(5, 20))
    assert agent.starts() == [0, 10]
    agent.tick(10.0)
    assert agent.counts["samples_unused{leap}"] == 2
    assert (agent.counts[Count.SAMPLES_LATE], agent.counts[Count.SAMPLES_USED], agent.pending) == (0, 20, {})
    agent.check()


def test_a_second_record_that_agrees_confirms_a_leap() -> None:
    """Both are used, and what the stream said before is late from then on."""
    agent = Agent(GUARDED)
    agent.feed([0])
    agent.feed(range(10_000, 10_005))
    agent.feed(range(10_005, 10_010), now_s=0.5)
    agent.feed([1])
    assert agent.starts()[-1] == 10_000
    assert (agent.counts[Count.SAMPLES_LATE], agent.counts["samples_unused{leap}"]) == (1, 0)
    agent.check()


def test_of_two_leaps_that_disagree_the_later_is_held() -> None:
    """One glitch after the other: neither makes the stream late."""
    agent = Agent(GUARDED)
    agent.feed([0])
    agent.feed([90_000])
    assert agent.feed([50_000]).pending == {3: 1}
    assert agent.counts["samples_unused{leap}"] == 1
    agent.feed([1])
    assert agent.counts[Count.SAMPLES_LATE] == 0
    agent.check()


def test_a_leap_that_a_clock_or_the_time_that_went_by_explains_is_none() -> None:
    """A sensor that sends once in an hour is not doubted, and neither is what a synchronised clock vouches for."""
    agent = Agent(GUARDED)
    agent.feed(range(10))
    agent.feed(range(36_000, 36_010), now_s=3_600.0)
    agent.feed(range(72_000, 72_010), now_s=3_601.0, is_vouched=True)
    assert agent.starts() == [0, 36_000, 72_000]


def test_a_held_record_is_used_once_the_stream_comes_near() -> None:
    """It came before its time, but not from nowhere."""
    agent = Agent(GUARDED)
    agent.feed([0])
    agent.feed(range(40, 50))
    agent.feed([20])
    assert agent.starts()[-1] == 40
    agent.check()


def test_a_held_record_is_given_up_once_the_stream_is_past_it() -> None:
    """Its windows are made without it."""
    agent = Agent(GUARDED)
    agent.feed([0])
    agent.feed([40])
    agent.feed([60], is_vouched=True)
    assert agent.counts["samples_unused{leap}"] == 1
    agent.check()


def test_a_held_record_outlives_a_crash() -> None:
    """It waits in the journal, and a second one confirms it."""
    agent = Agent(GUARDED)
    agent.feed([0])
    agent.feed(range(10_000, 10_005))
    agent.crash()
    agent.feed([1])
    agent.feed(range(10_005, 10_010))
    assert agent.starts()[-1] == 10_000
    agent.check()


def test_samples_that_the_decoder_took_out_are_counted() -> None:
    """A record with nothing else in it leaves nothing behind."""
    windows = HoppingWindows(SPEC, 1)
    changes = windows.feed("a", 1, *array([]), 0.0, out_of_range=4)
    assert changes.counts == {Count.SAMPLES_DECODED: 4, Count.SAMPLES_OUT_OF_RANGE: 4}
    assert changes.released == (1,)


def test_a_spec_off_the_grid_is_refused() -> None:
    """A window of a fraction of a sample cannot be made."""
    with pytest.raises(ValueError, match=r"1.05 s every 0.5 s is no whole number of samples"):
        HoppingWindows(replace(SPEC, size_s=1.05), 1)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"v":1,"shape":"","closed_through_ns":0,"emitted":[1]}'])
def test_a_foreign_state_is_refused(text: str) -> None:
    """What this program did not write is no state."""
    with pytest.raises(ValueError, match="no state of a partition"):
        PartitionState.from_json(text)


def test_a_newer_state_is_refused() -> None:
    """A later version may mean other things."""
    with pytest.raises(ValueError, match="version 2"):
        PartitionState.from_json('{"v":2,"shape":"","closed_through_ns":0,"emitted":[]}')


@pytest.mark.parametrize(
    "spec",
    [
        replace(SPEC, size_s=0.5),
        replace(SPEC, hop_s=1.0),
        replace(SPEC, rate_hz=20.0),
        replace(SPEC, captures=("site", "machine")),  # the kept partitions' names mean something else
    ],
)
def test_windows_of_another_shape_do_not_go_on_from_a_state(spec: HoppingSpec) -> None:
    """After a change of the configuration the open windows are given up, and their samples are counted."""
    agent = Agent(SPEC)
    agent.feed(range(8))
    agent.windows = HoppingWindows(spec, 1)
    assert agent.windows.restore(agent.states, 0.0) == {"a"}
    agent.commit(abandoned("a", agent.pending))
    assert agent.counts["samples_unused{partition_evicted}"] == 8
    assert not agent.journal
    assert not agent.states
    agent.check()


def test_another_lateness_goes_on_from_a_state() -> None:
    """What does not change the windows does not end them."""
    agent = Agent(SPEC)
    agent.feed(range(9))
    agent.spec = replace(SPEC, lateness_s=9.0, idle_s=1.0, max_partitions=1)
    agent.crash()
    agent.feed([9])
    assert agent.starts() == [0]
    agent.check()


# --- properties -------------------------------------------------------------------------------------------------------

SPECS = st.builds(
    HoppingSpec,
    rate_hz=st.just(10.0),
    size_s=st.sampled_from([0.1, 0.5, 1.0]),
    hop_s=st.sampled_from([0.1, 0.2, 0.3, 0.5, 1.0]),
    lateness_s=st.sampled_from([0.0, 0.2, 0.7, 3.0]),
    idle_s=st.just(5.0),
    min_fill=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    missing=st.sampled_from(list(Missing)),
    max_partitions=st.sampled_from([1, 2, 10]),
    max_leap_s=st.sampled_from([1.0, 4.0, math.inf]),
).filter(lambda spec: spec.hop_s <= spec.size_s)

RECORDS = st.tuples(
    st.sampled_from("abc"),
    st.one_of(
        st.lists(st.integers(0, 60), max_size=12),
        st.builds(lambda start, n: list(range(start, start + n)), st.integers(0, 60), st.integers(1, 12)),
    ),
)
STEPS = st.lists(st.one_of(RECORDS, st.floats(0.0, 6.0)), max_size=25)
"""Records, and silences in seconds."""


def run(agent: Agent, steps: Sequence[tuple[str, list[int]] | float], crashes: frozenset[int]) -> None:
    """Play steps, crashing before some."""
    now_s = 0.0
    for index, step in enumerate(steps):
        if index in crashes:
            agent.crash(now_s)
        if isinstance(step, float):
            now_s += step
            agent.tick(now_s)
        else:
            agent.feed(step[1], partition=step[0], now_s=now_s)
        agent.check()


@settings(max_examples=150, deadline=None)
@given(spec=SPECS, steps=STEPS, has_nulls=st.booleans())
def test_every_sample_is_counted_once_in_any_order(
    spec: HoppingSpec, steps: list[tuple[str, list[int]] | float], *, has_nulls: bool
) -> None:
    """Conservation holds after every step, and nothing is pending once everything fell silent."""
    agent = Agent(spec, has_nulls)
    run(agent, steps, frozenset())
    agent.tick(1e9)
    agent.check()
    assert agent.pending == {}
    assert agent.journal == {}


@settings(max_examples=150, deadline=None)
@given(
    spec=SPECS,
    steps=st.lists(RECORDS, max_size=25),
    crashes=st.frozensets(st.integers(0, 24), max_size=4),
    has_nulls=st.booleans(),
)
def test_a_crash_changes_nothing(
    spec: HoppingSpec, steps: list[tuple[str, list[int]]], crashes: frozenset[int], *, has_nulls: bool
) -> None:
    """With crashes anywhere, the same windows are emitted and skipped, and the same counts stand."""
    spec = replace(spec, max_partitions=10)  # which partition was silent longest does not outlive a crash
    with_crashes, without = Agent(spec, has_nulls), Agent(spec, has_nulls)
    run(with_crashes, steps, crashes)
    run(without, steps, frozenset())
    for agent in (with_crashes, without):
        agent.tick(1e9)
        agent.check()
    assert sorted(with_crashes.closed) == sorted(without.closed)
    assert sorted(with_crashes.skipped) == sorted(without.skipped)
    assert with_crashes.counts == without.counts


@settings(max_examples=150, deadline=None)
@given(
    spec=st.builds(lambda spec, size_s: replace(spec, size_s=size_s, hop_s=size_s), SPECS, st.sampled_from([0.2, 0.5])),
    steps=STEPS,
    wholes=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12)), max_size=10),
    has_nulls=st.booleans(),
    data=st.data(),
)
def test_a_record_that_is_a_whole_window_changes_what_its_samples_would(
    spec: HoppingSpec,
    steps: list[tuple[str, list[int]] | float],
    wholes: list[tuple[str, int]],
    *,
    has_nulls: bool,
    data: st.DataObject,
) -> None:
    """The short way and the long way agree after each step, among records of any other kind."""
    size = round(spec.size_s * 10)
    mixed = data.draw(st.permutations([*steps, *((name, list(range(k * size, (k + 1) * size))) for name, k in wholes)]))
    short, long = Agent(spec, has_nulls), Agent(spec, has_nulls, tells_first=False)
    for index in range(len(mixed)):
        now_s = 0.1 * index
        for agent in (short, long):
            step = mixed[index]
            if isinstance(step, float):
                agent.tick(now_s + step)
            else:
                agent.feed(step[1], partition=step[0], now_s=now_s)
        assert (short.closed, short.skipped, short.counts, short.pending, short.states) == (
            long.closed,
            long.skipped,
            long.counts,
            long.pending,
            long.states,
        )


@settings(max_examples=100, deadline=None)
@given(spec=SPECS, cuts=st.lists(st.integers(1, 9), min_size=1, max_size=12), start=st.integers(0, 40))
def test_a_stream_without_holes_gives_every_whole_window(spec: HoppingSpec, cuts: list[int], start: int) -> None:
    """However it is cut into records, each window inside the stream is emitted once, with its own values."""
    agent, at = Agent(replace(spec, max_leap_s=math.inf)), start
    for length in cuts:
        agent.feed(range(at, at + length))
        at += length
    size, hop = round(spec.size_s * 10), round(spec.hop_s * 10)
    whole = [first for first in range(0, at, hop) if first >= start and first + size <= at]
    emitted = [(first, values) for _, first, values in agent.closed if first in whole]
    assert emitted == [(first, tuple(map(float, range(first, first + size)))) for first in whole]


@settings(max_examples=100, deadline=None)
@given(spec=SPECS, steps=st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=12), max_size=12))
def test_emitted_windows_are_those_of_a_plain_reference(spec: HoppingSpec, steps: list[list[int]]) -> None:
    """One sample at a time and sets instead of arrays give the same windows."""
    spec = replace(spec, missing=Missing.HOLD, max_leap_s=math.inf)
    agent = Agent(spec)
    for slots in steps:
        agent.feed([slots[0]])
        for slot in slots[1:]:
            agent.feed([slot])
    assert sorted(agent.starts()) == sorted(reference(spec, [slot for slots in steps for slot in slots]))


def reference(spec: HoppingSpec, slots: list[int]) -> list[int]:
    """Starts of the windows that close before the stream ends."""
    size, hop, lateness = round(spec.size_s * 10), round(spec.hop_s * 10), round(spec.lateness_s * 10)
    windows: dict[int, set[int]] = {}
    closed: set[int] = set()
    emitted: list[int] = []
    watermark = -(10**9)
    for slot in slots:
        for k in range((slot - size) // hop + 1, slot // hop + 1):
            if k not in closed and k * hop + size > watermark:
                windows.setdefault(k, set()).add(slot)
        watermark = max(watermark, slot - lateness)
        for k, held in windows.items():
            is_full = len(held) == size
            if k not in closed and (is_full or k * hop + size <= watermark):
                closed.add(k)
                if len(held) / size >= spec.min_fill:
                    emitted.append(k * hop)
    return emitted
