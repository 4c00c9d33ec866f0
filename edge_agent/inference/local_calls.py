"""Owns the answer to a local call: one engine run where it is asked, its scores, the decision, and what follows.

    1. Each input of the call gets an id, and is drawn for an audit or not, before anything is answered.
    2. The call waits for its turn (`turns.py`), and the session runs.
    3. What the policy keeps is answered, and counted behind the answer (`call_tally.py`): its caller holds it.
    4. What it does not keep, and what was drawn, spends the budget as a message's answer does, and is stored with its
       question to the hub, as one unit.
    5. Who asked to wait for the hub hears of its verdict (`revisions.py`), or is answered as things stand.

How a call comes and its answer goes is `adapters/oip/`.
"""

import json
import logging
import queue
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from edge_agent.core.decision import AnswerStatus, Decision, Facts, counters, decide, doubt
from edge_agent.core.durability import Durability, JournalTerms
from edge_agent.core.local_call import CallAnswer, CalledRow, is_open
from edge_agent.core.prediction import Prediction, event
from edge_agent.errors import CallError
from edge_agent.inference.allotting import Allotment
from edge_agent.inference.answering import LookAtInput, Model, escalation_of
from edge_agent.inference.call_names import CallNames
from edge_agent.inference.call_tally import ANSWERED, CallTally, Outcome, Source, Unseen
from edge_agent.inference.pace import Pace
from edge_agent.inference.revisions import Inbox, LoopInbox, OpenRows, Revisions, Told
from edge_agent.inference.turns import Turns
from edge_agent.ports import BindingName, Clock, Decided, PolicyUse, Publish, RowId, Unit
from model_packs.errors import TensorError
from model_packs.scoring import Scored, score
from model_packs.tensors import Tensor
from protos.link.trace import traceparent
from protos.messages.escalation import ItemClass, PredictionId, Reason
from protos.messages.inference import Tier
from protos.status import Status

_NOT_DRAWN = (Facts(),)
_LOOK_EVERY_S = 0.02
_EDGE = Tier.EDGE.value
_FINAL = AnswerStatus.FINAL.value
_NS_PER_S = 1_000_000_000
_MS_PER_S = 1000.0

logger = logging.getLogger(__name__)


class CallStore(Protocol):
    """The store as local calls see it."""

    @property
    def is_durable(self) -> bool:
        """Whether commits work at present."""
        ...

    def new_row(self) -> RowId:
        """A row id that was never given out before."""
        ...


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker is told of answers that the hub is asked about; an empty broker: nobody is."""

    broker: str = ""
    topic: str = ""
    qos: int = 0
    expiry_s: int | None = None


class _Ready:
    """A model with what its calls need, made once.

    Args:
        binding: Whose.
        model: The model.
        source: As the books name it.
    """

    def __init__(self, binding: BindingName, model: Model, source: Source) -> None:
        self.model = model
        self.source = source
        self.version = model.manifest.ref.version
        self.first = model.manifest.inputs[0].name
        self.pace = Pace()
        # Nothing is drawn behind a barrier; what is neither drawn nor measured is known beforehand.
        rate = 0.0 if model.policy.barrier is not None else model.policy.audit_rate
        self.is_plain = not rate and model.policy.ood_limit is None
        self._binding = binding
        self._outcomes: dict[tuple[Reason | None, bool], Outcome] = {}

    def held(self, scored: Scored, facts: Facts) -> tuple[Reason | None, Outcome] | None:
        """What becomes of an answer about which nobody is asked: why it is doubted, and what it adds to the books.

        Returns:
            None when the hub is asked, or would be if the budget allowed it.
        """
        policy = self.model.policy
        reason = doubt(scored, policy, facts.ood)
        if facts.is_drawn or (reason is not None and policy.barrier is None):
            return None
        key = (reason, facts.audit_rate > 0.0)
        outcome = self._outcomes.get(key)
        if outcome is None:
            decision = decide(scored, policy, facts)
            outcome = Outcome(self._binding, self.decided_by(decision, facts), counters(decision))
            self._outcomes[key] = outcome
        return reason, outcome

    def decided_by(self, decision: Decision, facts: Facts) -> PolicyUse:
        """The policy whose totals a decision belongs to."""
        policy = self.model.policy
        return PolicyUse(
            policy.version,
            self.model.use,
            policy.reported_threshold,
            facts.audit_rate,
            is_kept=decision.is_kept,
            is_short=decision.shortage is not None,
        )


@dataclass(frozen=True, slots=True)
class _Asked:
    """A call that has run, with all that its decision needs; the lists have one item a row."""

    ready: _Ready
    inputs: Mapping[str, NDArray[Any]]
    names: Sequence[PredictionId]
    facts: Sequence[Facts]
    scored: Sequence[Scored]
    came_s: float


@dataclass(frozen=True, slots=True)
class CallParts:
    """What all bindings share.

    Attributes:
        turns: Who may run.
        names: Gives ids.
        tally: Keeps the books.
        revisions: Tells who waits.
        look: Looks at an input: its out-of-distribution statistic.
        on_engine_failure: Told of every input that the engine fails on, or answers with what is no number.
    """

    device: str
    clock: Clock
    store: CallStore
    turns: Turns
    names: CallNames
    tally: CallTally
    revisions: Revisions
    look: LookAtInput
    on_engine_failure: Callable[[str, Any], None]


class LocalCalls:
    """The calls of one binding; any thread may ask.

    Args:
        binding: Its name; callers know it as the model's.
        model: The pack in use.
        parts: What it shares with other bindings.
        allotment: Says which questions the hub may be asked.
        terms: Of what is stored.
        address: Where answers that the hub is asked about are published, too.
    """

    def __init__(
        self,
        binding: BindingName,
        model: Model,
        parts: CallParts,
        allotment: Allotment,
        *,
        terms: JournalTerms,
        address: Address = Address(),
    ) -> None:
        self.binding = binding
        self._parts = parts
        self._allotment = allotment
        self._terms = terms
        self._address = address
        self._now_s = parts.clock.monotonic_s
        self._look_after_s = 0.0  # about fifty inputs a second are looked at, as of messages
        self._ready = self._prepared(model)

    @property
    def running(self) -> Model:
        """What answers now."""
        return self._ready.model

    def swap(self, model: Model) -> Model:
        """Answer with another model from the next call on; waits for those that run.

        Args:
            model: Takes the same inputs as the one before.

        Returns:
            The model before, which nothing uses any more.
        """
        ready = self._prepared(model)
        with self._parts.turns.nobody_runs():
            before, self._ready = self._ready, ready
        return before.model

    def call(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        version: str = "",
        inbox: Inbox | None = None,
        is_wanted: Callable[[], bool] | None = None,
    ) -> CallAnswer:
        """Answer a call in the caller's thread, whatever it has to wait for.

        Args:
            inputs: One array per declared input, [batch, …], finite.
            version: The version that must answer; empty: whichever runs.
            inbox: To wait for the hub with, where it is asked; None: the edge's answer goes out at once.
            is_wanted: Says, after a wait for the turn, whether the caller is still there; None: it is.

        Returns:
            The answer.

        Raises:
            TensorError: The caller's fault: the inputs are not what the pack declares.
            CallError: NOT_FOUND for another version, CANCELLED for a caller who left, INTERNAL when the engine failed.
        """
        answer = self.call_in_turn(inputs, version=version, inbox=inbox, is_wanted=is_wanted)
        if inbox is None:
            return answer
        opened = OpenRows(answer.rows)
        try:
            while opened.places and (told := inbox.next()) is not None:
                opened.take(told)
        finally:
            self._parts.revisions.forget(opened.names)
        return answer._replace(rows=tuple(opened.rows))

    def call_now(
        self, inputs: Mapping[str, NDArray[Any]], *, version: str = "", inbox: Told | None = None
    ) -> CallAnswer | None:
        """Answer a call at once, if its run is a short one and a turn is free; it waits for nothing, so a loop may ask.

        Args:
            inputs: As `call` takes them.
            version: As `call` takes it.
            inbox: Told of verdicts from now on, where the hub is asked: `revised`.

        Returns:
            The edge's answer; None: ask `call_in_turn` in a thread.

        Raises:
            TensorError: As `call` says.
            CallError: As `call` says.
        """
        ready = self._ready
        if not ready.pace.is_quick(inputs[ready.first].size):
            return None
        try:
            self._parts.turns.take_now()
        except queue.Empty:
            return None
        now_s = self._now_s()
        return self._in_turn(inputs, version, inbox, now_s, now_s)

    def call_in_turn(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        version: str = "",
        inbox: Told | None = None,
        is_wanted: Callable[[], bool] | None = None,
        came_s: float | None = None,
    ) -> CallAnswer:
        """Answer a call when it is its turn, and wait for no hub.

        Args:
            inputs: As `call` takes them.
            version: As `call` takes it.
            inbox: As `call_now` takes it.
            is_wanted: As `call` takes it.
            came_s: When the call came, monotonic; None: now.

        Returns:
            The edge's answer.

        Raises:
            TensorError: As `call` says.
            CallError: As `call` says.
        """
        has_waited, began_s = came_s is not None, self._now_s()
        if came_s is None:
            came_s = began_s
        try:
            self._parts.turns.take_now()
        except queue.Empty:
            self._parts.turns.take()
            has_waited, began_s = True, self._now_s()
        if has_waited and is_wanted is not None and not is_wanted():
            self._parts.turns.give_back()
            raise CallError(
                f"the caller of {self.binding!r} left before its turn", "call again, with more time", Status.CANCELLED
            )
        return self._in_turn(inputs, version, inbox, came_s, began_s)

    async def revised(self, answer: CallAnswer, inbox: LoopInbox) -> CallAnswer:
        """Wait, on a loop, for what the hub says of an answer's open rows.

        Args:
            answer: From `call_now` or `call_in_turn`.
            inbox: That these were given.

        Returns:
            The answer; rows of which nothing is said in time stay as they are.
        """
        opened = OpenRows(answer.rows)
        try:
            while opened.places and (told := await inbox.next()) is not None:
                opened.take(told)
        finally:
            self._parts.revisions.forget(opened.names)
        return answer._replace(rows=tuple(opened.rows))

    def _in_turn(
        self, inputs: Mapping[str, NDArray[Any]], version: str, inbox: Told | None, came_s: float, began_s: float
    ) -> CallAnswer:
        """Answer, holding a turn, which is given back as soon as the session has run."""
        parts, now_s = self._parts, self._now_s
        try:
            ready = self._ready
            if version and version != ready.version:
                raise _other_version(self.binding, version, ready.version)
            first = inputs[ready.first]
            n_rows = len(first)
            names = [parts.names()] if n_rows == 1 else [parts.names() for _ in range(n_rows)]
            facts = self._known(ready, names, inputs, came_s)
            outputs = self._run(ready, inputs, facts, began_s)
            ran_s = now_s()
        finally:
            parts.turns.give_back()
        scored = self._scored(ready, outputs, facts)
        held = ready.held(scored[0], facts[0]) if n_rows == 1 else None
        if held is not None:
            rows: tuple[CalledRow, ...] = (self._held(ready, names[0], scored[0], held[0]),)
            outcomes: tuple[Outcome, ...] = held[1:]
            n_scored = int(scored[0].unscorable is None)
        else:
            rows, outcomes = self._decided(_Asked(ready, inputs, names, facts, scored, came_s), inbox)
            n_scored = sum(one.unscorable is None for one in scored)
        done_s = now_s()
        ready.pace.note(first.size, done_s - began_s)  # a batch can take longer to decide about than to run
        parts.tally.note(ready.source, outcomes, n_rows, n_scored, (came_s, began_s, ran_s, done_s))
        return CallAnswer(ready.model.use, ready.version, outputs, rows)

    def _prepared(self, model: Model) -> _Ready:
        return _Ready(self.binding, model, self._parts.tally.source(self.binding, model.use))

    def _known(
        self, ready: _Ready, names: Sequence[PredictionId], inputs: Mapping[str, NDArray[Any]], now_s: float
    ) -> Sequence[Facts]:
        """What is known of each input before it is answered; some inputs are looked at behind the answer."""
        if ready.is_plain and now_s < self._look_after_s:
            return _NOT_DRAWN * len(names)
        model, values, at_ns = ready.model, inputs[ready.first], self._parts.clock.wall_ns()
        strange: Sequence[float | None] = [None] * len(names)
        if model.policy.ood_limit is not None:
            look, use = self._parts.look, model.use
            strange = [look(self.binding, use.digest, model.manifest, row, at_ns) for row in values]
        elif now_s >= self._look_after_s and not values.dtype.hasobject:
            self._look_after_s = now_s + _LOOK_EVERY_S
            self._parts.tally.show(Unseen(self.binding, model.use.digest, model.manifest, values[0], at_ns))
        if ready.is_plain:
            return _NOT_DRAWN * len(names)
        return self._allotment.draw(names, model.policy, strange)

    def _run(
        self, ready: _Ready, inputs: Mapping[str, NDArray[Any]], facts: Sequence[Facts], began_s: float
    ) -> dict[str, NDArray[Any]]:
        try:
            return ready.model.session.run(inputs)
        except TensorError:
            self._allotment.give_back(facts)
            raise
        except Exception as error:  # calling an engine: whatever it does, the next call is answered
            logger.exception("engine_failed", extra={"binding": self.binding})
            self._allotment.give_back(facts)
            self._parts.tally.failed(ready.source, self._now_s() - began_s)
            self._parts.on_engine_failure(self.binding, ready.model.use)
            raise _no_answer(ready) from error

    def _scored(self, ready: _Ready, outputs: Mapping[str, NDArray[Any]], facts: Sequence[Facts]) -> Sequence[Scored]:
        try:
            return score(ready.model.manifest, outputs)
        except TensorError as error:
            logger.exception("engine_gave_other_outputs_than_declared", extra={"binding": self.binding})
            self._allotment.give_back(facts)
            self._parts.on_engine_failure(self.binding, ready.model.use)
            raise _no_answer(ready) from error

    def _held(self, ready: _Ready, name: PredictionId, scored: Scored, reason: Reason | None) -> CalledRow:
        """The answer to a single input about which nobody is asked: most calls."""
        if scored.unscorable is not None:  # inputs are finite numbers: what is none came from the pack
            self._parts.on_engine_failure(self.binding, ready.model.use)
        why = None if reason is None else reason.value
        return CalledRow(name, _FINAL, scored.confidence, _label_of(scored), why, _EDGE)

    def _decided(self, asked: _Asked, inbox: Told | None) -> tuple[tuple[CalledRow, ...], tuple[Outcome, ...]]:
        """Decide each row by itself; what the hub is asked about is stored together."""
        model, policy = asked.ready.model, asked.ready.model.policy
        facts = self._allotment.allot(asked.facts, asked.scored, [""] * len(asked.names), policy)
        rows: list[CalledRow] = []
        outcomes: list[Outcome] = []
        stored: list[Decided] = []
        for place, (name, one, scored) in enumerate(zip(asked.names, facts, asked.scored, strict=True)):
            decision = decide(scored, policy, one)
            if scored.unscorable is not None:
                self._parts.on_engine_failure(self.binding, model.use)
            use = asked.ready.decided_by(decision, one)
            reason = None if decision.reason is None else decision.reason.value
            rows.append(CalledRow(name, decision.status.value, scored.confidence, _label_of(scored), reason, _EDGE))
            if decision.escalate:
                stored.append(self._stored(asked, place, decision, use))
            else:
                outcomes.append(Outcome(self.binding, use, counters(decision)))
        if stored:
            if inbox is not None:
                self._parts.revisions.expect([row.prediction_id for row in rows if is_open(row)], inbox)
            counts = {(self.binding, str(name)): len(stored) for name in ANSWERED}
            self._parts.tally.submit(Unit(counts=counts, decided=tuple(stored), terms=self._terms))
        return tuple(rows), tuple(outcomes)

    def _stored(self, asked: _Asked, place: int, decision: Decision, use: PolicyUse) -> Decided:
        """One row as the store keeps it."""
        parts, model, scored = self._parts, asked.ready.model, asked.scored[place]
        manifest, name = model.manifest, asked.names[place]
        latency_s = parts.clock.monotonic_s() - asked.came_s
        now_ns = parts.clock.wall_ns()
        came_ns = now_ns - round(latency_s * _NS_PER_S)
        prediction = Prediction(
            id=name,
            device=parts.device,
            binding=self.binding,
            decided_ns=now_ns,
            clock="synced" if parts.clock.is_synced() else "unsynced",
            window_start_ns=came_ns,
            window_end_ns=came_ns,
            window_samples=1 if manifest.window is None else manifest.window.samples,
            window_fill=1.0,
            is_durable=parts.store.is_durable and self._terms.durability is not Durability.NONE,
            scored=scored,
            decision=decision,
            models=(model.use,),
            certificate=model.certificate,
            latency_ms=latency_s * _MS_PER_S,
            trace=traceparent(name),
            policy_version=model.policy.version,
        )
        tensors = tuple(
            Tensor.from_array(spec.name, asked.inputs[spec.name][place : place + 1]) for spec in manifest.inputs
        )
        payload = json.dumps(event(prediction), separators=(",", ":")).encode()
        to = self._address
        return Decided(
            prediction_id=name,
            binding=self.binding,
            partition="",
            status=decision.status.value,
            publish=Publish(parts.store.new_row(), to.broker, to.topic, payload, to.qos, expiry_s=to.expiry_s),
            escalate=escalation_of(prediction, model, tensors, partition=""),
            escalate_class=ItemClass.AUDIT if decision.is_audit else ItemClass.ESCALATION,
            counted=counters(decision),
            decided_by=use,
        )


def _label_of(scored: Scored) -> str | None:
    return getattr(scored.output, "label", None)


def _other_version(binding: str, wanted: str, runs: str) -> CallError:
    return CallError(
        f"model {binding!r} runs version {runs}, not {wanted}", "ask for no version, or for that one", Status.NOT_FOUND
    )


def _no_answer(ready: _Ready) -> CallError:
    return CallError(
        f"the engine failed on pack {ready.model.use.pack}",
        "call again; the agent's log says why, and `model-pack verify` tests the pack",
        Status.INTERNAL,
    )
