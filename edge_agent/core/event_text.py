"""Owns writing revision 0 of a prediction event as bytes: what `json.dumps(event(…))` would write, for less.

What the event says is `prediction.event`; most of it is the same for all answers of a binding and a model, and is
written once here. The two are held together by a test over any prediction.
"""

import json
from functools import lru_cache

from edge_agent.core.prediction import SCHEMA, CertificateUse, Prediction, first_outcome, models_json, moment
from edge_agent.core.timestamps import to_text
from model_packs.outputs import Classification, Output
from protos.messages.inference import ModelUse, Tier

_write = json.JSONEncoder(separators=(",", ":")).encode
_FLAG = {True: "true", False: "false"}


def event_bytes(prediction: Prediction) -> bytes:
    """Write revision 0.

    Args:
        prediction: The edge's answer; its numbers are finite, and Python's own, whose `repr` is their JSON.

    Returns:
        The JSON object of `prediction.event`, in UTF-8, without spaces.
    """
    decision, scored = prediction.decision, prediction.scored
    head = _head(prediction.device, prediction.binding)
    certificate = prediction.certificate if decision.is_certified else None
    reason = "null" if decision.reason is None else f'"{decision.reason.value}"'
    return (
        f'{{"schema":"{SCHEMA}","id":"{prediction.id}",{head},"ts":"{moment(prediction.decided_ns)}",'
        f'"clock":"{prediction.clock}","window":{{"start":"{to_text(prediction.window_start_ns)}",'
        f'"end":"{to_text(prediction.window_end_ns)}","n":{prediction.window_samples},'
        f'"fill":{round(prediction.window_fill, 6)!r}}},"durable":{_FLAG[prediction.is_durable]},'
        f'"status":"{decision.status.value}","revision":0,"tier":"{Tier.EDGE.value}",'
        f'"output":{_output(scored.output)},"confidence":{scored.confidence!r},'
        f'"escalation":{{"reason":{reason},"outcome":"{first_outcome(decision).value}",'
        f'"propensity":{decision.propensity!r},"policy_version":{prediction.policy_version}}},'
        f'{_tail(prediction.models, certificate)},"latency_ms":{round(prediction.latency_ms, 3)!r},'
        f'"trace":"{prediction.trace}"}}'
    ).encode()


def _output(output: Output | None) -> str:
    if type(output) is not Classification:
        return "null" if output is None else _write(output.to_json())
    scores = ",".join([f"{_quoted(label)}:{score!r}" for label, score in output.scores.items()])
    return f'{{"task":"classification","label":{_quoted(output.label)},"scores":{{{scores}}}}}'


@lru_cache(maxsize=4096)
def _quoted(text: str) -> str:
    return _write(text)


@lru_cache(maxsize=256)
def _head(device: str, binding: str) -> str:
    return f'"device":{_write(device)},"binding":{_write(binding)}'


@lru_cache(maxsize=256)
def _tail(models: tuple[ModelUse, ...], certificate: CertificateUse | None) -> str:
    said = None if certificate is None else {"digest": certificate.digest, "state": certificate.state.value}
    return f'"models":{_write(models_json(models))},"certificate":{_write(said)}'
