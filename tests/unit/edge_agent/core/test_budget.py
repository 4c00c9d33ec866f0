"""What the budget allows, in whatever order things happen."""

from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_agent.core.budget import Bucket, BucketSpec, abandon, choose, lease, refilled, settle

SPEC = BucketSpec(capacity=10.0, per_s=0.5)


def test_a_lease_takes_whole_units_and_no_more_than_there_is() -> None:
    """What does not make a unit stays in the bucket."""
    after, granted = lease(Bucket(7.5), 20.0, 2.0)
    assert granted == 6.0
    assert after == Bucket(1.5, leased=6.0)


def test_tokens_on_lease_leave_no_room_for_new_ones() -> None:
    """A bucket and its leases together never exceed the capacity."""
    assert refilled(Bucket(1.0, leased=6.0), SPEC, 1000.0) == Bucket(4.0, leased=6.0)
    assert refilled(Bucket(1.0, leased=12.0), SPEC, 1000.0).level == 0.0


@pytest.mark.parametrize("elapsed_s", [-5.0, 0.0])
def test_time_that_goes_back_brings_nothing(elapsed_s: float) -> None:
    """And takes nothing away."""
    assert refilled(Bucket(3.0), SPEC, elapsed_s) == Bucket(3.0)


def test_a_smaller_capacity_holds_at_once() -> None:
    """Tokens above it are gone."""
    assert refilled(Bucket(9.0), BucketSpec(5.0, 1.0), 0.0) == Bucket(5.0)


def test_what_is_spent_frees_room_and_what_is_abandoned_is_lost() -> None:
    """A crash never gives tokens back."""
    assert settle(Bucket(1.0, leased=5.0), 2.0) == Bucket(1.0, leased=3.0, spent=2.0)
    assert abandon(Bucket(1.0, leased=5.0), SPEC, 0.0) == Bucket(1.0)
    assert abandon(Bucket(5.0, leased=5.0), SPEC, 60.0) == Bucket(5.0), "it may have spent them just now"


@given(st.lists(st.floats(0, 1), max_size=12), st.integers(-2, 14))
def test_the_largest_gains_are_asked_first(gains: list[float], affordable: int) -> None:
    """As many as can be afforded, and none that is left out is worth more than one that is asked."""
    asked = choose(gains, affordable)
    assert len(asked) == min(len(gains), max(0, affordable))
    left = [gain for place, gain in enumerate(gains) if place not in asked]
    assert all(gains[place] >= max(left, default=0.0) for place in asked)


@dataclass
class Process:
    """One life of a program: what it leased and has not spent."""

    held: float = 0.0
    unreported: float = 0.0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("lease"), st.integers(0, 15)),
        st.tuples(st.just("spend"), st.integers(0, 15)),
        st.tuples(st.just("report"), st.just(0)),
        st.tuples(st.just("crash"), st.just(0)),
        st.tuples(st.just("pass"), st.floats(0, 30)),
        st.tuples(st.just("step"), st.floats(-1e6, 1e6)),
    ),
    max_size=60,
)


@settings(max_examples=1000, deadline=None)
@given(STEPS)
@example([("lease", 1), ("pass", 2.0), ("spend", 1), ("crash", 0), ("lease", 10), ("spend", 10)])
def test_no_interleaving_exceeds_the_budget(steps: list[tuple[str, float]]) -> None:
    """In every stretch of time: spent <= capacity + rate * time, over leases, spends, crashes and steps of a clock."""
    bucket, process, is_own = Bucket(SPEC.capacity), Process(), True
    time_s = since_s = 0.0
    spends: list[tuple[float, float]] = []
    for what, amount in steps:
        if what == "pass":
            time_s += amount
        elif what == "step":  # the wall clock; the ledger measures with the one that never steps
            continue
        elif what == "spend":
            spent = min(amount, process.held)
            process.held -= spent
            process.unreported += spent
            spends.append((time_s, spent))
        elif what == "crash":
            process, is_own = Process(), False
        else:
            passes = refilled if is_own else abandon
            bucket, since_s, is_own = passes(bucket, SPEC, time_s - since_s), time_s, True
            bucket = settle(bucket, process.unreported)
            process.unreported = 0.0
            if what == "lease":
                bucket, granted = lease(bucket, amount, 1.0)
                process.held += granted
        assert bucket.level + bucket.leased <= SPEC.capacity + 1e-6
    for first, (from_s, _) in enumerate(spends):
        total = 0.0
        for to_s, spent in spends[first:]:
            total += spent
            assert total <= SPEC.capacity + SPEC.per_s * (to_s - from_s) + 1e-6
