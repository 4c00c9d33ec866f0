"""Owns the answer to a question: one engine run for many, scores, the decision, the event, and what the hub is asked.

Where questions come from is `intake.py`; how scores are made is `model_packs.scoring`; the decision itself is
`core/decision.py`.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.decision import Facts, Policy, counters, decide, group_of
from edge_agent.core.event_text import event_bytes
from edge_agent.core.input_sampling import InputSampling
from edge_agent.core.prediction import CertificateUse, Prediction, input_digest, prediction_id
from edge_agent.inference.allotting import Allotment
from edge_agent.ports import BindingName, Clock, Decided, PolicyUse, Publish, RowId
from model_packs.engines.session import Session, batch_limit
from model_packs.errors import RunTimeoutError, TensorError
from model_packs.manifest import PackManifest
from model_packs.scoring import Scored, score
from model_packs.tensors import Tensor
from protos.link.trace import traceparent
from protos.messages.escalation import Escalation, ItemClass, PredictionId
from protos.messages.inference import ModelUse

ENGINE_ERROR = "engine_error"
_FAILED = Scored(output=None, confidence=0.0, unscorable=ENGINE_ERROR)
_NS_PER_MS = 1_000_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Model:
    """The edge pack that a binding runs.

    Attributes:
        certificate: What backs the threshold here and now.
        use: How events name it.
    """

    manifest: PackManifest
    session: Session
    policy: Policy
    certificate: CertificateUse | None
    use: ModelUse


class Question(Protocol):
    """One model input: a window of samples, or an image."""

    @property
    def identity(self) -> tuple[str | int, ...]:
        """What names it among those of its binding; the same after a crash or a redelivery."""
        ...

    @property
    def partition(self) -> str:
        """The stream that it belongs to."""
        ...

    @property
    def start_ns(self) -> int:
        """Inclusive start, Unix epoch, UTC."""
        ...

    @property
    def end_ns(self) -> int:
        """Exclusive end; an image's is its start."""
        ...

    @property
    def values(self) -> NDArray[Any]:
        """As the pack's first input, without the batch axis."""
        ...

    @property
    def samples(self) -> int:
        """Samples that it holds; 1 for an image."""
        ...

    @property
    def fill(self) -> float:
        """Real values / expected values, 0..1."""
        ...


@dataclass(slots=True)
class Asked:
    """A question with what its answer needs: when the message that completed it came, and where the answer goes."""

    window: Question
    received_ns: int
    broker: str
    topic: str
    qos: int
    expiry_s: int | None


LookAtInput = Callable[[BindingName, str, PackManifest, NDArray[Any], int], float | None]
"""`InputWatch.look`."""


@dataclass(slots=True)
class _Answered:
    """A question with all that its decision needs."""

    asked: Asked
    name: PredictionId
    facts: Facts
    scored: Scored


class Answerer:
    """Answers the windows of one binding.

    Args:
        device: Device id.
        binding: Its name.
        model: The pack in use.
        clock: For the time of the decision.
        new_row: Gives outbox rows.
        on_run: Told of every engine run: the binding, and how long it took in seconds.
        on_answered: Told of every answer: the binding, and milliseconds since the message that completed the question.
        on_scored: Told how many questions a run has answered with a finite score: the binding, the pack, the number.
        on_engine_failure: Told of every question that the engine fails on by itself, or answers with what is no number:
            the binding, and the pack.
        allotment: Says which questions the hub may be asked.
        look: Looks at an input: the binding, the pack's digest and manifest, the values, their event time in ns; its
            out-of-distribution statistic. At every input before it is answered where the policy has a limit on that;
            else at some, behind the answers (`core/input_sampling.py`).
    """

    def __init__(
        self,
        device: str,
        binding: BindingName,
        model: Model,
        clock: Clock,
        *,
        new_row: Callable[[], RowId],
        on_run: Callable[[str, float], None],
        on_answered: Callable[[str, float], None],
        on_scored: Callable[[str, ModelUse, int], None],
        on_engine_failure: Callable[[str, ModelUse], None],
        allotment: Allotment,
        look: LookAtInput,
    ) -> None:
        self._device = device
        self._binding = binding
        self._model = model
        self._batch = batch_limit(model.manifest, model.session.facts)
        self._clock = clock
        self._new_row = new_row
        self._on_run = on_run
        self._on_answered = on_answered
        self._on_scored = on_scored
        self._on_engine_failure = on_engine_failure
        self._allotment = allotment
        self._look = look
        self._sampling = InputSampling()
        self._unseen: list[tuple[Model, Question]] = []
        self._untold: list[Callable[[], None]] = []
        self._lock = threading.Lock()  # taken by `answer` for a pass, by `swap` between two

    def swap(self, model: Model) -> Model:
        """Answer with another model from the next pass on; waits for the one in hand.

        Args:
            model: Takes the same inputs as the one before.

        Returns:
            The model before, which nothing uses any more.
        """
        with self._lock:
            before, self._model = self._model, model
            self._batch = batch_limit(model.manifest, model.session.facts)
        return before

    def answer(self, asked: Sequence[Asked], *, is_durable: bool) -> list[Decided]:
        """Infer windows together and decide about each.

        Args:
            asked: In the order of their closing.
            is_durable: Whether the store commits at present.

        Returns:
            One prediction per window, in the same order.
        """
        clock = "synced" if self._clock.is_synced() else "unsynced"
        with self._lock:
            policy, allotment = self._model.policy, self._allotment
            names = [prediction_id(self._device, self._binding, *one.window.identity) for one in asked]
            strange = self._strangeness(asked, names)
            drawn = allotment.draw(names, policy, strange)  # before anything is answered
            size = self._batch
            scored: list[Scored] = []
            for first in range(0, len(asked), size):
                scored += self._infer([one.window for one in asked[first : first + size]])
            facts = allotment.allot(drawn, scored, [one.window.partition for one in asked], policy)
            return [
                self._decided(_Answered(*one), clock, is_durable=is_durable)
                for one in zip(asked, names, facts, scored, strict=True)
            ]

    def look(self) -> None:
        """Tell of what was answered, and look at inputs of it; called when the answers are out."""
        with self._lock:
            untold, self._untold = self._untold, []
            unseen, self._unseen = self._unseen, []
            for tell in untold:
                tell()
            for model, window in unseen:
                self._look(self._binding, model.use.digest, model.manifest, window.values, window.end_ns)

    def _strangeness(self, asked: Sequence[Asked], names: Sequence[PredictionId]) -> list[float | None]:
        """What each input is out of distribution by, where the policy asks; else some are looked at later."""
        model = self._model
        if model.policy.ood_limit is not None:
            return [
                self._look(self._binding, model.use.digest, model.manifest, one.window.values, one.window.end_ns)
                for one in asked
            ]
        now_s = self._clock.monotonic_s()
        self._unseen += [
            (model, one.window) for one, name in zip(asked, names, strict=True) if self._sampling.takes(name, now_s)
        ]
        return [None] * len(asked)

    def _infer(self, windows: Sequence[Question]) -> Sequence[Scored]:
        scored = self._scored(windows)
        if scored is not None:
            self._tell(scored)
            return scored
        if len(windows) > 1:  # one window must not take the others down with it
            return [one for window in windows for one in self._infer([window])]
        self._on_engine_failure(self._binding, self._model.use)
        return [_FAILED]

    def _tell(self, scored: Sequence[Scored]) -> None:
        failed = sum(one.unscorable is not None for one in scored)
        for _ in range(failed):  # questions are finite numbers: what is none came from the pack
            self._on_engine_failure(self._binding, self._model.use)
        if failed < len(scored):
            self._untold.append(partial(self._on_scored, self._binding, self._model.use, len(scored) - failed))

    def _scored(self, windows: Sequence[Question]) -> Sequence[Scored] | None:
        """One engine run; None when the engine failed."""
        name = self._model.manifest.inputs[0].name
        batch = windows[0].values[np.newaxis] if len(windows) == 1 else np.stack([one.values for one in windows])
        facts = {"binding": self._binding, "windows": len(windows)}
        began_s = self._clock.monotonic_s()
        try:
            outputs = self._model.session.run({name: batch})
        except RunTimeoutError:  # each window alone might take as long: none is tried again
            logger.exception("engine_took_too_long", extra=facts)
            return [_FAILED] * len(windows)
        except Exception:  # calling an engine: whatever it does, the windows are unscorable and the flow goes on
            logger.exception("engine_failed", extra=facts)
            return None
        self._untold.append(partial(self._on_run, self._binding, self._clock.monotonic_s() - began_s))
        try:
            return score(self._model.manifest, outputs)
        except TensorError:
            logger.exception("engine_gave_other_outputs_than_declared", extra=facts)
            return None

    def _decided(self, one: _Answered, clock: str, *, is_durable: bool) -> Decided:
        model, asked, window, name, scored = self._model, one.asked, one.asked.window, one.name, one.scored
        decision = decide(scored, model.policy, one.facts)
        now_ns = self._clock.wall_ns()
        prediction = Prediction(
            id=name,
            device=self._device,
            binding=self._binding,
            decided_ns=now_ns,
            clock=clock,
            window_start_ns=window.start_ns,
            window_end_ns=window.end_ns,
            window_samples=window.samples,
            window_fill=window.fill,
            is_durable=is_durable,
            scored=scored,
            decision=decision,
            models=(model.use,),
            certificate=model.certificate,
            latency_ms=max(0, now_ns - asked.received_ns) / _NS_PER_MS,
            trace=traceparent(name),
            policy_version=model.policy.version,
        )
        self._untold.append(partial(self._on_answered, self._binding, prediction.latency_ms))
        payload = event_bytes(prediction)
        return Decided(
            prediction_id=name,
            binding=self._binding,
            partition=window.partition,
            status=decision.status.value,
            publish=Publish(self._new_row(), asked.broker, asked.topic, payload, asked.qos, expiry_s=asked.expiry_s),
            escalate=self._escalation(prediction, window) if decision.escalate else None,
            escalate_class=ItemClass.AUDIT if decision.is_audit else ItemClass.ESCALATION,
            counted=counters(decision),
            decided_by=PolicyUse(
                model.policy.version,
                model.use,
                model.policy.reported_threshold,
                one.facts.audit_rate,
                is_kept=decision.is_kept,
                is_short=decision.shortage is not None,
            ),
        )

    def _escalation(self, prediction: Prediction, window: Question) -> Escalation:
        inputs = (Tensor.from_array(self._model.manifest.inputs[0].name, window.values[np.newaxis]),)
        return escalation_of(prediction, self._model, inputs, partition=window.partition)


def escalation_of(prediction: Prediction, model: Model, inputs: tuple[Tensor, ...], *, partition: str) -> Escalation:
    """Write the question to the hub about one answer.

    Args:
        prediction: The edge's answer; its decision is to escalate.
        model: What made it.
        inputs: One tensor per input of the pack, of a batch of one.
        partition: The stream that the question belongs to.

    Returns:
        The question.
    """
    manifest = model.manifest
    if prediction.decision.reason is None or manifest.escalates_to is None:
        raise AssertionError("a decision to escalate has a reason, and its pack names a hub pack")
    return Escalation(
        prediction_id=prediction.id,
        input_digest=input_digest(inputs),
        binding=prediction.binding,
        partition=partition,
        window_start_ns=prediction.window_start_ns,
        window_end_ns=prediction.window_end_ns,
        window_samples=prediction.window_samples,
        window_fill=prediction.window_fill,
        clock=prediction.clock,
        edge_model=model.use,
        hub_pack=str(manifest.escalates_to),
        reason=prediction.decision.reason,
        propensity=prediction.decision.propensity,
        confidence=prediction.scored.confidence,
        edge_output=prediction.scored.output,
        inputs=inputs,
        trace=prediction.trace,
        threshold=model.policy.reported_threshold,
        certificate_digest="" if model.certificate is None else model.certificate.digest,
        policy_version=model.policy.version,
        group=model.policy.group or group_of(prediction.scored),
    )
