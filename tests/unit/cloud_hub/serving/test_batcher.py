"""No request is lost, answered twice, or answered with another's row; a bad one takes nobody along."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import cycle
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cloud_hub.core.serving.admission import Bounds
from cloud_hub.core.serving.costs import CostKey
from cloud_hub.core.serving.run_times import RunTimes
from cloud_hub.errors import HubError
from cloud_hub.serving import batcher
from cloud_hub.serving.batcher import Batcher, BatcherParts, Request, Terms
from cloud_hub.serving.cost_book import CostBook
from cloud_hub.serving.errors import (
    DeadlinePassedError,
    InputRefusedError,
    ModelFailedError,
    ModelUnloadedError,
    ServingFullError,
)
from cloud_hub.serving.interface import BACKLOG_PRIORITY, Ask, Caller, Inferred
from cloud_hub.serving.run import Instance
from model_packs.manifest import PackManifest
from model_packs.tensors import TensorSpec
from tests.simulators.loops import in_loop
from tests.simulators.serving_parts import BAD, UNFIT, RuleSession, ToldLoop, ToldWorkers, turn_loop

PACK = "rule-hub@1.0.0"
PRESS, OVEN = Caller("plant", "press"), Caller("plant", "oven")


class FewFacts:
    """Of a pack what a run needs."""

    ref = PACK
    inputs = (TensorSpec("x", "FP32", (-1, 2)),)


class Bench:
    """A batcher with everything around it told."""

    def __init__(
        self,
        *,
        is_quick: bool = True,
        instances: int = 2,
        batch: int = 4,
        workers: ToldWorkers | None = None,
        **changes: object,
    ) -> None:
        self.loop = ToldLoop()
        self.session = RuleSession()
        self.workers = ToldWorkers() if workers is None else workers
        self.book = CostBook(100)
        self.refused: list[str] = []
        self.times = RunTimes()
        terms = Terms(PACK, "1.0.0", (), batch, 8, False, Bounds(20, 6), is_quick)
        manifest = cast("PackManifest", FewFacts())
        parts = BatcherParts(
            0.001, self.workers, self.book, lambda: 7_000_000, lambda _rows, _s: None, self.refused.append
        )
        self.batcher = Batcher(
            cast("Any", self.loop),
            replace(terms, **cast("Any", changes)),
            [Instance(manifest, self.session, batch) for _ in range(instances)],
            parts,
            self.times,
        )

    def ask(
        self,
        value: float,
        caller: Caller = PRESS,
        *,
        rows: int = 1,
        deadline_s: float | None = None,
        priority: int = 0,
    ) -> Request:
        """Submit windows of one value."""
        inputs = {"x": np.full((rows, 2), value, np.float32)}
        return self.batcher.submit(inputs, caller, deadline_s, priority, is_scored=False)

    def now(
        self, *values: float, rows: Sequence[int] = (1,), callers: Sequence[Caller] = (PRESS,), came_ns: int = 0
    ) -> list[Inferred | HubError | None]:
        """Ask for answers without waiting."""
        asks = [
            Ask({"x": np.full((n_rows, 2), value, np.float32)}, caller, False, came_ns or time.perf_counter_ns())
            for value, n_rows, caller in zip(values, cycle(rows), cycle(callers), strict=False)
        ]
        return self.batcher.answer_now(asks)

    async def drain(self) -> None:
        """Let everything go on until nothing does."""
        for _ in range(200):
            await turn_loop()
            if self.workers.jobs:
                self.workers.go_on()
            elif self.batcher.is_idle:
                return
            else:
                self.loop.move(0.01)
        raise AssertionError("something waits for ever")


def answer(request: Request) -> NDArray[Any]:
    """What a request was answered."""
    return request.answer.result().outputs["y"]


@in_loop
async def test_what_need_not_wait_is_answered_now_and_counted() -> None:
    """Together, in runs of the batch that pays, each with its own row; what waits has its own run, in its turn."""
    bench = Bench()
    waiting = bench.ask(9.0)
    said = bench.now(*(float(value) for value in range(6)), callers=(PRESS, OVEN))
    assert [one.outputs["y"].tolist() for one in said if isinstance(one, Inferred)] == [
        [[2.0 * value] * 2] for value in range(6)
    ]
    await bench.drain()
    assert answer(waiting).tolist() == [[18.0, 18.0]]
    assert bench.session.batches == [4, 2, 1]
    counts = bench.batcher.counts.read("rule-hub", "1.0.0")
    assert (counts.inference_count, counts.success.count, counts.queue.count, counts.fail.count) == (7, 7, 7, 0)
    assert {key.caller: (cost.requests, cost.windows) for key, cost in bench.book.drain().items()} == {
        "press": (4, 4),
        "oven": (3, 3),
    }
    assert None not in bench.now(1.0, 2.0, rows=(3,))  # more windows together than a batch
    assert bench.session.batches == [4, 2, 1, 3, 3]


@in_loop
async def test_a_bad_one_among_those_answered_now_takes_nobody_along() -> None:
    """It is told why, and counted; its neighbours are answered."""
    bench = Bench()
    said = bench.now(1.0, BAD, 2.0)
    assert [type(one) for one in said] == [Inferred, ModelFailedError, Inferred]
    assert bench.refused == ["failed"]
    counts = bench.batcher.counts.read("rule-hub", "1.0.0")
    assert (counts.success.count, counts.fail.count) == (2, 1)


@in_loop
async def test_some_have_to_wait_or_to_be_refused() -> None:
    """By a model that takes long, that has open axes, or that leaves; one with too many windows takes nobody along."""
    assert Bench(is_quick=False).now(1.0, 2.0) == [None, None]
    assert Bench(is_open_formed=True).now(1.0) == [None]
    bench = Bench()
    assert [one is None for one in bench.now(1.0, 2.0, 3.0, rows=(1, 9, 1))] == [False, True, False]
    await bench.batcher.end()
    assert bench.now(1.0) == [None]


@in_loop
async def test_what_would_hold_up_the_loop_for_long_has_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """No run begins once there was time enough; what is left goes the way of all others."""
    monkeypatch.setattr(batcher, "AT_ONCE_S", 0.0)
    bench = Bench(batch=2)
    assert [one is None for one in bench.now(1.0, 2.0, 3.0, 4.0, 5.0)] == [False, False, True, True, True]
    assert bench.session.batches == [2]


@in_loop
async def test_the_wait_of_what_came_together_is_told_from_when_it_came() -> None:
    """In the answer, and in the statistics."""
    bench = Bench()
    (said,) = bench.now(1.0, came_ns=time.perf_counter_ns() - 3_000_000_000)
    assert isinstance(said, Inferred)
    assert said.queue_ns >= 3_000_000_000
    assert bench.batcher.counts.read("rule-hub", "1.0.0").queue.ns >= 3_000_000_000


@in_loop
async def test_a_model_leaves_when_a_run_in_another_thread_has_ended() -> None:
    """Whoever closes the session then closes it under nobody."""
    bench = Bench()
    runs, may_end, ran = threading.Event(), threading.Event(), bench.session.run

    def slowly(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        runs.set()
        may_end.wait(10.0)
        return ran(inputs)

    bench.session.run = slowly  # type: ignore[method-assign]  # it ends when it is told
    with ThreadPoolExecutor(2) as threads:
        asked = threads.submit(bench.now, 1.0)
        assert runs.wait(10.0)
        ending = threads.submit(asyncio.run, bench.batcher.end())
        with pytest.raises(TimeoutError):
            ending.result(0.05)
        may_end.set()
        ending.result(10.0)
        (said,) = asked.result()
    assert isinstance(said, Inferred)


@in_loop
async def test_what_comes_together_runs_together() -> None:
    """Five windows and a batch of four: two runs, each row with its own request, the numbers in the answers."""
    bench = Bench()
    asked = [bench.ask(float(value)) for value in range(5)]
    await bench.drain()
    assert bench.session.batches == [4, 1]
    assert [answer(one).tolist() for one in asked] == [[[2.0 * value] * 2] for value in range(5)]
    said: Inferred = asked[0].answer.result()
    assert (said.pack, said.version, said.batch, said.is_cached) == (PACK, "1.0.0", 4, False)
    assert said.queue_ns > 0
    counts = bench.batcher.counts.read("rule-hub", "1.0.0")
    assert (counts.inference_count, counts.execution_count, counts.last_inference_ms) == (5, 2, 7)
    assert (counts.success.count, counts.queue.count, counts.fail.count) == (5, 5, 0)
    assert [(windows, spent.count) for windows, spent in counts.batches] == [(1, 1), (4, 1)]


@in_loop
async def test_costs_are_shared_by_windows() -> None:
    """Of a run of three windows, who asked two of them bears two thirds, in time and bytes."""
    bench = Bench()
    bench.ask(1.0, PRESS, rows=2)
    bench.ask(1.0, OVEN)
    await bench.drain()
    booked = bench.book.drain()
    press, oven = booked[CostKey(*PRESS, PACK)], booked[CostKey(*OVEN, PACK)]
    assert (press.requests, press.windows, oven.requests, oven.windows) == (1, 2, 1, 1)
    assert press.compute_ns == pytest.approx(2 * oven.compute_ns)
    assert press.input_bytes == pytest.approx(16)
    assert oven.output_bytes == pytest.approx(8)


@pytest.mark.parametrize("is_quick", [True, False])
@in_loop
async def test_a_bad_request_takes_nobody_along(is_quick: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """The engine breaks on one and refuses another; both are told why, and their neighbours are answered."""
    bench = Bench(is_quick=is_quick)
    good, bad, unfit, other = bench.ask(1.0), bench.ask(BAD), bench.ask(UNFIT), bench.ask(2.0)
    await bench.drain()
    assert (answer(good).tolist(), answer(other).tolist()) == ([[2.0, 2.0]], [[4.0, 4.0]])
    assert isinstance(bad.answer.exception(), ModelFailedError)
    assert isinstance(unfit.answer.exception(), InputRefusedError)
    assert "tensor 'x'" in str(unfit.answer.exception())
    assert bench.refused == ["failed", "failed"]


@in_loop
async def test_a_slow_model_runs_in_as_many_workers_as_it_has_instances() -> None:
    """Two runs begin; what comes meanwhile is the next batch, taken the moment that one of them ends."""
    bench = Bench(is_quick=False, batch=2)
    asked = [bench.ask(float(value)) for value in range(4)]
    assert len(bench.workers.jobs) == 2
    asked += [bench.ask(float(value)) for value in range(4, 7)]
    assert len(bench.workers.jobs) == 2
    bench.workers.go_on(1)
    await turn_loop()
    assert len(bench.workers.jobs) == 2
    await bench.drain()
    assert bench.session.batches == [2, 2, 2, 1]
    assert [answer(one)[0, 0] for one in asked] == [2.0 * value for value in range(7)]


@in_loop
async def test_live_goes_before_backlog() -> None:
    """What is stored runs after what came later and is live."""
    bench = Bench(batch=1, is_quick=False, instances=1)
    bench.ask(0.0)
    old = bench.ask(1.0, priority=BACKLOG_PRIORITY)
    live = bench.ask(2.0)
    bench.workers.go_on()
    bench.workers.go_on()  # what was ready
    await turn_loop()
    assert live.answer.done()
    assert not old.answer.done()
    await bench.drain()
    assert old.answer.done()


@in_loop
async def test_who_ends_a_run_sees_to_what_is_ready() -> None:
    """A whole batch that is live, and no more than one: the rest keeps its order, and a part waits for company."""
    bench = Bench(batch=2, is_quick=False, instances=1)
    asked = [bench.ask(float(value)) for value in range(2)]
    asked.append(bench.ask(2.0))
    bench.workers.go_on()
    assert bench.session.batches == [2]  # one alone was not ready
    await turn_loop()
    asked += [bench.ask(float(value)) for value in range(3, 7)]
    bench.workers.go_on()
    bench.workers.go_on()
    assert bench.session.batches == [2, 1, 2]
    urgent = bench.ask(7.0, priority=1)
    await turn_loop()
    bench.workers.go_on()
    await turn_loop()
    assert urgent.answer.done()
    assert not asked[-1].answer.done()
    await bench.drain()
    assert [answer(one)[0, 0] for one in asked] == [2.0 * value for value in range(7)]


@in_loop
async def test_a_busy_model_leaves_the_workers_to_others_in_turn() -> None:
    """What is ready comes behind what another model has handed to the same workers."""
    workers = ToldWorkers()
    busy, other = (Bench(batch=1, is_quick=False, instances=1, workers=workers) for _ in range(2))
    asked = [busy.ask(float(value)) for value in range(5)]
    waiting = other.ask(1.0)
    workers.go_on()
    workers.go_on()
    await turn_loop()
    assert (waiting.answer.done(), busy.session.batches) == (True, [1])
    while workers.jobs:
        workers.go_on()
        await turn_loop()
    assert all(one.answer.done() for one in asked)


@in_loop
async def test_what_waits_too_long_for_a_worker_is_not_run() -> None:
    """Its deadline passes while the workers run others; it is told so, and the instance is free again."""
    bench = Bench(batch=1, is_quick=False, instances=1)
    late = bench.ask(1.0, deadline_s=100.5)
    bench.loop.move(1.0)
    bench.workers.go_on()
    await turn_loop()
    assert isinstance(late.answer.exception(), DeadlinePassedError)
    assert (bench.session.batches, bench.batcher.is_idle) == ([], True)


@pytest.mark.parametrize("is_taken", [False, True])
@in_loop
async def test_what_ended_workers_do_not_run_is_refused(is_taken: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Whether they took it before they ended, or did not: nobody waits for ever."""
    workers = ThreadPoolExecutor(1)
    may_end = threading.Event()
    bench = Bench(batch=1, is_quick=False, workers=cast("Any", workers))
    if is_taken:
        workers.submit(may_end.wait, 10.0)
        request = bench.ask(1.0)
        workers.shutdown(wait=False, cancel_futures=True)
        may_end.set()
    else:
        workers.shutdown()
        request = bench.ask(1.0)
    with pytest.raises(ModelUnloadedError):
        await bench.batcher.answered(request)


@in_loop
async def test_backlog_is_not_made_ready() -> None:
    """Else what is live and comes later would wait behind it for a run more."""
    bench = Bench(batch=1, is_quick=False, instances=1)
    bench.ask(0.0)
    bench.ask(1.0, priority=BACKLOG_PRIORITY)
    bench.workers.go_on()
    assert bench.session.batches == [1]
    await bench.drain()


@in_loop
async def test_what_is_ready_and_was_cancelled_is_not_run() -> None:
    """Nor is it answered twice; its worker is free for others."""
    bench = Bench(batch=1, is_quick=False, instances=1)
    bench.ask(0.0)
    bench.ask(1.0).answer.cancel()
    bench.workers.go_on()
    bench.workers.go_on()
    await turn_loop()
    assert (bench.session.batches, bench.batcher.is_idle) == ([1], True)


@in_loop
async def test_what_expires_while_it_waits_is_dropped_before_it_runs() -> None:
    """It is told so; the engine never sees it."""
    bench = Bench(batch=1, is_quick=False, instances=1)
    bench.ask(0.0)
    late = bench.ask(1.0, deadline_s=100.5)
    bench.loop.move(1.0)
    await bench.drain()
    assert isinstance(late.answer.exception(), DeadlinePassedError)
    assert bench.session.batches == [1]
    assert bench.refused == ["expired"]


@in_loop
async def test_what_cannot_be_done_in_time_is_refused_at_once() -> None:
    """For its own length, or for what waits before it: then with the time to retry."""
    bench = Bench(batch=1, is_quick=False, instances=1)
    bench.times.note(1, 100_000_000)
    with pytest.raises(DeadlinePassedError):
        bench.ask(1.0, deadline_s=100.05)
    for _ in range(4):
        bench.ask(1.0)
    with pytest.raises(ServingFullError) as caught:
        bench.ask(1.0, deadline_s=100.2)
    assert caught.value.retry_after_s == pytest.approx(0.35)
    assert bench.refused == ["too_short", "too_late"]
    await bench.drain()


@in_loop
async def test_the_queue_is_bounded_for_each_caller_and_for_all() -> None:
    """One runs, six of one caller wait: its next finds no place, another's does, up to a bound, too."""
    bench = Bench(batch=1, is_quick=False, instances=1)
    for _ in range(7):
        bench.ask(1.0)
    with pytest.raises(ServingFullError, match="of this caller"):
        bench.ask(1.0)
    bench.ask(1.0, OVEN, rows=8)
    with pytest.raises(ServingFullError, match="too many windows"):
        bench.ask(1.0, OVEN, rows=8)
    await bench.drain()


@pytest.mark.parametrize("rows", [0, 9])
@in_loop
async def test_a_request_of_no_windows_or_too_many_is_refused(rows: int) -> None:
    """The message says what one request may have."""
    bench = Bench()
    with pytest.raises(InputRefusedError, match="1 to 8 windows"):
        bench.ask(1.0, rows=rows)
    with pytest.raises(InputRefusedError, match="no inputs"):
        bench.batcher.submit({}, PRESS, None, 0, is_scored=False)


@in_loop
async def test_whose_caller_has_gone_is_not_run() -> None:
    """Cancelled while it waits, it is left out; cancelled while it runs, its answer goes nowhere."""
    bench = Bench(is_quick=False, instances=1, batch=2)
    running, waiting, other = bench.ask(1.0, rows=2), bench.ask(2.0), bench.ask(3.0)
    waiting.answer.cancel()
    ran = bench.session.run

    def left(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        running.answer.cancel()
        return ran(inputs)

    bench.session.run = left  # type: ignore[method-assign]  # its caller goes meanwhile
    await bench.drain()
    assert bench.session.batches == [2, 1]
    assert answer(other)[0, 0] == 6.0


@in_loop
async def test_requests_of_other_forms_run_apart_and_at_once() -> None:
    """Where a model leaves an axis open, what has other sizes there does not wait for another window."""
    bench = Bench(is_open_formed=True)
    asked = [
        bench.batcher.submit({"x": np.ones((1, length), np.float32)}, PRESS, None, 0, is_scored=False)
        for length in (2, 3, 4)
    ]
    await turn_loop()
    assert [answer(one).shape for one in asked] == [(1, 2), (1, 3), (1, 4)]
    assert bench.session.batches == [1, 1, 1]


@in_loop
async def test_an_ending_batcher_answers_what_it_let_in_and_lets_nothing_in() -> None:
    """A run that is on is not cut; the end comes when the last answer is there."""
    bench = Bench(is_quick=False, instances=1, batch=1)
    asked = [bench.ask(1.0), bench.ask(2.0)]
    ending = asyncio.create_task(bench.batcher.end())
    await turn_loop()
    assert not ending.done()
    with pytest.raises(ModelUnloadedError):
        bench.ask(3.0)
    await bench.drain()
    await ending
    assert [answer(one)[0, 0] for one in asked] == [2.0, 4.0]


@in_loop
async def test_an_end_that_is_cut_short_leaves_nobody_waiting() -> None:
    """Who was let in and will not be answered is told."""
    bench = Bench(is_quick=False, instances=1, batch=1)
    bench.ask(1.0)
    waiting = bench.ask(2.0)
    ending = asyncio.create_task(bench.batcher.end())
    await turn_loop()
    ending.cancel()
    await asyncio.wait([ending])
    assert isinstance(waiting.answer.exception(), ModelUnloadedError)


class Story:
    """Requests, and what happens to them, in any order."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.asked: list[tuple[float, int, Request]] = []
        self.gone: set[int] = set()

    async def ask(self, value: float, rows: int, priority: int, time_s: float | None) -> None:
        """A request comes."""
        bench = self.bench
        value = value if value in (BAD, UNFIT) else value + 100.0 * len(self.asked)
        caller = OVEN if len(self.asked) % 3 else PRESS
        deadline_s = None if time_s is None else bench.loop.time() + time_s
        with contextlib.suppress(ServingFullError, DeadlinePassedError):
            request = bench.ask(value, caller, rows=rows, deadline_s=deadline_s, priority=priority)
            self.asked.append((value, rows, request))

    async def leave(self, number: int, *, is_told: bool) -> None:
        """A caller goes, and the batcher is told or finds out."""
        waiting = [index for index, (_, _, request) in enumerate(self.asked) if not request.answer.done()]
        if waiting:
            chosen = waiting[number % len(waiting)]
            request = self.asked[chosen][2]
            if is_told:
                task = asyncio.create_task(self.bench.batcher.answered(request))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
            if not request.answer.done():
                request.answer.cancel()
            if request.answer.cancelled():  # else it was answered in that very turn
                self.gone.add(chosen)

    async def work(self, number: int) -> None:
        """A worker ends a run."""
        if self.bench.workers.jobs:
            self.bench.workers.go_on(number % len(self.bench.workers.jobs))

    async def move(self, by_s: float) -> None:
        """Time goes by."""
        self.bench.loop.move(by_s)

    def check(self) -> None:
        """Each request has ended in its own way."""
        for number, (value, rows, request) in enumerate(self.asked):
            assert request.answer.done(), number
            if number in self.gone:
                assert request.answer.cancelled()
            elif isinstance(error := request.answer.exception(), HubError):
                allowed = {BAD: ModelFailedError, UNFIT: InputRefusedError}.get(value, DeadlinePassedError)
                assert isinstance(error, (allowed, DeadlinePassedError))
            else:
                np.testing.assert_array_equal(answer(request), np.full((rows, 2), 2 * value, np.float32))


_NUMBER = st.integers(0, 30)
_STEP: st.SearchStrategy[Callable[[Story], Awaitable[None]]] = st.one_of(
    st.builds(
        lambda *details: lambda story: story.ask(*details),
        st.sampled_from((1.0, 2.0, 3.0, BAD, UNFIT)),
        st.integers(1, 5),
        st.sampled_from((0, 1, BACKLOG_PRIORITY)),
        st.sampled_from((None, 0.02, 1.0)),
    ),
    st.builds(lambda number, told: lambda story: story.leave(number, is_told=told), _NUMBER, st.booleans()),
    st.builds(lambda number: lambda story: story.work(number), _NUMBER),
    st.builds(lambda by_s: lambda story: story.move(by_s), st.sampled_from((0.0005, 0.05, 1.0))),
    st.just(lambda _story: turn_loop()),
)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(_STEP, max_size=50), is_quick=st.booleans(), instances=st.integers(1, 3), batch=st.integers(1, 6))
def test_under_any_order_of_events_each_request_has_its_own_answer_once(
    steps: list[Callable[[Story], Awaitable[None]]], *, is_quick: bool, instances: int, batch: int
) -> None:
    """Asked, cancelled, withdrawn, expired, broken, in any order: what was let in ends in its own way."""

    @in_loop
    async def scenario() -> None:
        faults: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
        story = Story(Bench(is_quick=is_quick, instances=instances, batch=batch))
        for step in steps:
            await step(story)
        await story.bench.drain()
        story.check()
        assert faults == []

    scenario()
