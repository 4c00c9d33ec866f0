"""Owns what the pipeline's tests are made of: a store that crashes on demand, a broker that redelivers, a model.

The fakes implement the ports; a crash is "what was not committed is gone, and the broker sends again what was not
acknowledged".
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.accounting import Count, equations
from edge_agent.core.audit_lottery import KEY_BYTES
from edge_agent.core.budget import BucketSpec
from edge_agent.core.decision import Policy
from edge_agent.core.missing import Missing
from edge_agent.core.payload import PayloadSpec, StartFormat, Vectors
from edge_agent.core.rate_limit import RateLimit
from edge_agent.core.window_geometry import HoppingSpec
from edge_agent.core.windows import HoppingWindows
from edge_agent.delivery.publisher import Publisher
from edge_agent.inference.allotting import Allotment
from edge_agent.inference.answering import Answerer, LookAtInput, Model
from edge_agent.inference.draft import Draft
from edge_agent.inference.lane import Lane, LaneSpec
from edge_agent.inference.pipeline import Pipeline
from edge_agent.inference.rationing import Ration
from edge_agent.inference.window_intake import WindowIntake
from edge_agent.ports import (
    AckHandle,
    BindingName,
    CounterKey,
    Delivery,
    JournalRow,
    Publish,
    Remembered,
    RowId,
    Unit,
)
from model_packs.engines.session import SessionFacts
from model_packs.errors import EngineError
from protos.messages.inference import ModelUse
from protos.topics import TopicTemplate
from tests.unit.edge_agent.adapters.sqlite.builders import TestClock
from tests.unit.edge_agent.packs.manifests import MANIFEST

BINDING = BindingName("press")
BROKER = "plant"
START_S = 1_790_000_000
RECEIVED_NS = START_S * 1_000_000_000
SAMPLES, CHANNELS = 5, 2


class MemoryStore:
    """What is committed, and what is submitted; `commit` moves one into the other. Implements `UnitStore`."""

    def __init__(self) -> None:
        self.figures: Counter[CounterKey] = Counter()
        self.journal: dict[RowId, JournalRow] = {}
        self.seen: dict[bytes, None] = {}
        self.states: dict[str, str] = {}
        self.waiting: dict[RowId, Publish] = {}
        self.submitted: list[Unit] = []
        self.is_durable = True
        self._row = 0

    def new_row(self) -> RowId:
        """Rises for ever."""
        self._row += 1
        return RowId(self._row)

    def submit(self, unit: Unit) -> None:
        """Not committed yet."""
        self.submitted.append(unit)

    def remembered(self, binding: BindingName) -> Remembered:
        """What is committed; what is submitted is committed first."""
        assert binding == BINDING
        self.commit()
        return Remembered(dict(self.states), tuple(self.journal.values()), tuple(self.seen))

    def crash(self) -> None:
        """Lose what was not committed."""
        self.submitted.clear()

    def commit(self) -> list[AckHandle]:
        """Commit everything; what is to be acknowledged now."""
        units, self.submitted = self.submitted, []
        for unit in units:
            self._apply(unit)
        return [ack for unit in units for ack in unit.acks]

    def publishable(self, broker: str, limit: int, in_flight: Any) -> list[Publish]:  # noqa: ANN401 - any collection
        """Committed messages."""
        return [p for row, p in self.waiting.items() if p.broker == broker and row not in in_flight][:limit]

    def delivered(self, rows: Sequence[RowId]) -> None:
        """Nothing is saved by it here."""

    def published(self, rows: Sequence[RowId]) -> None:
        """Trim."""
        for row in rows:
            if self.waiting.pop(row, None) is not None:
                self.figures[BINDING, Count.PREDICTIONS_PUBLISHED] += 1

    def broken_equations(self) -> list[str]:
        """Names of equations that do not hold."""
        figures: dict[tuple[str, str], int] = {(str(b), n): v for (b, n), v in self.figures.items()}
        figures[BINDING, Count.SAMPLES_PENDING] = sum(row.pending for row in self.journal.values())
        figures[BINDING, Count.PREDICTIONS_PENDING_PUBLISH] = len(self.waiting)
        return [one.name for one in equations(figures) if not one.holds]

    def _apply(self, unit: Unit) -> None:
        self.figures.update(unit.counts)
        self.journal |= {row.row: row for row in unit.journal}
        for row, left in unit.pending.items():
            kept = self.journal[row]
            self.journal[row] = JournalRow(
                row, kept.binding, kept.partition, kept.received_ns, kept.times_ns, kept.values, left
            )
        for row in unit.released:
            del self.journal[row]
        for _, key in unit.forgotten:
            self.seen.pop(key, None)
        for _, key in unit.seen:
            assert key not in self.seen
            self.seen[key] = None
        for (_, name), state in unit.states.items():
            if state is None:
                self.states.pop(name, None)
            else:
                self.states[name] = state
        for one in unit.decided:
            self.figures[BINDING, Count.PREDICTIONS_DECIDED] += 1
            for name in one.counted:
                self.figures[BINDING, name] += 1
            self.waiting[one.publish.row] = one.publish


@dataclass
class RedeliveringBroker:
    """Keeps records until they are acknowledged; takes answers while it is up. Implements `Broker`."""

    connected: bool = True
    window: int = 1000
    answers: list[Publish] = field(default_factory=list)
    unacknowledged: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    acknowledged: list[int] = field(default_factory=list)

    def open(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""

    def publish(self, publishes: Sequence[Publish]) -> list[Publish]:
        """Take answers."""
        room = max(0, self.window - len(self.answers)) if self.connected else 0
        self.answers += publishes[:room]
        return list(publishes[room:])

    def acknowledge(self, handles: Sequence[AckHandle]) -> None:
        """Forget records."""
        for handle in handles:
            self.acknowledged.append(handle.message_id)
            self.unacknowledged.pop(handle.message_id, None)

    def record(self, number: int, payload: bytes, topic: str = "plant/m1/raw") -> Delivery:
        """A new record, kept until its acknowledgement."""
        self.unacknowledged[number] = (topic, payload)
        return self._delivery(number)

    def redeliveries(self) -> list[Delivery]:
        """Everything that was not acknowledged, again, in order."""
        return [self._delivery(number) for number in sorted(self.unacknowledged)]

    def _delivery(self, number: int) -> Delivery:
        topic, payload = self.unacknowledged[number]
        return Delivery(BINDING, topic, payload, False, RECEIVED_NS, AckHandle(BROKER, 1, number, 1))


class SteadySession:
    """A model that is sure of the first label, unless it is told to fail. Implements `Session`."""

    facts = SessionFacts("fake", "1", "cpu", "fp32", "fp32", MANIFEST.digest, 1)

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.poison: float | None = None
        self.failure: EngineError = EngineError("the engine broke", "mend it")
        self.tries = 0
        self.output = "logits"
        self.on_run: Callable[[], None] = lambda: None

    def open(self) -> None:
        """Nothing to do."""

    def warm_up(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Logits [batch, 3]."""
        windows = inputs["window"]
        self.tries += 1
        if self.poison is not None and (windows == np.float32(self.poison)).any():
            raise self.failure
        self.batches.append(len(windows))
        self.on_run()
        logits = np.zeros((len(windows), 3), np.float32)
        logits[:, 0] = 9.0
        return {self.output: logits}


class BreakableLane(Lane[Vectors]):
    """A lane with a fault of the program: one payload breaks it, every time."""

    breaks_on: bytes | None = None

    def accept(self, delivery: Delivery, now_s: float, draft: Draft) -> None:
        """As the real one, but for the one payload."""
        super().accept(delivery, now_s, draft)
        if delivery.payload == self.breaks_on:
            raise RuntimeError("a fault of ours")


@dataclass
class Bench:
    """A pipeline with everything around it."""

    store: MemoryStore = field(default_factory=MemoryStore)
    broker: RedeliveringBroker = field(default_factory=RedeliveringBroker)
    session: SteadySession = field(default_factory=SteadySession)
    clock: TestClock = field(default_factory=TestClock)
    policy: Policy = field(default_factory=lambda: Policy(threshold=0.5))
    capacity: int = 64
    hold_s: float = 0.0
    hop_s: float = 1.0
    seen_limit: int = 1000
    max_skew_s: Any = 300.0
    units: list[Unit] = field(default_factory=list)
    fault: Callable[[Unit], None] | None = None
    breaks_on: bytes | None = None
    metrics_fault: Exception | None = None
    failures: list[str] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    ration: Ration = field(default_factory=lambda: Ration(None))
    unscorable: BucketSpec = field(default_factory=lambda: BucketSpec(100.0, 1.0))
    look: LookAtInput = field(default=lambda *_: None)
    engine_failures: list[ModelUse] = field(default_factory=list)
    scored: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.boot()

    def boot(self) -> None:
        """A new process on what the store holds."""
        self.publisher = Publisher(self.store, {BROKER: self.broker})
        windows = HoppingSpec(5.0, 1.0, self.hop_s, 0.0, 10.0, 0.9, Missing.REJECT, 10, max_leap_s=300.0)
        payload = PayloadSpec(
            CHANNELS, 5.0, "samples", "t0", StartFormat.ISO8601, ("seq",), None, Missing.REJECT, 10_000, self.max_skew_s
        )
        spec = LaneSpec(
            binding=BINDING,
            broker=BROKER,
            topic=TopicTemplate("plant/{machine}/raw"),
            result_topic=TopicTemplate("plant/{machine}/inference"),
            result_qos=1,
            result_expiry_s=None,
            fixed_captures={"device": "press-07", "binding": BINDING},
            seen_limit=self.seen_limit,
            seen_max_age_s=604800.0,
        )
        self.answerer = Answerer(
            "press-07",
            BINDING,
            Model(MANIFEST, self.session, self.policy, None, ModelUse("tiny-edge@1.0.0", MANIFEST.digest)),
            self.clock,
            new_row=self.store.new_row,
            on_run=self._ran,
            on_answered=lambda _, latency_ms: self.latencies_ms.append(latency_ms),
            on_scored=lambda _, use, count: self.scored.update({use.pack: count}),
            on_engine_failure=lambda _, use: self.engine_failures.append(use),
            allotment=Allotment(self.ration, RateLimit(self.unscorable), b"k" * KEY_BYTES, self.clock),
            look=self.look,
        )
        lane = BreakableLane(
            spec,
            WindowIntake(BINDING, ("machine",), payload, partial(HoppingWindows, windows, CHANNELS), self.store),
            self.answerer,
            self.store,
            on_failure=self.failures.append,
        )
        lane.breaks_on = self.breaks_on
        self.pipeline = Pipeline(
            [lane],
            self.store,
            self.publisher,
            self.clock,
            observers=(self._passed,),
            capacity=self.capacity,
            hold_s=self.hold_s,
        )
        self.pipeline.restore()

    def send(self, number: int, payload: bytes | None = None) -> bool:
        """A record arrives."""
        return self.pipeline.offer(self.broker.record(number, message(number) if payload is None else payload))

    def commit(self) -> None:
        """The store commits, then acknowledges."""
        self.broker.acknowledge(self.store.commit())

    def run(self, passes: int = 1) -> None:
        """Passes, each committed and acknowledged."""
        for _ in range(passes):
            self.pipeline.run_once()
            self.commit()

    def events(self) -> list[dict[str, Any]]:
        """Everything that was published."""
        return [json.loads(publish.payload) for publish in self.broker.answers]

    def count(self, name: str) -> int:
        """A committed counter."""
        return self.store.figures[BINDING, name]

    def _ran(self, binding: str, took_s: float) -> None:
        del binding, took_s
        if self.metrics_fault is not None:
            raise self.metrics_fault

    def _passed(self, unit: Unit, took_s: float) -> None:
        del took_s
        if self.fault is not None:
            self.fault(unit)
        self.units.append(unit)


def message(second: int, value: float = 1.0) -> bytes:
    """One second of samples."""
    start = datetime.fromtimestamp(START_S + second, UTC).isoformat().replace("+00:00", "Z")
    return json.dumps({"t0": start, "seq": second, "samples": [[value, 0.5]] * SAMPLES}).encode()
