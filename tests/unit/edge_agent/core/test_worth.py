"""Where calls go while they are short: to the largest gains of lately, and never to fewer than there are calls for."""

import random
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.budget import Bucket, BucketSpec, choose, lease, refilled
from edge_agent.core.worth import Worth

HOUR_S = 3600.0
SPEC = BucketSpec(capacity=100.0, per_s=100.0 / HOUR_S)
HORIZON_S = 900.0
GAINS = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@given(GAINS, st.integers(0, 40))
def test_while_calls_are_not_short_all_are_worth_one(gains: list[float], more: int) -> None:
    """Nothing is kept back that nobody else wants."""
    assert all(Worth(HORIZON_S).worthy(gains, len(gains) + more, 0.0))


@given(GAINS, GAINS, st.integers(1, 30), st.floats(0, 5000))
def test_a_larger_gain_is_never_refused_for_a_smaller_one(
    earlier: list[float], gains: list[float], calls: int, later_s: float
) -> None:
    """Whatever was seen before and whenever; steps of 0.001 are told apart."""
    worth = Worth(HORIZON_S)
    worth.worthy(earlier, calls, 0.0)
    told = worth.worthy(gains, calls, later_s)
    asked = [gain for gain, is_worthy in zip(gains, told, strict=True) if is_worthy]
    refused = [gain for gain, is_worthy in zip(gains, told, strict=True) if not is_worthy]
    assert min(asked, default=1.0) >= max(refused, default=0.0) - 0.001
    if max(gains) >= max(earlier):
        assert told[gains.index(max(gains))], "the largest of all is always worth a call that is left"


def test_without_calls_nothing_is_worth_one() -> None:
    """There is nothing to give."""
    assert Worth(HORIZON_S).worthy([1.0, 0.0], 0, 0.0) == [False, False]


def test_what_was_seen_long_ago_counts_no_more() -> None:
    """A busy hour yesterday holds nothing back today; a clock that goes back changes nothing."""
    worth = Worth(HORIZON_S)
    worth.worthy([0.9] * 50, 5, 0.0)
    assert worth.worthy([0.1], 5, -100.0) == [False]
    assert worth.worthy([0.1], 5, 20 * HORIZON_S) == [True]


@dataclass(frozen=True)
class While:
    """What the calls of some hours brought: the gains of those asked, and the most that so many calls could have."""

    brought: float
    asked: int
    most: float


def a_while(rank: bool, demand_per_s: float, seed: int) -> While:  # noqa: FBT001 - the two rules
    """Questions come one by one, at random; calls come at the bucket's rate."""
    draw, worth, bucket = random.Random(seed), Worth(HORIZON_S), Bucket(SPEC.capacity)  # noqa: S311 - a simulation
    now_s = brought = 0.0
    seen: list[float] = []
    asked = 0
    while now_s < 8 * HOUR_S:
        step_s = draw.expovariate(demand_per_s)
        now_s, bucket = now_s + step_s, refilled(bucket, SPEC, step_s)
        seen.append(gain := draw.betavariate(1.0, 3.0))
        left = int(bucket.level)
        is_worthy = worth.worthy([gain], left, now_s)[0] if rank else True
        if left and is_worthy:
            bucket = Bucket(lease(bucket, 1.0, 1.0)[0].level)
            brought, asked = brought + gain, asked + 1
    best = choose(seen, asked)
    return While(brought, asked, sum(seen[place] for place in best))


def test_over_hours_calls_go_to_the_largest_gains() -> None:
    """At five times more demand than calls they bring nearly what hindsight could, where first come brings half."""
    ranked, first_come = a_while(True, 500 / HOUR_S, 1), a_while(False, 500 / HOUR_S, 1)
    assert ranked.brought > 0.9 * ranked.most
    assert first_come.brought < 0.6 * first_come.most
    assert ranked.asked > 0.93 * first_come.asked, "few calls are left over"


def test_a_demand_within_the_budget_is_answered_whole() -> None:
    """Calls are not held back for questions that do not come."""
    assert a_while(True, 50 / HOUR_S, 1).asked == a_while(False, 50 / HOUR_S, 1).asked
