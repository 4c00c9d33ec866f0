"""Owns the agent's metrics: their names, and how the parts' facts become them.

The registry and its server are `model_packs.process.metrics`; totals that outlive the process are the store's counters,
shown by `audit`.
"""

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from edge_agent.adapters.sqlite.policy_totals import PolicyTotals
from edge_agent.adapters.sqlite.reading import ClassUse
from edge_agent.core.accounting import DEVICE, Count
from edge_agent.core.decision import AnswerStatus
from edge_agent.core.local_call import LATENCY_BUCKETS_S, CallFigures
from edge_agent.ports import BindingName, CounterKey, Unit
from model_packs.process.metrics import Registry
from protos.messages.escalation import ItemClass
from protos.messages.inference import ModelUse

_OUTCOMES = {
    Count.RECORDS_JOURNALED: "journaled",
    Count.RECORDS_DUPLICATE: "duplicate",
    Count.RECORDS_DEAD_LETTERED: "dead_lettered",
    Count.RECORDS_SHED: "shed",
}

_DECISIONS = {
    Count.DECISIONS_KEPT: "kept",
    Count.DECISIONS_AUDITED: "audit",
    Count.DECISIONS_DOUBTED: "",
}


_FINAL = AnswerStatus.FINAL.value

CallFiguresOf = Callable[[], Mapping[tuple[BindingName, ModelUse], CallFigures]]


class _Calls:
    """Local calls as metrics: their books are kept elsewhere, so nothing is counted here."""

    def __init__(self, figures: CallFiguresOf, refusals: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        self._figures = figures
        self._refusals = refusals

    def collect(self) -> Iterator[Metric]:
        calls = CounterMetricFamily(
            "edge_local_calls",
            "Calls of programs on the device, by what became of them.",
            labels=["binding", "outcome"],
        )
        latency = HistogramMetricFamily(
            "edge_local_call_seconds",
            "Time of one answered local call: from its request in hand to its decision, without a wait for the hub.",
            labels=["binding"],
        )
        by_binding: dict[BindingName, list[CallFigures]] = {}
        for (binding, _), one in self._figures().items():
            by_binding.setdefault(binding, []).append(one)
        for binding, packs in sorted(by_binding.items()):
            calls.add_metric([binding, "answered"], sum(one.calls for one in packs))
            failed = sum(one.failed for one in packs)
            if failed:
                calls.add_metric([binding, "engine_failed"], failed)
            counts = accumulate(map(sum, zip(*(one.by_bucket for one in packs), strict=True)))
            bounds = [*map(str, LATENCY_BUCKETS_S), "+Inf"]
            latency.add_metric([binding], list(zip(bounds, counts, strict=True)), sum(one.total_s for one in packs))
        for labels, count in sorted(self._refusals().items()):
            calls.add_metric(labels, count)
        yield calls
        yield latency


class _Unanswered:
    """What policies escalate and nobody answered, and what questions came to: totals of the store."""

    def __init__(self, totals: Callable[[], Sequence[PolicyTotals]]) -> None:
        self._totals = totals

    def collect(self) -> Iterator[Metric]:
        windows = GaugeMetricFamily(
            "edge_unanswered_windows",
            "Windows that the policy escalates and nobody answered, since the store was made.",
            labels=["binding", "why"],
        )
        judged = GaugeMetricFamily(
            "edge_unanswered_judged_windows",
            "Windows short of budget that the lottery had asked all the same, by what the hub said of the edge.",
            labels=["binding", "said"],
        )
        answered = GaugeMetricFamily(
            "edge_escalations_answered",
            "Windows that the policy escalated and the hub answered, by what it said of the edge.",
            labels=["binding", "said"],
        )
        by_binding: dict[BindingName, list[PolicyTotals]] = {}
        for one in self._totals():
            by_binding.setdefault(one.binding, []).append(one)
        for binding, own in sorted(by_binding.items()):
            windows.add_metric([binding, "budget"], sum(one.suppressed for one in own))
            windows.add_metric([binding, "ended"], sum(one.unanswered for one in own))
            wrong, corrected = sum(one.sampled_wrong for one in own), sum(one.corrected for one in own)
            judged.add_metric([binding, "disagreed"], wrong)
            judged.add_metric([binding, "agreed"], sum(one.sampled for one in own) - wrong)
            answered.add_metric([binding, "corrected"], corrected)
            answered.add_metric([binding, "confirmed"], sum(one.answered for one in own) - corrected)
        yield windows
        yield judged
        yield answered


class WatchedStore(Protocol):
    """The store as the metrics see it."""

    @property
    def is_durable(self) -> bool:
        """Whether commits work."""
        ...

    def outbox(self) -> tuple[ClassUse, ...]:
        """The outbox by class."""
        ...


class Metrics:
    """Everything that `/metrics` shows. `passed` is an `OnPass`.

    Args:
        registry: Where the metrics live.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._messages = registry.counter(
            "edge_mqtt_messages_total", "Records received, by what became of them.", ["binding", "outcome"]
        )
        self._predictions = registry.counter(
            "edge_predictions_total", "Predictions decided, by status of the first answer.", ["binding", "status"]
        )
        self._escalations = registry.counter(
            "edge_escalations_total", "Windows that the hub is asked about, by reason.", ["binding", "reason"]
        )
        self._decisions = registry.counter(
            "edge_decisions_total", "Answers by why they were kept or doubted.", ["binding", "reason"]
        )
        self._suppressed = registry.counter(
            "edge_escalations_suppressed_total",
            "Windows that the policy escalates and nobody is asked about, by what was short.",
            ["binding", "shortage"],
        )
        self._drift = registry.counter(
            "edge_input_drift_total", "Alarms of the input statistics, by statistic.", ["binding", "signal"]
        )
        self._windows_skipped = registry.counter(
            "edge_windows_skipped_total", "Closed windows that were not inferred, by reason.", ["binding", "reason"]
        )
        self._feedback = registry.counter(
            "edge_feedback_total", "What people said about answers, by what became of it.", ["outcome"]
        )
        self._verdicts = registry.counter(
            "edge_verdicts_total", "Verdicts of the hub and of people, by what they changed.", ["outcome"]
        )
        self._duration = registry.histogram(
            "edge_inference_duration_seconds", "Time of one engine run over a batch of windows.", ["binding"]
        )
        self._pass = registry.histogram(
            "edge_pass_duration_seconds", "Time of one pass: from its first delivery in hand to its last publish."
        )
        self._commit = registry.histogram("edge_journal_commit_seconds", "Time of one commit of the store.")
        self._failures = registry.counter(
            "edge_loop_failures_total", "The agent's own faults that a loop caught and went on after.", ["loop"]
        )
        self._link_up = registry.gauge("edge_link_up", "1 while a peer is connected.", ["peer"])
        self._durable = registry.gauge("edge_journal_available", "1 while the store commits.")
        self._bytes = registry.gauge("edge_outbox_bytes", "Bytes that wait in the outbox.", ["class"])
        self._items = registry.gauge("edge_outbox_items", "Items that wait in the outbox.", ["class"])
        self._oldest = registry.gauge(
            "edge_outbox_oldest_age_seconds", "Age of the oldest waiting item; 0 when none waits.", ["class"]
        )

    def watch_calls(self, figures: CallFiguresOf, refusals: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        """Ask for the local calls at every scrape.

        Args:
            figures: What became of those that were answered, by binding and pack.
            refusals: How many were not, by binding and status.
        """
        self._registry.add(_Calls(figures, refusals))

    def watch_policies(self, totals: Callable[[], Sequence[PolicyTotals]]) -> None:
        """Ask at every scrape what policies came to.

        Args:
            totals: What each policy did, and came to.
        """
        self._registry.add(_Unanswered(totals))

    def watch_store(self, store: WatchedStore) -> None:
        """Ask the store at every scrape.

        Args:
            store: The outbox, and whether commits work.
        """

        def use_of(item_class: ItemClass) -> ClassUse | None:
            return next((use for use in store.outbox() if use.item_class is item_class), None)

        def used_bytes(item_class: ItemClass) -> float:
            use = use_of(item_class)
            return 0.0 if use is None else float(use.bytes)

        def items(item_class: ItemClass) -> float:
            use = use_of(item_class)
            return 0.0 if use is None else float(use.items)

        def oldest_s(item_class: ItemClass) -> float:
            use = use_of(item_class)
            if use is None:
                return 0.0
            return float("nan") if use.oldest_age_s is None else use.oldest_age_s

        self._durable.set_function(lambda: float(store.is_durable))
        for item_class in ItemClass:
            name = item_class.name.lower()
            self._bytes.labels(name).set_function(partial(used_bytes, item_class))
            self._items.labels(name).set_function(partial(items, item_class))
            self._oldest.labels(name).set_function(partial(oldest_s, item_class))

    def passed(self, unit: Unit, took_s: float) -> None:
        """Count one pass of the pipeline.

        Args:
            unit: What it handed to the store.
            took_s: How long it took.
        """
        self.called(unit)
        self._pass.observe(took_s)

    def called(self, unit: Unit) -> None:
        """Count what a unit holds: of a pass, or of local calls.

        Args:
            unit: What was handed to the store.
        """
        for (binding, name), amount in unit.counts.items():
            count, _, reason = name.removesuffix("}").partition("{")
            if count in _OUTCOMES:
                self._messages.labels(binding, _OUTCOMES[Count(count)]).inc(amount)
            elif count == Count.WINDOWS_SKIPPED:
                self._windows_skipped.labels(binding, reason).inc(amount)
            elif unit.returned:
                self._count_decision(binding, name, amount)
        for held in unit.returned:
            self._predictions.labels(held.binding, _FINAL).inc(held.amount)
        decided: Mapping[tuple[str, str], int] = Tally((one.binding, one.status) for one in unit.decided)
        for labels, amount in decided.items():
            self._predictions.labels(*labels).inc(amount)
        for one in unit.decided:
            for name in one.counted:
                self._count_decision(one.binding, name)
            if one.escalate is not None:
                self._escalations.labels(one.binding, one.escalate.reason.value).inc()

    def _count_decision(self, binding: str, name: str, amount: int = 1) -> None:
        count, _, reason = name.removesuffix("}").partition("{")
        if count in _DECISIONS:
            self._decisions.labels(binding, reason or _DECISIONS[Count(count)]).inc(amount)
        elif count == Count.ESCALATIONS_SUPPRESSED_BUDGET:
            self._suppressed.labels(binding, reason).inc(amount)

    def drifted(self, binding: str, signal: str) -> None:
        """Note that a statistic of the inputs has changed."""
        self._drift.labels(binding, signal).inc()

    def inferred(self, binding: str, took_s: float) -> None:
        """Note one engine run."""
        self._duration.labels(binding).observe(took_s)

    def committed(self, took_s: float, counts: Mapping[CounterKey, int]) -> None:
        """Note one commit.

        Args:
            took_s: How long it took.
            counts: What it added to the counters; the fates of feedback and of verdicts are known only here.
        """
        self._commit.observe(took_s)
        for (binding, name), amount in counts.items():
            subject, _, outcome = name.partition("{")[0].partition("_")
            if binding == DEVICE and outcome != "received":
                (self._feedback if subject == "feedback" else self._verdicts).labels(outcome).inc(amount)

    def loop_failed(self, loop: str) -> None:
        """Note a fault of the agent's own."""
        self._failures.labels(loop).inc()

    def peer(self, name: str, is_up: bool) -> None:  # noqa: FBT001 - `health.OnPeer`
        """Note that a peer came or went."""
        self._link_up.labels(name).set(float(is_up))
