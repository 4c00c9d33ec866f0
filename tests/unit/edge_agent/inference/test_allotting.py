"""Who may ask the hub: never more than the budget has, in whatever order draws, answers, leases and failures come."""

import threading
from dataclasses import dataclass, field

from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_agent.core.audit_lottery import KEY_BYTES
from edge_agent.core.budget import Bucket, BucketSpec, Granted, Pool, Resource, abandon, lease, refilled, settle
from edge_agent.core.decision import Facts, Policy, Shortage, decide
from edge_agent.core.rate_limit import RateLimit
from edge_agent.inference.allotting import Allotment
from edge_agent.inference.rationing import LEASE_CALLS, Ration
from model_packs.outputs import Classification
from model_packs.scoring import Scored
from protos.messages.escalation import PredictionId
from tests.unit.edge_agent.adapters.sqlite.builders import TestClock

SPECS = {Pool.MAIN: BucketSpec(6.0, 0.05), Pool.AUDIT: BucketSpec(3.0, 0.02), Pool.UNSCORABLE: BucketSpec(1.0, 0.01)}
POLICY = Policy(threshold=0.5, audit_rate=0.7)


def scored(confidence: float) -> Scored:
    """An answer; below 0, one without a score."""
    if confidence < 0:
        return Scored(None, 0.0, "not_finite")
    return Scored(Classification("ok", {"ok": confidence, "worn": 1 - confidence}), confidence, None)


@dataclass
class Ledger:
    """The durable side in memory: buckets that outlive the processes."""

    clock: TestClock
    buckets: dict[Pool, Bucket] = field(default_factory=lambda: {pool: Bucket(SPECS[pool].capacity) for pool in Pool})
    since_s: dict[Pool, float] = field(default_factory=dict)
    own: set[Pool] = field(default_factory=set)

    def lease(self, pool: Pool, wanted: int, spent: int) -> Granted:
        """As `BudgetLedger` does it, for calls."""
        now_s = self.clock.monotonic_s()
        passes = refilled if pool in self.own else abandon
        elapsed_s = now_s - self.since_s.get(pool, now_s)
        bucket = settle(passes(self.buckets[pool], SPECS[pool], elapsed_s), spent)
        self.buckets[pool], granted = lease(bucket, wanted, 1.0)
        self.since_s[pool] = now_s
        self.own.add(pool)
        calls = round(granted)
        return Granted(calls, Resource.CALLS if calls < wanted else None, int(self.buckets[pool].level))


@dataclass
class Device:
    """Callers at any stage of being answered, over crashes; and what was spent when."""

    clock: TestClock = field(default_factory=TestClock)
    spends: list[tuple[float, Pool]] = field(default_factory=list)
    open_: list[list[Facts]] = field(default_factory=list)
    number: int = 0

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.clock)
        self.start()

    def start(self) -> None:
        """A new process: nothing in hand, nobody half answered."""
        self.ration, self.open_ = Ration(self.ledger, horizon_s=30.0), []
        self.allotment = Allotment(self.ration, RateLimit(BucketSpec(1e6, 1.0)), bytes(KEY_BYTES), self.clock)
        self.ledger.own.clear()

    def draw(self, count: int) -> None:
        """A caller begins, with so many questions."""
        names = [PredictionId(f"p{self.number + place}") for place in range(count)]
        self.number += count
        self.open_.append(self.allotment.draw(names, POLICY, [None] * count))

    def answer(self, which: int, confidence: float) -> None:
        """A caller is answered, all questions alike."""
        drawn = self.open_.pop(which % len(self.open_))
        answers = [scored(confidence)] * len(drawn)
        facts = self.allotment.allot(drawn, answers, ["a"] * len(drawn), POLICY)
        for answer, one in zip(answers, facts, strict=True):
            decision = decide(answer, POLICY, one)
            assert decision.escalate or not one.is_drawn, "what was drawn is never suppressed"
            if decision.escalate:
                is_by_lot = decision.is_audit or decision.shortage is not None
                pool = Pool.AUDIT if is_by_lot else Pool.UNSCORABLE if answer.unscorable else Pool.MAIN
                self.spends.append((self.clock.monotonic_s(), pool))

    def fail(self, which: int) -> None:
        """A caller gets no answer: the engine failed, or its request was none."""
        self.allotment.give_back(self.open_.pop(which % len(self.open_)))

    def take(self, what: str, amount: int, confidence: float) -> None:
        """One step, of those below; nobody is answered where nobody asks."""
        match what:
            case "draw":
                self.draw(amount)
            case "answer" if self.open_:
                self.answer(amount, confidence)
            case "fail" if self.open_:
                self.fail(amount)
            case "top_up":
                self.ration.top_up()
            case "pass":
                self.clock.pass_s(float(amount))
            case "crash":
                self.start()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("draw"), st.integers(1, 5), st.just(0.0)),
        st.tuples(st.just("answer"), st.integers(0, 9), st.sampled_from([-1.0, 0.0, 0.2, 0.4, 0.9])),
        st.tuples(st.just("fail"), st.integers(0, 9), st.just(0.0)),
        st.tuples(st.just("top_up"), st.just(0), st.just(0.0)),
        st.tuples(st.just("pass"), st.integers(1, 60), st.just(0.0)),
        st.tuples(st.just("crash"), st.just(0), st.just(0.0)),
    ),
    max_size=60,
)
TWO_AT_ONCE = [("top_up", 0, 0.0), *[("draw", 5, 0.0)] * 3, *[("answer", 0, 0.9)] * 3]


@settings(max_examples=300, deadline=None)
@given(STEPS)
@example(TWO_AT_ONCE)
def test_no_interleaving_of_callers_exceeds_the_budget(steps: list[tuple[str, int, float]]) -> None:
    """Of every pool, in every stretch of time: spent <= capacity + rate * time."""
    device = Device()
    for step in steps:
        device.take(*step)
    for pool, spec in SPECS.items():
        times = [at_s for at_s, spent in device.spends if spent is pool]
        for first, from_s in enumerate(times):
            for more, to_s in enumerate(times[first:], start=1):
                assert more <= spec.capacity + spec.per_s * (to_s - from_s) + 1e-6


def test_callers_at_once_draw_as_many_audits_as_there_are_calls() -> None:
    """Each draw takes its call in hand, so that no other caller counts on it; what is given back is drawn again."""
    device = Device()
    device.ration.top_up()
    gate, drawn = threading.Barrier(8), []
    policy = Policy(threshold=0.5, audit_rate=1.0)

    def call(place: int) -> None:
        gate.wait(30)
        drawn.extend(device.allotment.draw([PredictionId(f"c{place}")], policy, [None]))

    threads = [threading.Thread(target=call, args=(place,)) for place in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    assert sum(one.is_drawn for one in drawn) == 3
    assert {one.audit_rate for one in drawn if not one.is_drawn} == {0.0}, "its chance was none, and is told so"
    device.allotment.give_back(drawn)
    assert device.ration.available(Pool.AUDIT) == 3


def test_an_audit_that_the_policy_asks_anyway_costs_the_reserve_nothing() -> None:
    """One call is made, and the main pool pays it."""
    device = Device()
    device.ration.top_up()
    drawn = [Facts(is_drawn=True, audit_rate=0.7)]
    device.ration.hold(Pool.AUDIT)
    (facts,) = device.allotment.allot(drawn, [scored(0.1)], ["a"], POLICY)
    assert facts.shortage is None
    assert (device.ration.available(Pool.MAIN), device.ration.available(Pool.AUDIT)) == (5, 3)


def test_a_smaller_gain_leaves_its_call_to_larger_ones_over_passes() -> None:
    """While calls are short, what comes first is not what is asked; the reason is told."""
    device = Device()
    device.ration.top_up()
    told = []
    for confidence in (0.4, 0.0, 0.4, 0.0, 0.4, 0.0, 0.4, 0.0):
        (facts,) = device.allotment.allot([Facts()], [scored(confidence)], ["a"], POLICY)
        told.append((confidence, facts.shortage))
    assert all(short is None for confidence, short in told if confidence == 0.0)
    assert told[-2] == (0.4, Shortage.OUTRANKED)


def test_without_a_bound_everything_is_asked() -> None:
    """No gain is weighed, and no lease is needed."""
    ration = Ration(None)
    ration.top_up()
    assert ration.worthy([0.0, 1.0], 0.0) == [True, True]
    ration.hold(Pool.AUDIT)
    ration.give_back(Pool.AUDIT)
    assert ration.available(Pool.AUDIT) > LEASE_CALLS
