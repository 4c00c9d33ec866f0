"""Owns what the agent says about itself: the document `edge.status/1`, and the heartbeat to the hub.

Facts come from the store, the sessions and `health.py`; who asks (HTTP, the `status` command, the broker, the hub) is
not its concern. The document's schema is `schemas/edge.status.1.json`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_agent.adapters.slot_file import failure_document
from edge_agent.adapters.sqlite.budget_ledger import BucketUse
from edge_agent.adapters.sqlite.policy_totals import PolicyTotals
from edge_agent.adapters.sqlite.reading import ClassUse, LastPrediction
from edge_agent.core.accounting import DEVICE, Count, of_reason
from edge_agent.core.durability import DEFAULT_TERMS, JournalTerms
from edge_agent.core.outbox import OnFull
from edge_agent.core.timestamps import to_text
from edge_agent.identity import IdentityFacts
from edge_agent.inference.answering import Model
from edge_agent.packs.device_slots import Twin
from edge_agent.packs.models import OpenedModel
from edge_agent.ports import BindingName, Clock, CounterKey
from edge_agent.reporting.health import Health, Peer
from protos.messages.fleet import BindingReport, BudgetReport, Desired, DriftReport, Heartbeat, PolicyReport, SlotReport

SCHEMA = "edge.status/1"
OK, DEGRADED, STOPPED = "ok", "degraded", "stopped"

_AUDITS = {
    "drawn": Count.AUDITS_DRAWN,
    "escalated": Count.AUDITS_ESCALATED,
    "agreed": Count.AUDITS_AGREED,
    "disagreed": Count.AUDITS_DISAGREED,
    "unjudged": Count.AUDITS_UNJUDGED,
}
_NS_PER_S = 1_000_000_000
_MAX_TOLD = 16
_CERTIFICATE_WARNING_S = 7 * 86_400
_LATE_SHARE = 0.01  # of the decoded samples; above, lateness_s or a clock is wrong
_LATE_SAMPLES = 100


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What the store says at one moment, and what it was told to promise each binding (as by default, if nothing)."""

    figures: Mapping[CounterKey, int]
    outbox: tuple[ClassUse, ...]
    last: tuple[LastPrediction, ...]
    problem: str | None
    budget: tuple[BucketUse, ...] = ()
    terms: Mapping[BindingName, JournalTerms] = field(default_factory=dict)
    totals: tuple[PolicyTotals, ...] = ()


class Reporter:
    """Makes the document and the heartbeat of a running agent.

    Args:
        device: Device id.
        version: Of the agent.
        clock: For times and ages.
        health: Peers and their problems.
        models: Asks what is open, by binding.
        twin: Asks which packs are wanted, and how the way to them goes.
        p95_ms: Asks how long a binding's answers took lately; None when there were none.
        store: Asks the store.
        identity: Asks for the certificate; None where none is needed.
        max_bytes: Bound of the outbox.
        policies: Asks how each policy fared.
        budget: Asks for the budget.
        drift: Asks for the newest alarms of the input statistics.
    """

    def __init__(
        self,
        device: str,
        version: str,
        clock: Clock,
        *,
        health: Health,
        models: Callable[[], Mapping[BindingName, OpenedModel]],
        twin: Callable[[], Twin],
        p95_ms: Callable[[str], float | None],
        store: Callable[[], StoreFacts],
        identity: Callable[[], IdentityFacts | None],
        max_bytes: int,
        policies: Callable[[], tuple[PolicyReport, ...]],
        budget: Callable[[], tuple[BucketUse, ...]],
        drift: Callable[[], tuple[DriftReport, ...]],
    ) -> None:
        self._device = device
        self._version = version
        self._clock = clock
        self._health = health
        self._models = models
        self._twin = twin
        self._p95_ms = p95_ms
        self._store = store
        self._identity = identity
        self._max_bytes = max_bytes
        self._policies = policies
        self._budget = budget
        self._drift = drift
        self._started_s = clock.monotonic_s()
        self._began_with = dict(store().figures)

    def document(self) -> dict[str, Any]:
        """The agent as it is now."""
        facts = self._store()
        identity = self._identity()
        problems = self._problems(facts, identity)
        twin, models = self._twin(), self._models()
        slots = {report.binding: slot_json(report, twin.desired) for report in twin.reports}
        return {
            "schema": SCHEMA,
            "device": self._device,
            "version": self._version,
            "ts": to_text(self._clock.wall_ns()),
            "clock": "synced" if self._clock.is_synced() else "unsynced",
            "running": True,
            "state": DEGRADED if problems else OK,
            "uptime_s": round(self._clock.monotonic_s() - self._started_s, 3),
            "problems": list(problems),
            "peers": [_peer_json(peer) for peer in self._health.peers()],
            "identity": identity_json(identity, self._clock.wall_ns()),
            "bindings": [
                binding_json(name, facts, opened_json(models[name]), slots[name], self._p95_ms(name))
                for name in sorted(models)
            ],
            "feedback": feedback_json(facts),
            "outbox": outbox_json(facts.outbox, self._max_bytes),
            "budget": budget_json(self._budget()),
        }

    def heartbeat(self, number: int) -> Heartbeat:
        """The same facts for the hub."""
        facts = self._store()
        identity = self._identity()
        problems = self._problems(facts, identity)
        twin = self._twin()
        ages_s = [use.oldest_age_s for use in facts.outbox]
        known_s = [age_s for age_s in ages_s if age_s is not None]
        return Heartbeat(
            number=number,
            device_time_ns=self._clock.wall_ns(),
            state=DEGRADED if problems else OK,
            problems=problems,
            outbox_bytes=sum(use.bytes for use in facts.outbox),
            outbox_items=sum(use.items for use in facts.outbox),
            outbox_oldest_age_ms=round(max(known_s) * 1000) if known_s and len(known_s) == len(ages_s) else None,
            bindings=tuple(self._binding_report(name, opened.model, facts) for name, opened in self._models().items()),
            desired_version=twin.desired.version,
            slots=twin.reports,
            policies=self._policies(),
            drift=self._drift(),
            budget=tuple(
                BudgetReport(one.resource.value, one.pool.value, one.spent, one.level) for one in self._budget()
            ),
        )

    def _problems(self, facts: StoreFacts, identity: IdentityFacts | None) -> tuple[str, ...]:
        own = [] if facts.problem is None else [facts.problem]
        own += identity_problems(identity, self._clock.wall_ns())
        own += loss_problems({key: value - self._began_with.get(key, 0) for key, value in facts.figures.items()})
        return (*own, *self._health.problems())[:_MAX_TOLD]

    def _binding_report(self, name: BindingName, model: Model, facts: StoreFacts) -> BindingReport:
        return BindingReport(
            binding=name,
            model=model.use,
            decided=facts.figures.get((name, Count.PREDICTIONS_DECIDED), 0),
            escalated=facts.figures.get((name, Count.ESCALATIONS_CREATED), 0),
            answered=_answered(name, facts),
            certificate_state="none" if model.certificate is None else model.certificate.state.value,
            answer_p95_ms=self._p95_ms(name),
        )


def identity_problems(identity: IdentityFacts | None, now_ns: int) -> list[str]:
    """What is wrong with the device's certificate, or will be soon.

    Args:
        identity: None where no hub is configured.
        now_ns: Wall clock, Unix epoch, UTC.

    Returns:
        At most one problem, with its mend.
    """
    if identity is None:
        return []
    if identity.not_after_ns is None:
        return [f"not enrolled: {identity.mend}"]
    left_s = (identity.not_after_ns - now_ns) / _NS_PER_S
    if left_s < _CERTIFICATE_WARNING_S:
        end = to_text(identity.not_after_ns)
        return [f"the device certificate {'expired' if left_s < 0 else 'expires'} at {end}: {identity.mend}"]
    return []


def loss_problems(figures: Mapping[CounterKey, int]) -> list[str]:
    """What got lost for want of space or time.

    Args:
        figures: Counted since the agent's start.

    Returns:
        A full outbox, for all bindings together; verdicts for forgotten predictions; and each binding whose samples
        came late in numbers; with the mend.
    """
    problems = []
    bindings = sorted({name for name, _ in figures})
    for policy in OnFull:
        answers, questions = (
            sum(figures.get((name, of_reason(count, policy)), 0) for name in bindings for count in counts)
            for counts in (_ANSWERS_EVICTED, _QUESTIONS_EVICTED)
        )
        if answers or questions:
            problems.append(
                f"outbox is full: {answers} answers, {questions} questions gave way since the start ({policy}); raise "
                "outbox.max_bytes or find out why the hub or the broker is away"
            )
    refused = sum(figures.get((_DEVICE, of_reason(Count.FEEDBACK_EVICTED, policy)), 0) for policy in OnFull)
    if refused:
        problems.append(
            f"outbox is full: {refused} judgements by people were refused since the start; raise outbox.feedback_share "
            "or find out why the hub is away"
        )
    forgotten = figures.get((_DEVICE, Count.VERDICTS_FORGOTTEN), 0)
    if forgotten:
        problems.append(
            f"{forgotten} verdicts came too late since the start: this device has forgotten their predictions, whose "
            "answers stand as they were published; judge newer cases"
        )
    for name in bindings:
        late, decoded = (figures.get((name, count), 0) for count in (Count.SAMPLES_LATE, Count.SAMPLES_DECODED))
        if late >= _LATE_SAMPLES and late > _LATE_SHARE * decoded:
            problems.append(
                f"{name}: {late} of {decoded} samples came too late for their windows since the start; look at the "
                "senders' clocks or raise the window's lateness_s"
            )
    return problems


_DEVICE = BindingName(DEVICE)
_ANSWERS_EVICTED = (Count.PREDICTIONS_EVICTED, Count.REVISIONS_EVICTED, Count.ALARMS_EVICTED)
_QUESTIONS_EVICTED = (Count.ESCALATIONS_EVICTED,)


def identity_json(identity: IdentityFacts | None, now_ns: int) -> dict[str, Any] | None:
    """The document's `identity`; null where no hub is configured."""
    if identity is None:
        return None
    if identity.not_after_ns is None:
        return {"state": "missing", "not_after": None}
    is_over = identity.not_after_ns < now_ns
    return {"state": "expired" if is_over else "valid", "not_after": to_text(identity.not_after_ns)}


def opened_json(opened: OpenedModel) -> dict[str, Any]:
    """The document's `model` of a binding."""
    model, facts = opened.model, opened.facts
    certificate = model.certificate
    return {
        "pack": model.use.pack,
        "digest": model.use.digest,
        "engine": f"{facts.engine} {facts.engine_version}",
        "provider": facts.provider,
        "variant": facts.variant,
        "threads": facts.threads,
        "passed_over": [{"what": one.what, "reason": one.reason} for one in facts.passed_over],
        "threshold": model.policy.reported_threshold,
        "escalates": model.policy.barrier is None,
        "certificate": None
        if certificate is None
        else {"digest": certificate.digest, "state": certificate.state.value},
    }


def slot_json(report: SlotReport, desired: Desired) -> dict[str, Any]:
    """The document's `slot` of a binding: what it runs, what it should, and how the way there goes."""
    wanted = next((one for one in desired.slots if one.binding == report.binding and one.pack), None)
    return {
        "pack": report.pack,
        "digest": report.digest,
        "state": report.state.value,
        "previous_pack": report.previous_pack,
        "pinned": report.is_pinned,
        "desired": None if wanted is None else {"pack": wanted.pack, "digest": wanted.digest},
        "phase": report.phase.value,
        "done_bytes": report.done_bytes,
        "total_bytes": report.total_bytes,
        "failure": failure_document(report.failure),
    }


def binding_json(
    name: BindingName,
    facts: StoreFacts,
    model: dict[str, Any] | None,
    slot: dict[str, Any],
    p95_ms: float | None,
) -> dict[str, Any]:
    """One of the document's `bindings`; totals count since the store was made."""
    last = next((one for one in facts.last if one.binding == name), None)
    dead = _by_reason(name, facts, (Count.RECORDS_DEAD_LETTERED,))
    terms = facts.terms.get(name, DEFAULT_TERMS)
    return {
        "binding": name,
        "model": model,
        "slot": slot,
        "answer_p95_ms": _rounded(p95_ms),
        "durability": terms.durability.value,
        "on_journal_failure": terms.on_failure.value,
        "received": facts.figures.get((name, Count.RECORDS_RECEIVED), 0),
        "dead_lettered": sum(dead.values()),
        "dead_lettered_by": dead,
        "samples_late": facts.figures.get((name, Count.SAMPLES_LATE), 0),
        "decided": facts.figures.get((name, Count.PREDICTIONS_DECIDED), 0),
        "returned": facts.figures.get((name, Count.PREDICTIONS_RETURNED), 0),
        "escalated": facts.figures.get((name, Count.ESCALATIONS_CREATED), 0),
        "answered": _answered(name, facts),
        "decisions": decisions_json(name, facts),
        "unanswered": unanswered_json(name, facts),
        "bought": bought_json(name, facts),
        "evicted": {
            "answers": _by_reason(name, facts, _ANSWERS_EVICTED),
            "questions": _by_reason(name, facts, _QUESTIONS_EVICTED),
        },
        "last_prediction": None
        if last is None
        else {"id": last.prediction_id, "status": last.status, "age_s": _rounded(last.age_s)},
    }


def decisions_json(name: BindingName, facts: StoreFacts) -> dict[str, Any]:
    """The `decisions` of a binding: why answers stayed or not, what audits said, and what nobody was asked about."""
    made = facts.figures.get((name, Count.DECISIONS_MADE), 0)
    kept = sum(facts.figures.get((name, one), 0) for one in (Count.DECISIONS_KEPT, Count.DECISIONS_AUDITED))
    lost, suppressed = (
        _by_reason(name, facts, (one,)) for one in (Count.AUDITS_LOST, Count.ESCALATIONS_SUPPRESSED_BUDGET)
    )
    return {
        "made": made,
        "kept": kept,
        "coverage": _rounded(kept / made if made else None),
        "doubted_by": _by_reason(name, facts, (Count.DECISIONS_DOUBTED,)),
        "suppressed": sum(suppressed.values()),
        "suppressed_by": suppressed,
        "suppressed_share": _rounded(sum(suppressed.values()) / made if made else None),
        "audits": {
            **{key: facts.figures.get((name, count), 0) for key, count in _AUDITS.items()},
            "lost": sum(lost.values()),
            "lost_by": lost,
            "pending": sum(_by_reason(name, facts, (Count.AUDITS_PENDING,)).values()),
        },
    }


def unanswered_json(name: BindingName, facts: StoreFacts) -> dict[str, Any]:
    """The `unanswered` of a binding: what its policies escalate and nobody answered, and how wrong that is.

    No certificate speaks for it. How often the edge is wrong there is known from windows that were short of budget as
    well and that the audits' lottery had asked all the same: a random sample. Null: none of them is judged so far.
    """
    own = [one for one in facts.totals if one.binding == name]
    decided, suppressed = sum(one.decided for one in own), sum(one.suppressed for one in own)
    ended, judged = sum(one.unanswered for one in own), sum(one.sampled for one in own)
    wrong = sum(one.sampled_wrong for one in own)
    return {
        "windows": suppressed + ended,
        "share": _rounded((suppressed + ended) / decided if decided else None),
        "suppressed": suppressed,
        "ended": ended,
        "judged": judged,
        "disagreed": wrong,
        "disagreement": _rounded(wrong / judged if judged else None),
        "certificate": None,
    }


def bought_json(name: BindingName, facts: StoreFacts) -> dict[str, Any]:
    """The `bought` of a binding: how many calls its questions took, and what came of them."""
    own = [one for one in facts.totals if one.binding == name]
    return {
        "calls": sum(one.escalated + one.audits_drawn for one in own),
        "audits": sum(one.audits_drawn for one in own),
        "answered": sum(one.answered for one in own),
        "corrected": sum(one.corrected for one in own),
        "audits_answered": sum(one.audits_answered for one in own),
    }


def feedback_json(facts: StoreFacts) -> dict[str, Any]:
    """The document's `feedback`; totals count since the store was made."""
    dead = _by_reason(_DEVICE, facts, (Count.FEEDBACK_DEAD_LETTERED,))
    lost = _by_reason(_DEVICE, facts, (Count.FEEDBACK_EVICTED, Count.FEEDBACK_SHED))
    plain = {
        "received": Count.FEEDBACK_RECEIVED,
        "delivered": Count.FEEDBACK_DELIVERED,
        "duplicate": Count.FEEDBACK_DUPLICATE,
        "pending": Count.FEEDBACK_PENDING,
        "verdicts": Count.VERDICTS_RECEIVED,
        "verdicts_forgotten": Count.VERDICTS_FORGOTTEN,
    }
    return {
        **{key: facts.figures.get((_DEVICE, count), 0) for key, count in plain.items()},
        "dead_lettered": sum(dead.values()),
        "dead_lettered_by": dead,
        "lost_by": lost,
    }


def budget_json(uses: Sequence[BucketUse]) -> list[dict[str, Any]]:
    """The document's `budget`; empty when nothing is bounded. Leased tokens are paid for and may still be spent."""
    return [
        {
            "resource": one.resource.value,
            "pool": one.pool.value,
            "spent": round(one.spent, 6),
            "leased": round(one.leased, 6),
            "left": round(one.level, 6),
        }
        for one in uses
    ]


def outbox_json(uses: Sequence[ClassUse], max_bytes: int) -> dict[str, Any]:
    """The document's `outbox`."""
    return {
        "bytes": sum(use.bytes for use in uses),
        "max_bytes": max_bytes,
        "classes": [
            {
                "class": use.item_class.name.lower(),
                "items": use.items,
                "bytes": use.bytes,
                "oldest_age_s": _rounded(use.oldest_age_s),
            }
            for use in uses
        ],
    }


def _by_reason(name: BindingName, facts: StoreFacts, counts: Sequence[Count]) -> dict[str, int]:
    """Reason to number, the most frequent first; reasons that never were are left out."""
    found: Counter[str] = Counter()
    for (binding, written), value in facts.figures.items():
        count, _, reason = written.removesuffix("}").partition("{")
        if binding == name and count in counts and value:
            found[reason] += value
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _answered(name: BindingName, facts: StoreFacts) -> int:
    answers = (Count.ESCALATIONS_ANSWERED, Count.ESCALATIONS_ANSWERED_LATE)
    return sum(facts.figures.get((name, count), 0) for count in answers)


def _peer_json(peer: Peer) -> dict[str, Any]:
    return {"peer": peer.name, "address": peer.address, "connected": peer.is_up, "reason": peer.reason}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
