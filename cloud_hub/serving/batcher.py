"""Owns the requests of one loaded model: let in or refused, queued fairly, run together, answered one by one.

All of it happens on the event loop's thread, but runs that take long, which have workers, and `answer_now`: what came
together at a server's own thread is run there, if the model is quick. While all workers run, the next batch is ready
for the one that ends first. One callback answers a whole batch; no request has a task or a timer of its own. The
queue's order is `core.serving.queue`, the bounds are `core.serving.admission`, when a batch closes is `window.py`, the
run is `run.py`.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Final

from cloud_hub.core.serving.admission import Bounds, Reason, Waiting, refusal, retry_after_s
from cloud_hub.core.serving.costs import Cost, CostKey
from cloud_hub.core.serving.queue import BACKLOG_RANK, FairQueue, rank_of
from cloud_hub.core.serving.run_times import RunTimes
from cloud_hub.errors import HubError
from cloud_hub.serving.cost_book import CostBook
from cloud_hub.serving.counts import Counts
from cloud_hub.serving.errors import DeadlinePassedError, InputRefusedError, ModelUnloadedError, ServingFullError
from cloud_hub.serving.interface import BACKLOG_PRIORITY, Ask, Caller, Inferred
from cloud_hub.serving.run import Arrays, Instance, Part, Ran
from cloud_hub.serving.window import Window
from protos.messages.inference import ModelUse

logger = logging.getLogger(__name__)

Answer = asyncio.Future[Inferred]

AT_ONCE_S: Final = 0.005
"""No further run begins in the thread of what came together after so long."""

_NS_PER_S = 1e9
_caller = attrgetter("caller")


class Let:
    """One request that was let in; plain, because one is made for every call.

    Attributes:
        inputs: One array per declared input.
        rows: Windows.
        caller: Who asks.
        is_scored: Label and confidence are wanted.
        came_ns: When it came, `time.perf_counter_ns`.
    """

    __slots__ = ("caller", "came_ns", "inputs", "is_scored", "rows")

    def __init__(self, inputs: Arrays, rows: int, caller: Caller, came_ns: int, *, is_scored: bool) -> None:
        self.inputs = inputs
        self.rows = rows
        self.caller = caller
        self.came_ns = came_ns
        self.is_scored = is_scored


class Request(Let):
    """One that waits for its answer.

    Attributes:
        form: Sizes of the axes that the model leaves open.
        rank: Its place in the order.
        deadline_s: On the loop's clock; None: none.
        answer: Resolved once.
    """

    __slots__ = ("answer", "deadline_s", "form", "rank")

    def __init__(
        self,
        inputs: Arrays,
        rows: int,
        form: Hashable,
        caller: Caller,
        rank: int,
        *,
        deadline_s: float | None,
        answer: Answer,
        is_scored: bool,
    ) -> None:
        super().__init__(inputs, rows, caller, time.perf_counter_ns(), is_scored=is_scored)
        self.form = form
        self.rank = rank
        self.deadline_s = deadline_s
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Terms:
    """How one model is batched.

    Attributes:
        pack: name@version.
        version: Its version.
        models: What answers say of who took part.
        batch: Most windows that are put together.
        max_rows: Most windows that one request may have.
        is_open_formed: The model leaves other axes open than the batch.
        bounds: How much may wait.
        is_quick: Runs on the loop; others have a worker.
    """

    pack: str
    version: str
    models: tuple[ModelUse, ...]
    batch: int
    max_rows: int
    is_open_formed: bool
    bounds: Bounds
    is_quick: bool


@dataclass(frozen=True, slots=True)
class BatcherParts:
    """What the batchers of one serving core share.

    Attributes:
        window_s: How long a batch waits for the rest of its wave.
        workers: Runs what is not quick.
        book: What answering cost.
        wall_ns: Wall clock.
        note_run: Told of every batch: windows in it, and the seconds that it took.
        note_refused: Told of every request without an answer: why.
    """

    window_s: float
    workers: Executor
    book: CostBook
    wall_ns: Callable[[], int]
    note_run: Callable[[int, float], None]
    note_refused: Callable[[str], None]


class Batcher:
    """Answers requests with one model.

    Args:
        loop: The event loop that everything here but `answer_now` is called on.
        terms: How the model is batched.
        instances: Where it runs; as many runs at the same time. A quick model uses the first.
        parts: What batchers share.
        times: What is known of its runs.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        terms: Terms,
        instances: Sequence[Instance],
        parts: BatcherParts,
        times: RunTimes,
    ) -> None:
        self.terms = terms
        self.counts = Counts()
        self._loop = loop
        self._parts = parts
        self._times = times
        self._n_instances = 1 if terms.is_quick else len(instances)
        self._free = list(instances[: self._n_instances])
        self._instance = instances[0]
        self._ready: deque[list[Request]] = deque()  # no more than one; taken by a worker, or by the loop
        self._running = threading.Lock()  # of a quick model: from `answer_now`'s thread or the loop's
        self._queue: FairQueue[Request] = FairQueue()
        self._few = min(terms.bounds.rows, terms.bounds.per_caller)  # while no more wait, no bound is reached
        self._window = Window(loop, parts.window_s, terms.batch, self.close_window)
        self._asking = 0
        self._is_ending = False
        self._ended = asyncio.Event()

    @property
    def is_idle(self) -> bool:
        """Nothing waits and nothing runs."""
        return not (self._queue.rows or self._ready) and len(self._free) == self._n_instances

    def submit(
        self,
        inputs: Arrays,
        caller: Caller,
        deadline_s: float | None,
        priority: int,
        *,
        is_scored: bool,
    ) -> Request:
        """Let a request in.

        Args:
            inputs: One array per declared input, [windows, …].
            caller: Who asks.
            deadline_s: On the loop's clock; None: none.
            priority: As the caller named it.
            is_scored: Label and confidence are wanted.

        Returns:
            The request; its `answer` is resolved exactly once, or cancelled by the caller.

        Raises:
            InputRefusedError: It has no windows, or more than one run may have.
            ServingFullError: There is no place, or not before the deadline.
            DeadlinePassedError: One run takes longer.
            ModelUnloadedError: The model is being unloaded.
        """
        rank = rank_of(priority, BACKLOG_PRIORITY)
        rows = self._rows(inputs)
        if self._is_ending:
            raise ModelUnloadedError(self.terms.pack)
        queue = self._queue
        if deadline_s is not None or self._ready or queue.rows + rows > self._few:
            self._check(rank, caller, rows, deadline_s)
        form = tuple([array.shape[1:] for array in inputs.values()]) if self.terms.is_open_formed else None
        answer: Answer = self._loop.create_future()
        request = Request(inputs, rows, form, caller, rank, deadline_s=deadline_s, answer=answer, is_scored=is_scored)
        queue.push(rank, caller, request)
        if not self._free:
            self._make_ready()
        elif queue.rows >= self.terms.batch:
            self._window.fill()
        else:
            self._window.come(is_beside_another=self._asking > 0)
        return request

    def answer_now(self, asks: Sequence[Ask]) -> list[Inferred | HubError | None]:
        """Answer requests together before what waits, as far as that is quick; any thread may ask.

        Who runs something for the loop waits no longer than `AT_ONCE_S` and one run.

        Args:
            asks: What came together, at least one.

        Returns:
            For each its answer, or why its run failed; None where it has to wait, or be refused: `submit` it.
        """
        said: list[Inferred | HubError | None] = [None] * len(asks)
        let = [] if not self.terms.is_quick or self.terms.is_open_formed else self._let(asks)
        with self._running:
            first_ns = began_ns = time.perf_counter_ns()
            for batch in _batches(let, self.terms.batch):
                if self._is_ending or began_ns - first_ns > AT_ONCE_S * _NS_PER_S:
                    break
                requests = [one for _, one in batch]
                ran = self._instance.run(requests)
                for (at, one), part in zip(batch, ran.parts, strict=True):
                    said[at] = self._said(part, began_ns - one.came_ns, ran)
                ended_ns = time.perf_counter_ns()
                self._count(requests, ran, began_ns, ended_ns)
                began_ns = ended_ns
        return said

    async def answered(self, request: Request) -> Inferred:
        """Wait for a request's answer; one whose caller goes leaves the queue.

        Args:
            request: What `submit` gave; to be waited for once.

        Returns:
            The answer.

        Raises:
            HubError: Why there is none.
        """
        self._asking += 1
        try:
            return await request.answer
        except asyncio.CancelledError:
            self._queue.remove(request.rank, request.caller, request)
            raise
        finally:
            self._asking -= 1

    def close_window(self) -> None:
        """Run what has come, as far as there are free instances."""
        while self._free and (self._ready or self._queue.rows):
            batch = self._in_time(self._take_ready() or self._queue.take(self.terms.batch))
            if not batch:
                continue
            if not self.terms.is_quick:
                self._hand_over(self._free.pop(), batch)
                continue
            with self._running:
                began_ns = time.perf_counter_ns()
                ran = self._instance.run(batch)
            self._answer(batch, ran, began_ns)
            if self._queue.rows:  # others of the loop may go first
                self._loop.call_soon(self.close_window)
            break
        if not self._free:
            self._make_ready()
        if self._is_ending and self.is_idle:
            self._ended.set()

    async def end(self) -> None:
        """Let nothing more in, and wait until what was let in is answered."""
        self._is_ending = True
        with self._running:  # what another thread runs now has ended, and nothing more begins there
            self._window.cancel()
        self.close_window()
        try:
            if not self.is_idle:
                await self._ended.wait()
        finally:  # whoever waits no longer leaves nobody waiting
            while left := self._take_ready() or self._queue.take(self._queue.rows):
                self._leave(left)

    def _let(self, asks: Sequence[Ask]) -> list[tuple[int, Let]]:
        """Those that may be answered now, each with its place."""
        let = []
        for at, (inputs, caller, is_scored, came_ns) in enumerate(asks):
            try:
                rows = self._rows(inputs)
            except InputRefusedError:  # `submit` says why
                continue
            let.append((at, Let(inputs, rows, caller, came_ns, is_scored=is_scored)))
        return let

    def _rows(self, inputs: Arrays) -> int:
        for array in inputs.values():
            shape = array.shape
            rows = shape[0] if shape else 0
            if not 1 <= rows <= self.terms.max_rows:
                raise InputRefusedError(
                    f"{self.terms.pack}: one request takes 1 to {self.terms.max_rows} windows, not {rows}"
                )
            return rows
        raise InputRefusedError(f"{self.terms.pack}: there are no inputs")

    def _check(self, rank: int, caller: Caller, rows: int, deadline_s: float | None) -> None:
        """Refuse what finds no place, or cannot be done in its time."""
        terms = self.terms
        ready = [one for batch in tuple(self._ready) for one in batch]
        rows_before = self._queue.rows_before(rank) + sum([one.rows for one in ready])
        of_caller = self._queue.requests_of(rank, caller) + sum(
            [(one.caller, one.rank) == (caller, rank) for one in ready]
        )
        wait_s = self._times.wait_s(rows_before, terms.batch, self._n_instances, is_busy=not self._free)
        now = Waiting(rows_before, of_caller, wait_s, self._times.run_s(rows))
        left_s = None if deadline_s is None else deadline_s - self._loop.time()
        reason = refusal(terms.bounds, now, rows, left_s)
        if reason is None:
            return
        self._parts.note_refused(reason.name.lower())
        if reason is Reason.TOO_SHORT:
            raise DeadlinePassedError(terms.pack, reason.value)
        raise ServingFullError(terms.pack, reason.value, retry_after_s(wait_s))

    def _in_time(self, requests: Sequence[Request]) -> list[Request]:
        """Those that were not cancelled and did not come too late; any thread may ask."""
        batch, now_s = [], self._loop.time()
        for request in requests:
            if request.answer.done():
                continue
            if request.deadline_s is not None and request.deadline_s <= now_s:
                self._loop.call_soon_threadsafe(self._expire, request)
                continue
            batch.append(request)
        return batch

    def _expire(self, request: Request) -> None:
        if not request.answer.done():
            self.counts.note_dropped(time.perf_counter_ns() - request.came_ns)
            self._parts.note_refused("expired")
            late = DeadlinePassedError(self.terms.pack, "the deadline passed while the request waited")
            request.answer.set_exception(late)

    def _make_ready(self) -> None:
        """While all instances run, have the next batch ready, if it is a whole one of what is live.

        Whoever ends a run sees to it and asks nobody; what is more urgent and comes later waits for one run more at
        most.
        """
        if not self._ready and self._queue.rows_before(BACKLOG_RANK - 1) >= self.terms.batch:
            batch = self._in_time(self._queue.take(self.terms.batch))
            if batch:
                self._ready.append(batch)

    def _take_ready(self) -> list[Request]:
        """What was made ready; nothing where another thread was first."""
        try:
            return self._ready.popleft()
        except IndexError:
            return []

    def _hand_over(self, instance: Instance, batch: list[Request]) -> bool:
        """Give a batch to the workers; False where they have ended, and what they do not run is refused."""
        try:
            job = self._parts.workers.submit(self._work, instance, batch)
        except RuntimeError:
            self._loop.call_soon_threadsafe(self._leave, batch)
            return False
        job.add_done_callback(
            lambda job: self._loop.call_soon_threadsafe(self._leave, batch) if job.cancelled() else None
        )
        return True

    def _leave(self, left: Sequence[Request]) -> None:
        """Tell those who wait that nobody will answer them."""
        for request in left:
            if not request.answer.done():
                request.answer.set_exception(ModelUnloadedError(self.terms.pack))

    def _work(self, instance: Instance, waited: list[Request]) -> None:
        """Run in a worker's thread, and answer on the loop's.

        What is ready comes behind what other models have handed to the workers: each has its turn.
        """
        batch = self._in_time(waited)
        began_ns = time.perf_counter_ns()
        ran = instance.run(batch) if batch else None
        following = self._take_ready()
        goes_on = bool(following) and self._hand_over(instance, following)
        self._loop.call_soon_threadsafe(self._end_of_run, None if goes_on else instance, batch, ran, began_ns)

    def _end_of_run(self, free: Instance | None, batch: list[Request], ran: Ran | None, began_ns: int) -> None:
        if free is not None:
            self._free.append(free)
        self.close_window()  # the next run begins before the answers of this one are sent
        if ran is not None:
            self._answer(batch, ran, began_ns)

    def _answer(self, batch: list[Request], ran: Ran, began_ns: int) -> None:
        """Resolve each request's future, and count the batch once."""
        ended_ns = time.perf_counter_ns()
        for request, part in zip(batch, ran.parts, strict=True):
            answer = request.answer
            if answer.done():  # its caller may have gone while it ran
                continue
            said = self._said(part, began_ns - request.came_ns, ran)
            if isinstance(said, HubError):
                answer.set_exception(said)
            else:
                answer.set_result(said)
        self._count(batch, ran, began_ns, ended_ns)

    def _said(self, part: Part | HubError, waited_ns: int, ran: Ran) -> Inferred | HubError:
        """One request's part of a run as its answer."""
        if isinstance(part, HubError):
            return part
        terms, (outputs, scored) = self.terms, part
        return Inferred(
            outputs, terms.pack, terms.version, waited_ns, ran.compute_ns, ran.largest, False, terms.models, scored
        )

    def _count(self, batch: Sequence[Let], ran: Ran, began_ns: int, ended_ns: int) -> None:
        """Write down what a batch cost its callers, and how its requests fared; in the thread that ran it."""
        parts, requests = self._parts, len(batch)
        a_row = 1.0 / max(1, sum(ran.rows))
        row_ns, row_in, row_out = ran.compute_ns * a_row, ran.input_bytes * a_row, ran.output_bytes * a_row
        for caller, some in groupby(batch, _caller):
            of_caller = [one.rows for one in some]
            rows = sum(of_caller)
            cost = Cost(len(of_caller), rows, row_ns * rows, row_in * rows, row_out * rows)
            parts.book.add(CostKey(caller.tenant, caller.name, self.terms.pack), cost)
        answered = [one for one, part in zip(batch, ran.parts, strict=True) if not isinstance(part, HubError)]
        failed = requests - len(answered)
        if len(ran.rows) == 1:
            self._times.note(ran.rows[0], ran.compute_ns)
        self.counts.note_run(
            rows=ran.rows,
            requests=requests,
            input_ns=ran.input_ns,
            compute_ns=ran.compute_ns,
            output_ns=ran.output_ns,
            now_ns=parts.wall_ns(),
        )
        self.counts.note_answers(
            answered=len(answered),
            windows=sum([one.rows for one in answered]),
            took_ns=sum([ended_ns - one.came_ns for one in answered]),
            failed=failed,
            queue_ns=sum([began_ns - one.came_ns for one in batch]),
        )
        parts.note_run(ran.largest, ran.compute_ns / _NS_PER_S)
        for _ in range(failed):
            parts.note_refused("failed")


def _batches(let: Sequence[tuple[int, Let]], most: int) -> Iterator[Sequence[tuple[int, Let]]]:
    """In order, as many together as have no more windows than `most`; one that has more by itself alone."""
    first = rows = 0
    for at, (_, one) in enumerate(let):
        if at > first and rows + one.rows > most:
            yield let[first:at]
            first, rows = at, 0
        rows += one.rows
    if let:
        yield let[first:]
