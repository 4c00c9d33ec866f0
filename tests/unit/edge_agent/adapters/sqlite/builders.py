"""Owns what the store's tests are made of: a clock of their own, a store in a folder, units and verdicts."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from edge_agent.adapters.sqlite.store import Store, StoreSettings
from edge_agent.core.accounting import Count, equations
from edge_agent.core.outbox import Limits, OnFull
from edge_agent.ports import AckHandle, BindingName, DeadLetter, Decided, JournalRow, PolicyUse, Publish, RowId, Unit
from model_packs.outputs import Classification
from model_packs.tensors import Tensor
from protos.messages.escalation import Escalation, ItemClass, PredictionId, Reason, Verdict
from protos.messages.inference import ModelUse, Tier

BINDING = BindingName("press")
MODEL = ModelUse("bearing-edge@1.0.0", "sha256:" + "1" * 64)
DIGEST = "sha256:" + "2" * 64
INPUTS = (Tensor.from_array("window", np.zeros((1, 4, 2), np.float32)),)


@dataclass
class TestClock:
    """A clock that stands still until a test moves it."""

    __test__ = False
    wall: int = 1_790_000_000_000_000_000
    monotonic: float = 1000.0
    boot: str = "boot-1"
    synced: bool = True

    def wall_ns(self) -> int:
        """Unix nanoseconds."""
        return self.wall

    def monotonic_s(self) -> float:
        """Seconds since boot."""
        return self.monotonic

    def boot_id(self) -> str:
        """Which boot."""
        return self.boot

    def is_synced(self) -> bool:
        """Whether wall time is trusted."""
        return self.synced

    def pass_s(self, seconds: float) -> None:
        """Let time go by."""
        self.wall += round(seconds * 1e9)
        self.monotonic += seconds


def limits(max_bytes: int = 1 << 20, on_full: OnFull = OnFull.DROP_OLDEST) -> Limits:
    """Half of the outbox for predictions, most of the rest for questions, a little for audits and for feedback."""
    shares = dict.fromkeys(ItemClass, 0.0) | {ItemClass.PREDICTION: 0.5, ItemClass.ESCALATION: 0.4}
    shares |= {ItemClass.AUDIT: 0.05, ItemClass.FEEDBACK: 0.05}
    return Limits(max_bytes, shares, dict.fromkeys(ItemClass, on_full) | {ItemClass.FEEDBACK: OnFull.DROP_NEWEST})


@dataclass
class Opened:
    """An open store and what it told the world."""

    store: Store
    clock: TestClock
    acknowledged: list[AckHandle] = field(default_factory=list)
    commits: list[float] = field(default_factory=list)

    def commit(self, unit: Unit) -> None:
        """Submit a unit and wait until it is committed."""
        self.store.submit(unit)
        self.store.sweep()

    def counts(self) -> dict[str, int]:
        """Counters and pending rows of the one binding."""
        return {name: value for (binding, name), value in self.store.figures().items() if binding == BINDING}

    def broken_equations(self) -> list[str]:
        """Names of equations that do not hold."""
        return [
            one.name
            for one in equations({(str(binding), name): n for (binding, name), n in self.store.figures().items()})
            if not one.holds
        ]


OpenStore = Callable[..., Opened]


def open_store(
    folder: Path,
    clock: TestClock | None = None,
    settings: StoreSettings | None = None,
    announce: Callable[[Sequence[DeadLetter]], None] = lambda letters: None,  # noqa: ARG005 - nobody listens
) -> Opened:
    """Open a store in a folder."""
    own_clock = clock or TestClock()
    acknowledged: list[AckHandle] = []
    commits: list[float] = []
    store = Store(
        folder,
        own_clock,
        settings or StoreSettings(limits(), escalation_max_age_s=3600.0, dead_letter_max_bytes=1 << 18),
        agent_version="1.2.3",
        acknowledge=acknowledged.extend,
        on_publishable=lambda: None,
        on_commit=lambda took_s, counts: commits.append(took_s),  # noqa: ARG005 - only how often
        on_dead_letters=announce,
    )
    store.open()
    return Opened(store, own_clock, acknowledged, commits)


def event_json(name: str, status: str) -> bytes:
    """An event as the pipeline would publish it."""
    outcome = "queued" if status == "provisional" else "none"
    return json.dumps(
        {
            "schema": "edge.prediction/1",
            "id": name,
            "binding": BINDING,
            "ts": "2026-11-21T08:00:00Z",
            "status": status,
            "revision": 0,
            "tier": "edge",
            "output": None,
            "confidence": 0.4,
            "escalation": {"reason": "low_confidence" if status == "provisional" else None, "outcome": outcome},
            "models": [{"digest": "d"}],
            "certificate": None,
            "latency_ms": 1.0,
        }
    ).encode()


def audited(store: Store, name: str, *, propensity: float = 0.1) -> Decided:
    """A final prediction that the lottery drew."""
    asked = replace(escalation(name), reason=Reason.AUDIT, propensity=propensity, confidence=0.95)
    first = decided(store, name, escalate=False)
    event = json.loads(first.publish.payload)
    event |= {
        "binding": BINDING,
        "output": {"task": "classification", "label": "ok", "scores": {"ok": 0.95, "worn": 0.05}},
        "models": [{"pack": MODEL.pack, "digest": MODEL.digest, "role": "active"}],
        "escalation": {"reason": "audit", "outcome": "queued", "propensity": propensity, "policy_version": 2},
    }
    return replace(
        first,
        publish=replace(first.publish, payload=json.dumps(event).encode()),
        escalate=asked,
        escalate_class=ItemClass.AUDIT,
        counted=(Count.DECISIONS_MADE, Count.DECISIONS_AUDITED),
        decided_by=PolicyUse(2, MODEL, 0.9, propensity, is_kept=True, is_short=False),
    )


def decided(store: Store, name: str, *, escalate: bool = True, expiry_s: int | None = None) -> Decided:
    """A prediction, provisional and escalated unless told otherwise."""
    status = "provisional" if escalate else "final"
    publish = Publish(store.new_row(), "plant", "press/inference", event_json(name, status), 1, expiry_s=expiry_s)
    return Decided(
        PredictionId(name), BINDING, "a", status, publish, escalation(name) if escalate else None, ItemClass.ESCALATION
    )


def escalation(name: str) -> Escalation:
    """What the hub is asked."""
    return Escalation(
        prediction_id=PredictionId(name),
        input_digest=DIGEST,
        binding=BINDING,
        partition="a",
        window_start_ns=0,
        window_end_ns=1_000_000_000,
        window_samples=4,
        window_fill=1.0,
        clock="synced",
        edge_model=MODEL,
        hub_pack="bearing-hub@1.0.0",
        reason=Reason.LOW_CONFIDENCE,
        propensity=1.0,
        confidence=0.4,
        edge_output=Classification("ok", {"ok": 0.4, "worn": 0.6}),
        inputs=INPUTS,
        trace="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        threshold=0.9,
    )


def verdict(name: str, seq: int, revision: int = 1, digest: str = DIGEST) -> Verdict:
    """The hub's answer."""
    return Verdict(
        verdict_seq=seq,
        prediction_id=PredictionId(name),
        input_digest=digest,
        revision=revision,
        tier=Tier.HUB,
        output=Classification("worn", {"ok": 0.1, "worn": 0.9}),
        confidence=0.9,
        models=(MODEL,),
        decided_at_ns=1_790_000_000_000_000_000,
        infer_ms=2.0,
    )


def record_unit(store: Store, key: bytes, *answers: Decided, message_id: int = 1) -> Unit:
    """One accepted record of 10 samples, 4 of them pending, and the answers that it brought about."""
    row = store.new_row()
    times, values = np.arange(10, dtype="<i8").tobytes(), np.zeros((10, 2), "<f4").tobytes()
    return Unit(
        counts={
            (BINDING, Count.RECORDS_RECEIVED): 1,
            (BINDING, Count.RECORDS_JOURNALED): 1,
            (BINDING, Count.SAMPLES_DECODED): 10,
            (BINDING, Count.SAMPLES_USED): 6,
            (BINDING, Count.WINDOWS_CLOSED): len(answers),
            (BINDING, Count.WINDOWS_INFERRED): len(answers),
        },
        journal=(JournalRow(row, BINDING, "a", 5, times, values, pending=4),),
        seen=((BINDING, key),),
        states={(BINDING, "a"): '{"state": 1}'},
        decided=answers,
        acks=(AckHandle("plant", 1, message_id, 1),),
    )


def without_acks(unit: Unit) -> Unit:
    """The same unit for nobody's message."""
    return replace(unit, acks=())


def rows(publishes: Sequence[Publish]) -> list[RowId]:
    """Their outbox rows."""
    return [publish.row for publish in publishes]
