"""Owns the pass that turns deliveries into answers, the bounded queue before it, and whose thread it runs on.

One pass drains what waits, feeds every binding's lane, runs one inference a binding over all closed windows, publishes
the answers directly, and hands the store one unit for all bindings of the same terms. Nothing in it waits for the disk
or the network: the store commits and acknowledges behind it, and what cannot be published now is published by
`publisher.py`.

While answers are quick, whoever has handed deliveries in makes the pass: to wake another thread would cost as much as
the answer. Slow ones are left to the pipeline's own thread, so that the connection is read and answered meanwhile. That
thread also makes the passes in which only time goes by, and those after a fault. It does not take a quick one from who
hands in: from then on each of the two would find the other at it, and every record would change threads.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from edge_agent.core.durability import JournalTerms
from edge_agent.delivery.publisher import Publisher
from edge_agent.inference.draft import Draft
from edge_agent.ports import AckHandle, BindingName, Clock, Delivery, Unit, UnitStore
from model_packs.process.crash_points import CrashPoint, crash_point

QUEUE_FULL = "queue_full"
FAILED_ALONE = "failed_alone"
MAX_BATCH = 256
IDLE_WAIT_S = 0.1
HOLD_S = 20.0
"""Less than a broker's patience (1.5 times the keepalive), and more than the slowest pass."""

QUICK_S = 0.005
"""An answer that takes less is made on the thread that handed its record in."""

_MOST_LEAD = 8
_REST_S = 3.0

OnPass = Callable[[Unit, float], None]
"""A unit was handed to the store; its pass took so many seconds from its first delivery in hand to its last publish."""


class Taker(Protocol):
    """Takes the records of one binding through a pass (`lane.py`)."""

    @property
    def binding(self) -> BindingName:
        """Whose records."""
        ...

    @property
    def terms(self) -> JournalTerms:
        """What the journal promises for them."""
        ...

    def restore(self, now_s: float) -> None:
        """Go on where the last commit was; `now_s` is monotonic."""
        ...

    def accept(self, delivery: Delivery, now_s: float, draft: Draft) -> None:
        """Take one record into the pass."""
        ...

    def tick(self, now_s: float, now_ns: int, draft: Draft) -> None:
        """Let time pass; monotonic and wall clock."""
        ...

    def answer(self, draft: Draft, *, is_durable: bool) -> None:
        """Infer what is to be asked in this pass."""
        ...

    def look(self) -> None:
        """Look at inputs of this pass, once its answers are out."""
        ...

    def shed(self, reason: str, amount: int, draft: Draft) -> None:
        """Count records that were never looked at."""
        ...


class Pipeline:
    """The pass and its queue. `run_once` is its own thread's loop body; `offer` and `run_waiting` may be called by any.

    Args:
        lanes: One per binding.
        store: Where units go.
        publisher: Publishes answers.
        clock: Passed on to the lanes.
        observers: Told of every pass.
        capacity: Deliveries that may wait.
        hold_s: How long a delivery that is to be acknowledged waits for room.
    """

    def __init__(
        self,
        lanes: Sequence[Taker],
        store: UnitStore,
        publisher: Publisher,
        clock: Clock,
        *,
        observers: Sequence[OnPass],
        capacity: int,
        hold_s: float = HOLD_S,
    ) -> None:
        self._hold_s = hold_s
        self._lanes = {lane.binding: lane for lane in lanes}
        self._terms = frozenset(lane.terms for lane in lanes)
        self._store = store
        self._publisher = publisher
        self._clock = clock
        self._observers = tuple(observers)
        self._capacity = capacity
        self._changed = threading.Condition()  # guards the four below
        self._waiting: deque[Delivery] = deque()
        self._is_called = False
        self._shed: Counter[tuple[BindingName, str]] = Counter()
        self._shed_acks: list[tuple[BindingName, AckHandle]] = []
        self._passing = threading.Lock()  # held for a pass; guards all below
        self._again: deque[Delivery] = deque()
        self._is_spoilt = False
        self._failure: Exception | None = None
        self._lead = 0  # of quick answers over slow ones, lately: single ones that had to wait say nothing
        self._is_resting = False
        self._has_helpers = False  # who hands records in makes passes, too
        self._ticked_s = float("-inf")
        self.last_pass_s = clock.monotonic_s()

    def restore(self) -> None:
        """Rebuild windows and dedupe keys from the store; called before the first pass."""
        for lane in self._lanes.values():
            lane.restore(self._clock.monotonic_s())

    def offer(self, delivery: Delivery) -> bool:
        """Take a delivery in, from any thread; `run_waiting` follows.

        Where the sender keeps what is not acknowledged, a full queue holds the caller back, and so the connection: some
        brokers send more than the window that they were given (mosquitto 2.0 does when a session goes on).

        Returns:
            False when the queue is full: the record is counted as shed, and acknowledged with the next commit.
        """
        with self._changed:
            if not self._has_room():
                self._call()
                if delivery.ack is None or not self._changed.wait_for(self._has_room, self._hold_s):
                    self._note_shed(delivery, QUEUE_FULL)
                    return False
            self._waiting.append(delivery)
        return True

    def run_waiting(self) -> None:
        """Answer what waits on the caller's thread, if that is quick and nobody is at it; else wake the own thread.

        What other connections hand in meanwhile is left to that one: else a busy one would keep this caller for ever.
        """
        self._has_helpers = True
        if not self._waiting:
            return
        # A quick pass of somebody else is over before another thread would be awake.
        if self._passing.acquire(timeout=QUICK_S if self._is_quick() else 0.0):
            try:
                for _ in range(0, len(self._waiting), MAX_BATCH):
                    if self._waiting and self._is_quick():
                        self._run_pass()
            except Exception as error:  # noqa: BLE001 - handed to the supervised loop, which raises it
                self._failure = error
            finally:
                self._passing.release()
        if self._waiting or self._failure is not None:
            with self._changed:
                self._call()

    def run_once(self) -> None:
        """One pass on the pipeline's own thread; waits up to `IDLE_WAIT_S` for something to do.

        A pass that fails, wherever it ran, is a fault of this program, and fails this loop. The lanes are rebuilt from
        the store before the next one, and the deliveries of the failed pass are tried again one by one; one that fails
        alone is shed and counted.
        """
        with self._changed:
            is_due = self._changed.wait_for(self._is_due, IDLE_WAIT_S)
            self._is_called = False
        if not (is_due or self._waiting) and self._clock.monotonic_s() - self._ticked_s < IDLE_WAIT_S / 2:
            return  # time has just gone by in somebody else's pass
        with self._passing:
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
            if self._is_spoilt:
                self.restore()
                self._is_spoilt = False
            self._run_pass()

    def rest(self) -> None:
        """Leave every pass to the pipeline's own thread from now on; waits for the one in hand, but not for ever."""
        self._is_resting = True
        if self._passing.acquire(timeout=_REST_S):
            self._passing.release()

    def _has_room(self) -> bool:
        return len(self._waiting) < self._capacity

    def _is_due(self) -> bool:
        """Whether the pipeline's own thread has something to do; the caller holds the condition."""
        is_left_to_others = self._has_helpers and self._is_quick()
        return bool(self._is_called or self._again or (self._waiting and not is_left_to_others))

    def _call(self) -> None:
        """Wake the pipeline's own thread; the caller holds the condition."""
        self._is_called = True
        self._changed.notify_all()

    def _is_quick(self) -> bool:
        """Whether whoever hands records in may wait for their answers; not known before the first one."""
        return self._lead > 0 and not (self._is_spoilt or self._again or self._is_resting)

    def _run_pass(self) -> None:
        """Drain and pass; the caller is the only one."""
        deliveries = self._drain()
        try:
            self._pass(deliveries)
        except BaseException:
            self._is_spoilt = True
            if len(deliveries) > 1:
                self._again.extend(deliveries)
            with self._changed:
                for delivery in deliveries if len(deliveries) == 1 else ():
                    self._note_shed(delivery, FAILED_ALONE)
            raise

    def _pass(self, deliveries: Sequence[Delivery]) -> None:
        began_s = self._clock.monotonic_s()
        self.last_pass_s = began_s
        is_synced = self._clock.is_synced()
        drafts = {terms: Draft(terms, is_synced) for terms in self._terms}
        for delivery in deliveries:
            lane = self._lanes[delivery.binding]
            lane.accept(delivery, began_s, drafts[lane.terms])
        if not deliveries or began_s - self._ticked_s >= IDLE_WAIT_S:
            self._tick(began_s, drafts)
        is_durable = self._store.is_durable
        for lane in self._lanes.values():
            lane.answer(drafts[lane.terms], is_durable=is_durable)
        self._add_shed(drafts)
        decided = [one for draft in drafts.values() for one in draft.decided]
        if decided or deliveries:
            crash_point(CrashPoint.INFERRED)
        if decided:
            said = [*(one.alarm for one in decided if one.alarm is not None), *(one.publish for one in decided)]
            self._publisher.publish_now(said)
        units = [unit for unit in map(Draft.unit, drafts.values()) if unit is not None]
        for unit in units:
            self._store.submit(unit)
        if units:
            crash_point(CrashPoint.ANSWERED)
            self._tell(units, self._clock.monotonic_s() - began_s, len(decided))

    def _tick(self, now_s: float, drafts: Mapping[JournalTerms, Draft]) -> None:
        """Let the lanes see that time goes by: with every idle pass, and as often while there is no idle one."""
        self._ticked_s = now_s
        for lane in self._lanes.values():
            lane.tick(now_s, self._clock.wall_ns(), drafts[lane.terms])

    def _tell(self, units: Sequence[Unit], took_s: float, answers: int) -> None:
        """Do what the answers did not wait for."""
        self._note_pace(took_s, answers)
        for told in self._observers:
            for unit in units:
                told(unit, took_s)
        for lane in self._lanes.values():
            lane.look()

    def _note_pace(self, took_s: float, answers: int) -> None:
        if answers:
            is_quick = took_s < QUICK_S * answers
            self._lead = min(self._lead + 1, _MOST_LEAD) if is_quick else max(self._lead - 1, -_MOST_LEAD)

    def _drain(self) -> list[Delivery]:
        if self._again:
            return [self._again.popleft()]
        with self._changed:
            deliveries = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
            if len(self._waiting) + len(deliveries) >= self._capacity:
                self._changed.notify_all()
        return deliveries

    def _note_shed(self, delivery: Delivery, reason: str) -> None:
        """Count a record that nobody looks at; the caller holds the condition."""
        self._shed[delivery.binding, reason] += 1
        if delivery.ack is not None:
            self._shed_acks.append((delivery.binding, delivery.ack))

    def _add_shed(self, drafts: Mapping[JournalTerms, Draft]) -> None:
        if not self._shed:
            return
        with self._changed:
            shed, self._shed = self._shed, Counter()
            acks, self._shed_acks = self._shed_acks, []
        for (binding, reason), amount in shed.items():
            lane = self._lanes[binding]
            lane.shed(reason, amount, drafts[lane.terms])
        for binding, ack in acks:
            drafts[self._lanes[binding].terms].acks.append(ack)
