"""Owns the books of local calls: what callers were answered is counted in batches, behind the answers.

An answer that its caller holds has no row in the store; it is in the store's counters and in the totals of its policy,
which change together, so the equations of `core/accounting.py` hold at every commit. What a crash takes is the last
second of both sides. A call adds a few numbers in memory; the rest is done here, in a thread of its own.
"""

import threading
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from numpy.typing import NDArray

from edge_agent.core.accounting import Count
from edge_agent.core.durability import Durability, JournalTerms, OnJournalFailure
from edge_agent.core.local_call import LATENCY_BUCKETS_S, CallFigures
from edge_agent.inference.answering import LookAtInput
from edge_agent.ports import BindingName, CounterKey, PolicyUse, Returned, Unit
from model_packs.manifest import PackManifest
from protos.messages.inference import ModelUse

PERIOD_S: Final = 1.0

ANSWERED: Final = (Count.WINDOWS_CLOSED, Count.WINDOWS_INFERRED)
"""What every input of a call that was answered adds 1 to: it is a window, closed and inferred at once."""

_TERMS: Final = JournalTerms(Durability.PROCESS, OnJournalFailure.ANSWER)  # nobody waits for it: no sync each second
_TOLD_LATENCIES: Final = 64
_UNSEEN_BYTES: Final = 1 << 20  # of inputs that are to be looked at, a period
_MS_PER_S: Final = 1000.0


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What an answer that its caller holds adds to the books; told apart by identity, so that counting it is quick.

    Attributes:
        counted: Counters that the decision adds 1 to.
    """

    binding: BindingName
    decided_by: PolicyUse
    counted: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Whom a call asked: a binding and the pack that it runs."""

    binding: BindingName
    use: ModelUse
    figures: CallFigures


class Unseen(NamedTuple):
    """An input that is to be looked at: `InputWatch.look`'s arguments."""

    binding: BindingName
    digest: str
    manifest: PackManifest
    values: NDArray[Any]
    at_ns: int


Times = tuple[float, float, float, float]
"""When a call came, had its turn, had run, and was decided; monotonic, in seconds."""


class Submits(Protocol):
    """The store as the books see it."""

    def submit(self, unit: Unit) -> None:
        """Hand in what is to be counted; never waits."""
        ...


class CallTally:
    """All local calls of one process. `run_once` is the body of its own loop.

    Args:
        store: Where the books are kept.
        on_unit: Told of every unit, for the metrics.
        on_answered: Told of some of the latest answers: the binding, and how long it took in milliseconds.
        on_scored: Told how many questions were answered with a score: the binding, the pack, the number.
        look: Looks at inputs.
    """

    def __init__(
        self,
        store: Submits,
        *,
        on_unit: Callable[[Unit], None],
        on_answered: Callable[[str, float], None],
        on_scored: Callable[[str, ModelUse, int], None],
        look: LookAtInput,
    ) -> None:
        self._store = store
        self._on_unit = on_unit
        self._on_answered = on_answered
        self._on_scored = on_scored
        self._look = look
        self._lock = threading.Lock()
        self._sources: dict[tuple[BindingName, str], Source] = {}
        self._outcomes: Counter[Outcome] = Counter()
        self._scored: Counter[Source] = Counter()
        self._latencies: deque[tuple[BindingName, float]] = deque(maxlen=_TOLD_LATENCIES)
        self._unseen: list[Unseen] = []
        self._unseen_bytes = 0
        self._is_closing = threading.Event()

    def source(self, binding: BindingName, use: ModelUse) -> Source:
        """Whom a call asks: always the same object for the same pack."""
        with self._lock:
            return self._sources.setdefault((binding, use.digest), Source(binding, use, CallFigures()))

    def note(self, source: Source, outcomes: Sequence[Outcome], rows: int, scored: int, times: Times) -> None:
        """Count an answered call: a lock and a few additions, since the answer waits for it.

        Args:
            source: Whom it asked.
            outcomes: Of the rows that the caller holds; others are in the store already.
            rows: All of them.
            scored: Those with a score.
            times: Of the call.
        """
        came_s, began_s, ran_s, done_s = times
        figures, whole_s = source.figures, done_s - came_s
        with self._lock:
            figures.calls += 1
            figures.rows += rows
            figures.total_s += whole_s
            figures.queue_s += began_s - came_s
            figures.run_s += ran_s - began_s
            figures.last_s = done_s
            figures.by_bucket[bisect_left(LATENCY_BUCKETS_S, whole_s)] += 1
            self._scored[source] += scored
            for one in outcomes:
                self._outcomes[one] += 1
            self._latencies.append((source.binding, whole_s))

    def failed(self, source: Source, took_s: float) -> None:
        """Count a call that the engine failed on."""
        with self._lock:
            source.figures.failed += 1
            source.figures.failed_s += took_s

    def show(self, unseen: Unseen) -> None:
        """Let an input be looked at, behind the answer: a copy, since a view would hold its whole request.

        Copies are bounded: of larger inputs fewer are looked at, at least one a period.
        """
        with self._lock:
            if self._unseen and self._unseen_bytes + unseen.values.nbytes > _UNSEEN_BYTES:
                return
            self._unseen.append(unseen._replace(values=unseen.values.copy()))
            self._unseen_bytes += unseen.values.nbytes

    def submit(self, unit: Unit) -> None:
        """Store answers that the hub is asked about, at once."""
        self._store.submit(unit)
        self._on_unit(unit)

    def figures(self) -> Mapping[tuple[BindingName, ModelUse], CallFigures]:
        """What became of all calls until now, by binding and pack."""
        with self._lock:
            return {(one.binding, one.use): one.figures.copy() for one in self._sources.values()}

    def run_once(self) -> None:
        """Wait a second, then keep the books."""
        self._is_closing.wait(PERIOD_S)
        self.flush()
        with self._lock:
            unseen, self._unseen, self._unseen_bytes = self._unseen, [], 0
        for one in unseen:
            self._look(*one)

    def flush(self) -> None:
        """Keep the books now; called once more when no call can come any more."""
        with self._lock:
            outcomes, self._outcomes = self._outcomes, Counter()
            scored, self._scored = self._scored, Counter()
            latencies = list(self._latencies)
            self._latencies.clear()
        if outcomes:
            self.submit(_unit(outcomes))
        for source, amount in scored.items():
            if amount:
                self._on_scored(source.binding, source.use, amount)
        for binding, latency_s in latencies:
            self._on_answered(binding, latency_s * _MS_PER_S)

    def stop(self) -> None:
        """Let `run_once` return; may be called twice."""
        self._is_closing.set()


def _unit(outcomes: Mapping[Outcome, int]) -> Unit:
    counts: Counter[CounterKey] = Counter()
    for one, amount in outcomes.items():
        for name in (*ANSWERED, Count.PREDICTIONS_DECIDED, Count.PREDICTIONS_RETURNED, *one.counted):
            counts[one.binding, name] += amount
    returned = tuple(Returned(one.binding, one.decided_by, amount) for one, amount in outcomes.items())
    return Unit(counts=dict(counts), returned=returned, terms=_TERMS)
