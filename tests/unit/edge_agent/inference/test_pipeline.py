"""The pass: what comes in is answered together, once, with the same ids after any crash, and nothing is uncounted."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from edge_agent.core.accounting import Count, of_reason
from edge_agent.core.budget import BucketSpec, Granted, Pool, Resource
from edge_agent.core.decision import Barrier, Policy
from edge_agent.inference.pipeline import FAILED_ALONE, IDLE_WAIT_S, QUEUE_FULL, QUICK_S
from edge_agent.inference.rationing import Ration
from edge_agent.ports import Unit
from model_packs.errors import RunTimeoutError
from protos.messages.escalation import ItemClass, Reason
from tests.unit.edge_agent.inference.pipeline_parts import BROKER, SAMPLES, Bench, message


def test_a_pass_answers_every_window_that_closed_in_it() -> None:
    """What waits is drained together, inferred in batches of the pack's size, and published at once."""
    bench = Bench()
    for number in range(6):
        bench.send(number)
    bench.run()
    assert bench.session.batches == [4, 2]
    assert [event["status"] for event in bench.events()] == ["final"] * 6
    assert [publish.topic for publish in bench.broker.answers] == ["plant/m1/inference"] * 6
    assert bench.broker.acknowledged == list(range(6))
    assert bench.store.broken_equations() == []


def test_an_answer_goes_out_before_its_record_is_committed() -> None:
    """Publishing does not wait for the disk; only the acknowledgement does."""
    bench = Bench()
    bench.send(1)
    bench.pipeline.run_once()
    assert len(bench.broker.answers) == 1
    assert bench.broker.acknowledged == []
    bench.commit()
    assert bench.broker.acknowledged == [1]


class Lender:
    """A ledger with so many calls in all."""

    def __init__(self, calls: dict[Pool, int]) -> None:
        self.calls = dict.fromkeys(Pool, 0) | calls
        self.spent: Counter[Pool] = Counter()

    def lease(self, pool: Pool, wanted: int, spent: int) -> Granted:
        """Grant what there is."""
        granted = min(wanted, self.calls[pool])
        self.calls[pool] -= granted
        self.spent[pool] += spent
        return Granted(granted, Resource.CALLS if granted < wanted else None)


def test_one_record_from_the_future_costs_nothing_where_no_clock_can_tell() -> None:
    """It waits for a second one like it, while the stream goes on; the device's clock is not synchronised."""
    bench = Bench()
    bench.clock.synced = False
    for number in (1, 5_000_000, 2, 3):
        bench.send(number)
    bench.run()
    assert len(bench.events()) == 3
    assert sum(row.pending for unit in bench.units for row in unit.journal) == SAMPLES


def test_an_unsure_answer_is_provisional_and_asks_the_hub() -> None:
    """The escalation carries the window itself, the reason and what the edge thought."""
    bench = Bench(policy=Policy(threshold=None))
    bench.send(1)
    bench.run()
    (asked,) = [one.escalate for unit in bench.units for one in unit.decided]
    assert asked is not None
    assert asked.hub_pack == "tiny-hub@1.0.0"
    assert asked.inputs[0].shape == (1, 5, 2)
    assert asked.edge_output is not None
    assert bench.events()[0]["status"] == "provisional"
    assert bench.events()[0]["escalation"] == {
        "reason": "low_confidence",
        "outcome": "queued",
        "propensity": 1.0,
        "policy_version": 0,
    }
    assert (asked.group, asked.policy_version, asked.propensity) == ("idle", 0, 1.0)


def test_without_a_hub_an_unsure_answer_is_final() -> None:
    """Behind a barrier nothing is asked, and the reason is said all the same."""
    bench = Bench(policy=Policy(threshold=None, barrier=Barrier.NO_HUB))
    bench.send(1)
    bench.run()
    assert bench.events()[0]["status"] == "final"
    assert bench.units[0].decided[0].escalate is None


def test_a_repeated_record_is_counted_and_acknowledged_once_more() -> None:
    """The broker may send again what was acknowledged; it is recognised by its key and never inferred twice."""
    bench = Bench()
    bench.send(1)
    bench.send(1)
    bench.run()
    bench.boot()
    bench.send(1)
    bench.run()
    assert bench.count(Count.RECORDS_DUPLICATE) == 2
    assert len(bench.events()) == 1
    assert bench.broker.unacknowledged == {}
    assert bench.store.broken_equations() == []


def test_dedupe_keys_are_bounded_in_memory_and_store() -> None:
    """The oldest key is forgotten in both, in the unit that remembers the newest."""
    bench = Bench(seen_limit=3)
    for number in range(10):
        bench.send(number)
        bench.run()
    assert len(bench.store.seen) == 3
    bench.send(9)
    bench.run()
    assert bench.count(Count.RECORDS_DUPLICATE) == 1


@pytest.mark.parametrize("payload", [b"\xff", b"[]", b"{}", message(1).replace(b"0.5", b'"x"'), b"[" * 5000])
def test_a_broken_record_is_dead_lettered_and_costs_no_other_anything(payload: bytes) -> None:
    """It is acknowledged and kept with its reason; the records beside it are answered."""
    bench = Bench()
    bench.send(0)
    bench.send(1, payload)
    bench.send(2)
    bench.run()
    (letter,) = bench.units[0].dead_letters
    assert letter.payload == payload
    assert bench.count(of_reason(Count.RECORDS_DEAD_LETTERED, letter.reason)) == 1
    assert len(bench.events()) == 2
    assert bench.broker.unacknowledged == {}
    assert bench.store.broken_equations() == []


def test_an_engine_error_makes_only_its_own_window_unscorable() -> None:
    """The batch is taken apart: the window that breaks the engine escalates with confidence 0, others are scored."""
    bench = Bench()
    bench.session.poison = 7.0
    bench.send(0)
    bench.send(1, message(1, value=7.0))
    bench.send(2)
    bench.run()
    assert [event["confidence"] > 0 for event in bench.events()] == [True, False, True]
    assert bench.events()[1]["escalation"]["reason"] == "unscorable"
    assert bench.events()[1]["output"] is None
    assert bench.store.broken_equations() == []


def test_a_run_that_took_too_long_is_not_tried_again_window_by_window() -> None:
    """Each might take as long: all are unscorable at once, and each counts against the pack."""
    bench = Bench()
    bench.session.poison = 7.0
    bench.session.failure = RunTimeoutError("it took more than 10 s", "use a smaller model")
    bench.send(0)
    bench.send(1, message(1, value=7.0))
    bench.run()
    assert bench.session.tries == 1
    assert [event["escalation"]["reason"] for event in bench.events()] == ["unscorable"] * 2
    assert len(bench.engine_failures) == 2
    assert bench.store.broken_equations() == []


def test_an_engine_that_gives_something_else_than_declared_makes_windows_unscorable() -> None:
    """The pack and its engine disagree: that is an engine's failure, and every window still gets its event."""
    bench = Bench()
    bench.session.output = "other"
    bench.send(0)
    bench.run()
    assert bench.events()[0]["escalation"]["reason"] == "unscorable"
    assert bench.store.broken_equations() == []


def test_a_fault_beside_the_engine_is_not_told_as_an_unscorable_window() -> None:
    """It fails the pass; the window is answered when the fault is gone."""
    bench = Bench()
    bench.metrics_fault = ValueError("a fault of ours")
    bench.send(0)
    bench.send(1)
    with pytest.raises(ValueError, match="a fault of ours"):
        bench.pipeline.run_once()
    bench.metrics_fault = None
    bench.run(2)
    assert [event["confidence"] > 0 for event in bench.events()] == [True, True]
    assert bench.store.broken_equations() == []


def test_a_decoder_that_breaks_is_our_fault_and_costs_no_other_record_anything() -> None:
    """The record is dead-lettered under a reason of its own, never as malformed, and the failure is counted."""
    bench = Bench(max_skew_s="no number")
    bench.send(0)
    bench.run()
    (letter,) = bench.units[0].dead_letters
    assert letter.reason == "decoder_failed"
    assert "TypeError" in letter.detail
    assert bench.count(of_reason(Count.RECORDS_DEAD_LETTERED, "decoder_failed")) == 1
    assert bench.failures == ["decoder"]
    assert bench.broker.unacknowledged == {}
    assert bench.store.broken_equations() == []


def test_a_full_queue_sheds_counts_and_acknowledges() -> None:
    """What the queue cannot hold is not lost in silence, and does not block the broker's window."""
    bench = Bench(capacity=3)
    assert [bench.send(number) for number in range(5)] == [True, True, True, False, False]
    bench.run()
    assert bench.count(of_reason(Count.RECORDS_SHED, QUEUE_FULL)) == 2
    assert bench.broker.unacknowledged == {}
    assert bench.store.broken_equations() == []


def test_a_full_queue_holds_back_what_the_broker_keeps() -> None:
    """A broker that sends more than its window waits at its connection; nothing is shed as long as passes go on."""
    bench = Bench(capacity=3, hold_s=30.0)
    with ThreadPoolExecutor(1) as broker_thread:
        taken = [broker_thread.submit(bench.send, number) for number in range(10)]
        while not all(one.done() for one in taken):
            bench.run()
        bench.run()
    assert all(one.result() for one in taken)
    assert bench.count(Count.RECORDS_JOURNALED) == 10
    assert bench.broker.unacknowledged == {}
    assert bench.store.broken_equations() == []


def test_a_silent_partition_is_answered_after_its_idle_time() -> None:
    """An idle pass closes windows, too: here the half-filled one, which is skipped and counted."""
    bench = Bench()
    bench.send(0, message(0).replace(b"[1.0, 0.5], ", b"", 2))
    bench.run()
    assert bench.count(Count.WINDOWS_CLOSED) == 0
    bench.clock.pass_s(11)
    bench.run()
    assert bench.count(of_reason(Count.WINDOWS_SKIPPED, "idle")) == 1
    assert bench.store.broken_equations() == []


def test_events_say_when_the_store_does_not_commit() -> None:
    """`durable` is what the store says at the time of the pass."""
    bench = Bench()
    bench.store.is_durable = False
    bench.send(0)
    bench.run()
    assert bench.events()[0]["durable"] is False


def test_what_a_broker_cannot_take_now_is_published_later() -> None:
    """A full window or a lost connection leaves the row to the publisher; a lost one is handed over again."""
    bench = Bench()
    bench.broker.window = 2
    for number in range(4):
        bench.send(number)
    bench.run()
    assert len(bench.broker.answers) == 2
    bench.broker.window = 1000
    bench.publisher.run_once()
    assert len(bench.broker.answers) == 4
    bench.publisher.wake()
    bench.publisher.run_once()
    assert len(bench.broker.answers) == 4
    bench.publisher.connection_changed(BROKER, is_up=False)
    bench.publisher.connection_changed(BROKER, is_up=True)
    bench.publisher.run_once()
    assert len(bench.broker.answers) == 8
    bench.publisher.acknowledged([publish.row for publish in bench.broker.answers])
    bench.publisher.run_once()
    assert bench.store.waiting == {}
    assert bench.count(Count.PREDICTIONS_PUBLISHED) == 4
    assert bench.store.broken_equations() == []


@pytest.mark.parametrize("hop_s", [1.0, 0.4])
@pytest.mark.parametrize("crash_after", ["offer", "pass", "commit", "acknowledge"])
@pytest.mark.parametrize("crash_at", [0, 3, 7])
def test_a_crash_at_any_step_loses_and_repeats_nothing(crash_at: int, crash_after: str, hop_s: float) -> None:
    """Whatever step a record had reached: after the restart every window is decided once, under the same id."""
    calm = Bench(hop_s=hop_s)
    bench = Bench(hop_s=hop_s)
    for number in range(10):
        calm.send(number)
        calm.run()
        bench.send(number)
        if number == crash_at:
            _crash(bench, crash_after)
        else:
            bench.run()
    assert _windows(bench) == _windows(calm)
    assert bench.count(Count.PREDICTIONS_DECIDED) == len(_windows(calm))
    assert bench.broker.unacknowledged == {}
    assert bench.store.broken_equations() == []
    samples_of_calm = {name: n for (_, name), n in calm.store.figures.items() if name.startswith("samples")}
    assert {name: bench.count(name) for name in samples_of_calm} == samples_of_calm


def test_a_fault_of_the_program_costs_no_window() -> None:
    """A pass that breaks after its unit was handed over is rebuilt from the store: its records are repeats."""
    bench = Bench()
    breaks = iter([True, False, False, False])

    def fault(unit: Unit) -> None:
        if len(unit.decided) > 0 and next(breaks):
            raise RuntimeError("a fault of ours")

    bench.fault = fault
    for number in range(3):
        bench.send(number)
    with pytest.raises(RuntimeError):
        bench.pipeline.run_once()
    bench.run(passes=3)
    assert len(_windows(bench)) == 3
    assert bench.count(Count.PREDICTIONS_DECIDED) == 3
    assert bench.broker.unacknowledged == {}
    assert bench.store.broken_equations() == []


def test_a_record_that_breaks_every_pass_is_shed_alone() -> None:
    """The records of a broken pass are tried one by one; the one that breaks it again is counted and acknowledged."""
    bench = Bench(breaks_on=message(1))
    for number in range(3):
        bench.send(number)
    with pytest.raises(RuntimeError):  # all three together
        bench.pipeline.run_once()
    bench.run()  # the first alone
    with pytest.raises(RuntimeError):  # the second alone
        bench.pipeline.run_once()
    bench.run()  # the third alone
    assert bench.count(of_reason(Count.RECORDS_SHED, FAILED_ALONE)) == 1
    assert len(_windows(bench)) == 2
    assert bench.broker.unacknowledged == {}
    assert bench.store.broken_equations() == []


def test_an_empty_topic_level_is_the_senders_fault() -> None:
    """`plant//raw` matches the subscription and names no machine: it is dead-lettered, not answered to nobody."""
    bench = Bench()
    bench.pipeline.offer(bench.broker.record(1, message(1), topic="plant//raw"))
    bench.run()
    assert bench.count(of_reason(Count.RECORDS_DEAD_LETTERED, "malformed")) == 1
    assert bench.broker.unacknowledged == {}
    assert bench.store.broken_equations() == []


def _crash(bench: Bench, after: str) -> None:
    """Bring the last record to a step, end the process, start another one, and let the broker send again."""
    if after != "offer":
        bench.pipeline.run_once()
    if after == "commit":
        bench.store.commit()  # its acknowledgements never leave
    if after == "acknowledge":
        bench.commit()
    bench.store.crash()
    bench.boot()
    for delivery in bench.broker.redeliveries():
        bench.pipeline.offer(delivery)
    bench.run()


def _windows(bench: Bench) -> dict[str, str]:
    """Id by start of every window that was published."""
    return {event["window"]["start"]: event["id"] for event in bench.events()}


def test_an_audited_answer_is_final_and_goes_to_the_hub_all_the_same() -> None:
    """At a rate of 1 every answer that is kept is drawn; the answer itself is what it would have been."""
    bench = Bench(policy=Policy(threshold=0.5, audit_rate=1.0, version=4))
    bench.send(1)
    bench.run()
    (one,) = [one for unit in bench.units for one in unit.decided]
    assert one.escalate is not None
    assert (one.escalate_class, one.escalate.reason) == (ItemClass.AUDIT, Reason.AUDIT)
    assert (one.escalate.propensity, one.escalate.policy_version, one.escalate.group) == (1.0, 4, "idle")
    assert (bench.events()[0]["status"], bench.events()[0]["escalation"]["reason"]) == ("final", "audit")
    assert one.decided_by is not None
    assert (one.decided_by.version, one.decided_by.is_kept) == (4, True)


def test_the_same_windows_are_drawn_after_a_crash() -> None:
    """Nothing of the lottery is remembered, and nothing of it changes."""
    drawn = []
    for _ in range(2):
        bench = Bench(policy=Policy(threshold=0.5, audit_rate=0.3))
        for second in range(1, 30):
            bench.send(second)
        bench.run()
        drawn.append([one.escalate is not None for unit in bench.units for one in unit.decided])
    assert drawn[0] == drawn[1]
    assert 0 < sum(drawn[0]) < len(drawn[0])


@pytest.mark.parametrize(("main", "asked", "spent"), [(2, 2, {Pool.MAIN: 2}), (0, 1, {Pool.AUDIT: 1})])
def test_without_calls_left_nobody_is_asked_and_audits_have_a_reserve(
    main: int, asked: int, spent: dict[Pool, int]
) -> None:
    """What is not asked is final and counted; while the reserve has a call, the lottery goes on, and no longer."""
    lender = Lender({Pool.MAIN: main, Pool.AUDIT: 1})
    ration = Ration(lender)
    ration.run_once()
    bench = Bench(policy=Policy(threshold=None, audit_rate=1.0), ration=ration)
    for second in range(1, 6):
        bench.send(second)
    bench.run()
    outcomes = Counter(event["escalation"]["outcome"] for event in bench.events())
    assert outcomes == {"queued": asked, "suppressed_budget": 5 - asked}
    assert bench.count("escalations_suppressed_budget{calls}") == 5 - asked
    assert [event["escalation"]["propensity"] for event in bench.events()[2:]] == [0.0] * 3
    ration.run_once()
    assert +lender.spent == spent


def test_inputs_without_a_score_are_limited_for_each_partition() -> None:
    """A broken sensor asks now and then, and no more; it takes nothing from the others."""
    bench = Bench(unscorable=BucketSpec(1.0, 1e-9))
    bench.session.poison = 1.0
    for second in range(1, 4):
        bench.send(second)
    bench.run()
    assert bench.count("escalations_suppressed_budget{unscorable_rate}") == 2
    assert bench.count("decisions_doubted{unscorable}") == 3
    assert bench.store.broken_equations() == []


def test_quick_answers_are_made_by_whoever_hands_the_records_in() -> None:
    """No other thread is woken for them; before the first answer nobody knows whether they are quick."""
    bench = Bench()
    bench.send(0)
    bench.pipeline.run_waiting()
    assert bench.events() == []
    bench.pipeline.run_once()
    bench.send(1)
    bench.send(2)
    bench.pipeline.run_waiting()
    assert len(bench.events()) == 3
    bench.commit()
    assert bench.broker.acknowledged == [0, 1, 2]
    assert bench.store.broken_equations() == []


def test_the_own_thread_makes_no_pass_where_time_has_just_gone_by_in_another() -> None:
    """It would stand in the way of whoever hands records in, and take over from then on."""
    bench = Bench()
    bench.send(0)
    bench.pipeline.run_once()
    bench.clock.monotonic += IDLE_WAIT_S
    bench.send(1)
    bench.pipeline.run_waiting()
    passed_s = bench.clock.monotonic
    bench.clock.monotonic += IDLE_WAIT_S / 4
    bench.pipeline.run_once()
    assert bench.pipeline.last_pass_s == passed_s
    bench.clock.monotonic += IDLE_WAIT_S
    bench.pipeline.run_once()
    assert bench.pipeline.last_pass_s == bench.clock.monotonic


def test_a_record_that_nobody_came_back_for_is_answered_all_the_same() -> None:
    """The own thread leaves quick answers to whoever handed the records in, but not for ever."""
    bench = Bench()
    bench.send(0)
    bench.pipeline.run_once()
    bench.pipeline.run_waiting()
    bench.send(1)
    bench.pipeline.run_once()
    assert len(bench.events()) == 2


def test_slow_answers_are_left_to_the_pipelines_own_thread() -> None:
    """The connection is read meanwhile."""
    bench = Bench()

    def slowly() -> None:
        bench.clock.monotonic += 2 * QUICK_S

    bench.session.on_run = slowly
    bench.send(0)
    bench.pipeline.run_once()
    bench.send(1)
    bench.pipeline.run_waiting()
    assert len(bench.events()) == 1
    bench.run()
    assert len(bench.events()) == 2


def test_a_pipeline_at_rest_leaves_everything_to_its_own_thread() -> None:
    """When the store is about to close, nothing new is handed to it by others."""
    bench = Bench()
    bench.send(0)
    bench.pipeline.run_once()
    bench.pipeline.rest()
    bench.send(1)
    bench.pipeline.run_waiting()
    assert len(bench.events()) == 1


def test_a_fault_on_another_thread_fails_the_pipelines_own_loop() -> None:
    """Who handed the records in goes on; the supervised loop tells of the fault, and tries them one by one."""
    bench = Bench(breaks_on=message(2))
    bench.send(0)
    bench.run()
    bench.send(1)
    bench.send(2)
    bench.pipeline.run_waiting()
    bench.send(3)
    bench.pipeline.run_waiting()  # until the lanes are rebuilt, nobody else makes a pass
    with pytest.raises(RuntimeError):
        bench.pipeline.run_once()
    bench.run()  # the first of them alone
    with pytest.raises(RuntimeError):
        bench.pipeline.run_once()
    bench.run()
    assert bench.count(of_reason(Count.RECORDS_SHED, FAILED_ALONE)) == 1
    assert len(_windows(bench)) == 3
    assert bench.broker.unacknowledged == {}
    assert bench.store.broken_equations() == []


def test_a_quick_pass_does_not_run_beside_another_one() -> None:
    """A record that comes while a pass is under way is answered behind it, on the pipeline's own thread."""
    bench = Bench()
    bench.send(0)
    bench.pipeline.run_once()

    def meanwhile() -> None:
        bench.session.on_run = lambda: None
        bench.send(2)
        bench.pipeline.run_waiting()

    bench.session.on_run = meanwhile
    bench.send(1)
    bench.pipeline.run_once()
    assert len(bench.events()) == 2
    bench.run()
    assert len(bench.events()) == 3


def test_whoever_hands_records_in_does_not_answer_all_that_others_hand_in_meanwhile() -> None:
    """A busy connection would keep the reader of a quiet one for ever: its broker would hear nothing of it."""
    bench = Bench()
    bench.send(0)
    bench.pipeline.run_once()
    others = iter(range(2, 20))

    def others_send() -> None:
        bench.send(next(others))

    bench.session.on_run = others_send
    bench.send(1)
    bench.pipeline.run_waiting()
    assert len(bench.events()) == 2
    bench.session.on_run = lambda: None
    bench.run()
    assert len(bench.events()) == 3
    assert bench.store.broken_equations() == []
