"""Owns the inference thread: a bounded queue of deliveries, and the pass that turns them into answers.

One pass drains what waits, feeds every binding's lane, runs one inference a binding over all closed windows, hands the
store one unit for all bindings of the same terms, and publishes the answers directly. Nothing in it waits for the disk
or the network: the store commits and acknowledges behind it, and what cannot be published now is published by
`publisher.py`.
"""

import queue
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
    """The pass and its queue. `run_once` is the thread's loop body.

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
        self._store = store
        self._publisher = publisher
        self._clock = clock
        self._observers = tuple(observers)
        self._waiting: queue.Queue[Delivery] = queue.Queue(capacity)
        self._shed_lock = threading.Lock()
        self._shed: Counter[tuple[BindingName, str]] = Counter()
        self._again: deque[Delivery] = deque()
        self._is_spoilt = False
        self._shed_acks: list[tuple[BindingName, AckHandle]] = []
        self.last_pass_s = clock.monotonic_s()

    def restore(self) -> None:
        """Rebuild windows and dedupe keys from the store; called before the first pass."""
        for lane in self._lanes.values():
            lane.restore(self._clock.monotonic_s())

    def offer(self, delivery: Delivery) -> bool:
        """Take a delivery in, from any thread.

        Where the sender keeps what is not acknowledged, a full queue holds the caller back, and so the connection: some
        brokers send more than the window that they were given (mosquitto 2.0 does when a session goes on).

        Returns:
            False when the queue is full: the record is counted as shed, and acknowledged with the next commit.
        """
        try:
            self._waiting.put(delivery, block=delivery.ack is not None, timeout=self._hold_s)
        except queue.Full:
            self._note_shed(delivery, QUEUE_FULL)
            return False
        return True

    def run_once(self) -> None:
        """One pass; waits up to `IDLE_WAIT_S` for the first delivery.

        A pass that fails is a fault of this program. The lanes are rebuilt from the store before the next one, and the
        deliveries of the failed pass are tried again one by one; one that fails alone is shed and counted.
        """
        if self._is_spoilt:
            self.restore()
            self._is_spoilt = False
        deliveries = self._drain()
        try:
            self._pass(deliveries)
        except BaseException:
            self._is_spoilt = True
            if len(deliveries) > 1:
                self._again.extend(deliveries)
            for delivery in deliveries if len(deliveries) == 1 else ():
                self._note_shed(delivery, FAILED_ALONE)
            raise

    def _pass(self, deliveries: Sequence[Delivery]) -> None:
        began_s = self._clock.monotonic_s()
        self.last_pass_s = began_s
        is_synced = self._clock.is_synced()
        drafts = {lane.terms: Draft(lane.terms, is_synced) for lane in self._lanes.values()}
        for delivery in deliveries:
            lane = self._lanes[delivery.binding]
            lane.accept(delivery, began_s, drafts[lane.terms])
        is_durable = self._store.is_durable
        for lane in self._lanes.values():
            lane.tick(began_s, self._clock.wall_ns(), drafts[lane.terms])
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
        if not units:
            return
        crash_point(CrashPoint.ANSWERED)
        took_s = self._clock.monotonic_s() - began_s
        for told in self._observers:
            for unit in units:
                told(unit, took_s)
        for lane in self._lanes.values():
            lane.look()

    def _drain(self) -> list[Delivery]:
        if self._again:
            return [self._again.popleft()]
        deliveries: list[Delivery] = []
        try:
            deliveries.append(self._waiting.get(timeout=IDLE_WAIT_S))
            while len(deliveries) < MAX_BATCH:
                deliveries.append(self._waiting.get_nowait())
        except queue.Empty:
            pass
        return deliveries

    def _note_shed(self, delivery: Delivery, reason: str) -> None:
        with self._shed_lock:
            self._shed[delivery.binding, reason] += 1
            if delivery.ack is not None:
                self._shed_acks.append((delivery.binding, delivery.ack))

    def _add_shed(self, drafts: Mapping[JournalTerms, Draft]) -> None:
        with self._shed_lock:
            shed, self._shed = self._shed, Counter()
            acks, self._shed_acks = self._shed_acks, []
        for (binding, reason), amount in shed.items():
            lane = self._lanes[binding]
            lane.shed(reason, amount, drafts[lane.terms])
        for binding, ack in acks:
            drafts[self._lanes[binding].terms].acks.append(ack)
