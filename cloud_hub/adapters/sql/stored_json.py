"""Owns the values that one column holds as JSON, both ways: an output, the models behind it, a heartbeat, desires."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from cloud_hub.core.policies import PolicyDesire, policy_document, read_policy
from cloud_hub.core.twin import SlotDesire
from model_packs.outputs import Output, from_json
from protos.messages.fleet import (
    BindingReport,
    BudgetReport,
    DriftReport,
    FailureAction,
    Heartbeat,
    InstallPhase,
    PackFailure,
    PolicyReport,
    PolicyState,
    SlotReport,
    SlotState,
)
from protos.messages.inference import ModelUse, Role


def output_text(output: Output | None) -> str | None:
    """An output as stored; None could not be scored."""
    return None if output is None else json.dumps(output.to_json())


def read_output(text: str | None) -> Output | None:
    """What `output_text` wrote."""
    return None if text is None else from_json(json.loads(text))


def models_text(models: Sequence[ModelUse]) -> str:
    """Models as stored."""
    return json.dumps([asdict(model) for model in models])


def read_models(text: str) -> tuple[ModelUse, ...]:
    """What `models_text` wrote."""
    return tuple(_model(document) for document in json.loads(text))


def heartbeat_text(heartbeat: Heartbeat) -> str:
    """A heartbeat as stored."""
    return json.dumps(asdict(heartbeat))


def read_heartbeat(text: str) -> Heartbeat:
    """What `heartbeat_text` wrote, also before it knew slots, desires and policies."""
    document: dict[str, Any] = json.loads(text)
    bindings = tuple(
        BindingReport(**{**binding, "model": _model(binding["model"])}) for binding in document["bindings"]
    )
    slots = tuple(_slot(slot) for slot in document.get("slots", ()))
    policies = tuple(_policy(policy) for policy in document.get("policies", ()))
    drift = tuple(DriftReport(**one) for one in document.get("drift", ()))
    budget = tuple(BudgetReport(**one) for one in document.get("budget", ()))
    typed = {"bindings": bindings, "slots": slots, "policies": policies, "drift": drift, "budget": budget}
    return Heartbeat(**{**document, "problems": tuple(document["problems"]), **typed})


def desires_text(slots: Sequence[SlotDesire]) -> str:
    """The slots of a desired twin as stored."""
    return json.dumps([asdict(slot) for slot in slots])


def read_desires(text: str) -> tuple[SlotDesire, ...]:
    """What `desires_text` wrote."""
    return tuple(SlotDesire(**document) for document in json.loads(text))


def policies_text(policies: Sequence[PolicyDesire]) -> str:
    """The policies of a desired twin as stored."""
    return json.dumps([policy_document(one) for one in policies])


def read_policies(text: str) -> tuple[PolicyDesire, ...]:
    """What `policies_text` wrote."""
    return tuple(read_policy(document) for document in json.loads(text))


def _slot(document: Mapping[str, Any]) -> SlotReport:
    failure = document["failure"]
    typed = {
        "state": SlotState(document["state"]),
        "phase": InstallPhase(document["phase"]),
        "failure": failure and PackFailure(**{**failure, "action": FailureAction(failure["action"])}),
    }
    return SlotReport(**{**document, **typed})


def _policy(document: Mapping[str, Any]) -> PolicyReport:
    return PolicyReport(**{**document, "state": PolicyState(document["state"])})


def _model(document: Mapping[str, str]) -> ModelUse:
    return ModelUse(pack=document["pack"], digest=document["digest"], role=Role(document["role"]))
