"""Owns the prediction event `edge.prediction/1`: its id, its first form, and how later answers change it.

The JSON Schema is `edge_agent/schemas/edge.prediction.1.json`. Which answers are asked again is `decision.py`; storing
and publishing events is the store's and the broker's.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from edge_agent.core.decision import AnswerStatus, Decision
from edge_agent.core.digests import digest_128
from edge_agent.core.escalation import PENDING, WITHOUT_VERDICT, Move, Outcome, next_state
from edge_agent.core.timestamps import from_text, to_text
from model_packs.outputs import agree, from_json
from model_packs.scoring import Scored
from model_packs.tensors import Tensor
from protos.messages.escalation import PredictionId, Reason, Verdict
from protos.messages.inference import ModelUse, Tier

SCHEMA = "edge.prediction/1"

Event = dict[str, Any]
"""An event as a JSON object."""

_NS_PER_MS = 1_000_000
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_BASE32_PAIRS = [one + other for one in _BASE32 for other in _BASE32]  # the library's encoder takes a digit at a time
_PAIR = (1 << 10) - 1
_ID_PADDING_BITS = 2  # 26 digits hold 130 bits
_ID_SHIFTS = range(120, -1, -10)


class CertificateState(StrEnum):
    """How far a certificate speaks for an answer made here and now."""

    CERTIFIED = "certified"
    CARRIED_OVER = "carried_over"
    UNCERTIFIED = "uncertified"
    VOID = "void"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class CertificateUse:
    """The certificate that backs the threshold in use."""

    digest: str
    state: CertificateState


@dataclass(slots=True)
class Prediction:
    """The edge's answer to one window, with all that its event says.

    Attributes:
        decided_ns: Wall clock of the decision, Unix epoch, UTC.
        clock: "synced" or "unsynced".
        window_samples: Samples that the model input holds.
        window_fill: Real values / expected values, 0..1.
        is_durable: Whether the record that closed the window is (about to be) in the journal.
        certificate: Of the edge pack in use; the event carries it only where it speaks for the answer.
        latency_ms: From the arrival of the message that closed the window to the decision.
        trace: W3C traceparent.
        policy_version: Of the policy that decided; 0: the pack's own.
    """

    id: PredictionId
    device: str
    binding: str
    decided_ns: int
    clock: str
    window_start_ns: int
    window_end_ns: int
    window_samples: int
    window_fill: float
    is_durable: bool
    scored: Scored
    decision: Decision
    models: tuple[ModelUse, ...]
    certificate: CertificateUse | None
    latency_ms: float
    trace: str
    policy_version: int = 0


def prediction_id(device: str, binding: str, *identity: str | int) -> PredictionId:
    """Name a prediction, the same after a crash, a redelivery or a change of pack.

    Args:
        device: Device id.
        binding: Binding name.
        *identity: What names the question among those of its binding: of a window its partition, inclusive start and
            exclusive end (ns, Unix epoch, UTC); of an image its partition and its dedupe key.

    Returns:
        26 characters of lower-case base32 (RFC 4648, no padding) of a 128-bit digest.
    """
    padded = int.from_bytes(digest_128(device, binding, *identity), "big") << _ID_PADDING_BITS
    return PredictionId("".join([_BASE32_PAIRS[padded >> shift & _PAIR] for shift in _ID_SHIFTS]))


def input_digest(tensors: Sequence[Tensor]) -> str:
    """Digest the model inputs of one window, so that the same id with other inputs is noticed.

    Args:
        tensors: In the order of the pack's inputs.

    Returns:
        `sha256:` and 64 hexadecimal digits.
    """
    digests = "\n".join(tensor.digest() for tensor in tensors)
    return "sha256:" + hashlib.sha256(digests.encode("ascii")).hexdigest()


def event(prediction: Prediction) -> Event:
    """Write revision 0.

    Args:
        prediction: The edge's answer.

    Returns:
        A JSON object of `edge.prediction/1`.
    """
    decision = prediction.decision
    certificate = prediction.certificate if decision.is_certified else None
    return {
        "schema": SCHEMA,
        "id": prediction.id,
        "device": prediction.device,
        "binding": prediction.binding,
        "ts": moment(prediction.decided_ns),
        "clock": prediction.clock,
        "window": {
            "start": to_text(prediction.window_start_ns),
            "end": to_text(prediction.window_end_ns),
            "n": prediction.window_samples,
            "fill": round(prediction.window_fill, 6),
        },
        "durable": prediction.is_durable,
        "status": decision.status.value,
        "revision": 0,
        "tier": Tier.EDGE.value,
        "output": None if prediction.scored.output is None else prediction.scored.output.to_json(),
        "confidence": prediction.scored.confidence,
        "escalation": {
            "reason": None if decision.reason is None else decision.reason.value,
            "outcome": first_outcome(decision).value,
            "propensity": decision.propensity,
            "policy_version": prediction.policy_version,
        },
        "models": models_json(prediction.models),
        "certificate": None
        if certificate is None
        else {"digest": certificate.digest, "state": certificate.state.value},
        "latency_ms": round(prediction.latency_ms, 3),
        "trace": prediction.trace,
    }


def revise(current: Mapping[str, Any], verdict: Verdict, now_ns: int) -> Event | None:
    """Apply a verdict to the event last made for its prediction.

    A verdict equal to the edge's answer revises, too: the caller learns that it is confirmed. Not so the hub's word on
    an audited answer, which was final: only a disagreeing one revises. A verdict without an input digest is a person's
    about the answer, not the hub's about the window: an open escalation goes on.

    Args:
        current: The event last made.
        verdict: For the same prediction id.
        now_ns: Wall clock, Unix epoch, UTC.

    Returns:
        The new event; None when the verdict changes nothing: its revision is not greater, its tier is lower, or the hub
        agrees with an audited answer or cannot judge it.
    """
    if verdict.revision <= current["revision"] or verdict.tier.rank < Tier(current["tier"]).rank:
        return None
    if _is_audit(current) and verdict.tier is Tier.HUB and agrees(current, verdict) is not False:
        return None
    stands = Outcome(current["escalation"]["outcome"])
    is_movable = bool(verdict.input_digest) and (stands in PENDING or stands is Outcome.EXPIRED)
    outcome = next_state(stands, Move.ANSWER) if is_movable else stands
    return _changed(current, now_ns) | {
        "status": AnswerStatus.REVISED.value,
        "revision": verdict.revision,
        "tier": verdict.tier.value,
        "output": None if verdict.output is None else verdict.output.to_json(),
        "confidence": verdict.confidence,
        "escalation": {**current["escalation"], "outcome": outcome.value},
        "models": models_json(verdict.models),
        "certificate": None,
    }


def unrevised(current: Mapping[str, Any], outcome: Outcome, now_ns: int) -> Event | None:
    """Say that an escalation ended without a verdict: the edge's answer stands, and no certificate speaks for it.

    Args:
        current: The event last made.
        outcome: The end that the escalation came to.
        now_ns: Wall clock, Unix epoch, UTC.

    Returns:
        The new event; None when nobody waits: the event is not provisional, or `outcome` is no such end.
    """
    if current["status"] != AnswerStatus.PROVISIONAL or outcome not in WITHOUT_VERDICT:
        return None
    return _changed(current, now_ns) | {
        "status": AnswerStatus.UNREVISED.value,
        "escalation": {**current["escalation"], "outcome": outcome.value},
        "certificate": None,
    }


def agrees(current: Mapping[str, Any], verdict: Verdict) -> bool | None:
    """Compare a verdict with the answer of an event, by the loss of their task.

    Args:
        current: The event.
        verdict: For the same prediction id.

    Returns:
        Whether they agree; None when one of them is no answer, or nobody can tell.
    """
    output = current["output"]
    return None if output is None or verdict.output is None else agree(from_json(output), verdict.output)


def settled(current: Mapping[str, Any], outcome: Outcome) -> Event:
    """Note how an audit ended where that revises nothing; such an event is kept and not published.

    Args:
        current: The event last made.
        outcome: The end that the audit came to.

    Returns:
        The same answer, with its outcome.
    """
    return {**current, "escalation": {**current["escalation"], "outcome": outcome.value}}


def _is_audit(current: Mapping[str, Any]) -> bool:
    return bool(current["escalation"]["reason"] == Reason.AUDIT)


def first_outcome(decision: Decision) -> Outcome:
    """Where a question to the hub stands when its answer is made."""
    if decision.escalate:
        return Outcome.QUEUED
    return Outcome.SUPPRESSED_BUDGET if decision.is_suppressed else Outcome.NONE


def _changed(current: Mapping[str, Any], now_ns: int) -> Event:
    """Copy an event with a new time; its latency grows by the time since, so it counts from the message's arrival."""
    waited_ms = max(0, now_ns - from_text(current["ts"])) / _NS_PER_MS
    return {**current, "ts": moment(now_ns), "latency_ms": round(current["latency_ms"] + waited_ms, 3)}


def moment(ns: int) -> str:
    """Write a wall clock time in milliseconds; window bounds, in contrast, are exact."""
    return to_text(ns // _NS_PER_MS * _NS_PER_MS)


def models_json(models: Sequence[ModelUse]) -> list[dict[str, str]]:
    """Write which packs answered."""
    return [{"pack": model.pack, "digest": model.digest, "role": model.role.value} for model in models]
