"""Owns what each answer of the HTTP API holds, as JSON Schemas (draft 2020-12); `documents.py` writes the same.

Times are nanoseconds since the Unix epoch, UTC, by the hub's clock unless said otherwise. What is not known is null.
"""

import json
from importlib.resources import files
from typing import Any

from cloud_hub.adapters.http.api.fields import Schema
from cloud_hub.core.cases import CaseState
from cloud_hub.core.events import EventKind
from cloud_hub.core.feedback import Said, Source
from cloud_hub.core.people import Role
from model_packs.outputs import BOX_UNITS
from protos.messages.escalation import Reason
from protos.messages.inference import Tier

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_AT: Schema = {"type": "integer", "description": "Nanoseconds since the Unix epoch, UTC."}
_CHANCE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_FLAG: Schema = {"type": "boolean"}


def _said(schema: Schema, doc: str) -> Schema:
    return {**schema, "description": doc}


def _or_null(schema: Schema) -> Schema:
    return {"oneOf": [schema, {"type": "null"}]}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _one_of(words: Any) -> Schema:  # noqa: ANN401 - any enumeration of words
    return {"type": "string", "enum": [str(word) for word in words]}


def _object(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }


def _document(schema: str, **properties: Schema) -> Schema:
    return _object(schema={"const": schema}, **properties)


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _shipped(name: str, component: str) -> dict[str, Schema]:
    """A schema of the command line and its parts as components: what it calls `#/$defs/x` becomes `Component.x`."""
    text = (files("cloud_hub") / "schemas" / f"{name}.schema.json").read_text()
    document: Schema = json.loads(text.replace("#/$defs/", f"#/components/schemas/{component}."))
    parts: dict[str, Schema] = document.pop("$defs", {})
    del document["$schema"], document["$id"]
    return {component: document} | {f"{component}.{part}": schema for part, schema in parts.items()}


_CASE = _object(
    site=_TEXT,
    device=_TEXT,
    prediction_id=_TEXT,
    binding=_TEXT,
    partition=_TEXT,
    received_at_ns=_AT,
    window_start_ns=_said(_AT, "By the device's clock."),
    window_end_ns=_said(_AT, "By the device's clock."),
    reason=_said(_one_of(Reason), "Why it was escalated."),
    propensity=_said(_CHANCE, "Probability with which the window was chosen for the hub."),
    threshold=_said(_or_null(_CHANCE), "The policy's; null when it escalates everything."),
    state=_one_of(CaseState),
    agrees=_said(_or_null(_FLAG), "Whether edge and hub say the same; null where one of them says nothing."),
    edge=_object(pack=_TEXT, digest=_TEXT, label=_or_null(_TEXT), confidence=_CHANCE),
    hub=_object(pack=_TEXT, digest=_or_null(_TEXT), label=_or_null(_TEXT), confidence=_or_null(_CHANCE)),
    human=_object(label=_or_null(_TEXT), by=_or_null(_TEXT), unsure=_COUNT, doubted=_FLAG),
)
_NUMBER: Schema = {"type": "number"}
_OUTPUT: Schema = {
    "oneOf": [
        _object(
            task={"const": "classification"}, label=_TEXT, scores={"type": "object", "additionalProperties": _CHANCE}
        ),
        _object(
            task={"const": "regression"},
            value=_NUMBER,
            low=_said(_or_null(_NUMBER), "Lower end of the interval that covers the truth with the pack's level."),
            high=_said(_or_null(_NUMBER), "Its upper end; null, as the lower one, when no interval is known."),
            tolerance=_said(_NUMBER, "The largest error that is good enough."),
            unit=_TEXT,
        ),
        _object(
            task={"const": "detection"},
            units=_said(_one_of(BOX_UNITS), "Of the coordinates: pixels of the model's input, or shares of its sides."),
            iou=_said(_CHANCE, "The least overlap of two boxes that mean the same."),
            boxes=_said(
                _list(_object(label=_TEXT, score=_CHANCE, x0=_NUMBER, y0=_NUMBER, x1=_NUMBER, y1=_NUMBER)),
                "The highest score first; none: nothing was found.",
            ),
        ),
        _object(task={"const": "text"}, text=_TEXT),
        _object(
            task={"const": "tensor"},
            tensors=_list(
                _object(
                    name=_TEXT,
                    datatype=_TEXT,
                    shape=_list({"type": "integer", "minimum": 0}),
                    data=_said(_TEXT, "Base64 of the raw little-endian bytes."),
                )
            ),
        ),
    ]
}
_VERDICT = _object(
    seq=_said(_COUNT, "Place in the device's verdict log."),
    revision=_COUNT,
    tier=_one_of(Tier),
    output=_said(_or_null(_ref("Output")), "Null when the window could not be scored."),
    confidence=_CHANCE,
    models=_list(_object(pack=_TEXT, digest=_TEXT)),
    decided_at_ns=_AT,
)
_GIVEN = _object(
    site=_TEXT,
    device=_TEXT,
    prediction_id=_TEXT,
    source=_one_of(Source),
    said=_one_of(Said),
    label=_or_null(_TEXT),
    by=_said(_TEXT, "A person of this hub, or what the device's panel wrote."),
    note=_TEXT,
    given_at_ns=_said(_AT, "By the clock of where it was given."),
    received_at_ns=_AT,
    binding=_TEXT,
    reason=_said(_or_null(_TEXT), "Why the window was escalated; null when it never was."),
    propensity=_CHANCE,
    edge=_object(pack=_TEXT, digest=_TEXT, label=_or_null(_TEXT), confidence=_CHANCE),
    hub=_object(pack=_TEXT, digest=_TEXT, label=_or_null(_TEXT), confidence=_or_null(_CHANCE)),
    revision=_said(_or_null(_COUNT), "Of the verdict that it made; null when it made none."),
)
_TENSOR: dict[str, Schema] = {
    "name": _TEXT,
    "datatype": _said(_TEXT, "Open Inference Protocol datatype."),
    "shape": _list(_COUNT),
    "is_picture": _said(_FLAG, "Whether the same address with .png shows it."),
    "channels": _said(
        _list(
            _object(
                least=_or_null({"type": "number"}),
                most=_or_null({"type": "number"}),
                mean=_or_null({"type": "number"}),
                not_finite=_COUNT,
            )
        ),
        "One entry a value of the last axis; one for all where there are at most two axes, or for a picture.",
    ),
}
_PACK: dict[str, Schema] = {
    "pack": _said(_TEXT, "name@version"),
    "digest": _said(_TEXT, "The pack digest: of pack.json."),
    "size_bytes": _COUNT,
    "role": _one_of(("edge", "hub")),
    "family": _TEXT,
    "labels": _list(_TEXT),
    "escalates_to": _or_null(_TEXT),
    "signed_by": _said(_list(_TEXT), "Ids of the keys."),
}
_PERSON: dict[str, Schema] = {"name": _TEXT, "role": _one_of(Role), "created_at_ns": _AT}
_DESIRED_SLOT = _object(binding=_TEXT, pack=_TEXT, digest=_TEXT, set_by=_TEXT, set_at_ns=_AT)

COMPONENTS: dict[str, Schema] = {
    **_shipped("devices", "Devices"),
    "Device": _document(
        "tandem.device/1",
        hub_incarnation=_TEXT,
        at_ns=_AT,
        device=_ref("Devices.device"),
    ),
    "Desired": _document(
        "tandem.desired/1",
        site=_TEXT,
        device=_TEXT,
        version=_COUNT,
        set_by=_or_null(_TEXT),
        set_at_ns=_or_null(_AT),
        slots=_list(_DESIRED_SLOT),
    ),
    "Trends": _document(
        "tandem.trends/1",
        at_ns=_AT,
        since_ns=_AT,
        points=_list(
            _object(
                site=_TEXT,
                device=_TEXT,
                binding=_TEXT,
                bucket_ns=_said(_AT, "Start of the bucket."),
                span_ns=_said(_COUNT, "The time that the counts cover."),
                decided=_COUNT,
                escalated=_COUNT,
                answered=_COUNT,
                p95_ms=_or_null({"type": "number"}),
                outbox_items=_said(_COUNT, "Of the whole device, at the bucket's end."),
            )
        ),
    ),
    "Events": _document(
        "tandem.events/1",
        events=_list(
            _object(
                id=_COUNT,
                at_ns=_AT,
                kind=_one_of(EventKind),
                site=_or_null(_TEXT),
                device=_or_null(_TEXT),
                actor=_said(_TEXT, "Who did it; empty for the device or the hub itself."),
                subject=_TEXT,
                detail={"type": "object", "additionalProperties": _TEXT},
            )
        ),
        next_after=_said(_COUNT, "Give this as `after` for what follows."),
    ),
    "PublishedPacks": _document(
        "tandem.published-packs/1",
        packs=_list(_object(**_PACK)),
        unreadable=_list(_object(pack=_TEXT, reason=_TEXT, mend=_TEXT)),
    ),
    "PublishedPack": _document(
        "tandem.published-pack/1",
        **_PACK,
        card=_said(_TEXT, "Markdown, as its author wrote it."),
        certificate=_said(_or_null({"type": "object"}), "What backs its threshold: docs/pack-format.md."),
    ),
    "Case": _CASE,
    "Output": _OUTPUT,
    "Verdict": _VERDICT,
    "Feedback": _GIVEN,
    "Cases": _document(
        "tandem.cases/1",
        cases=_list(_ref("Case")),
        next_before=_said(_or_null(_COUNT), "Give this as `before` for the next page; null at the end."),
    ),
    "Reviews": _document(
        "tandem.reviews/1",
        waiting=_said(_COUNT, "Cases without a label, those beyond this page included."),
        cases=_list(_ref("Case")),
    ),
    "CaseDetail": _document(
        "tandem.case/1",
        case=_ref("Case"),
        choices=_said(_list(_TEXT), "Labels that may be given."),
        edge_output=_or_null(_ref("Output")),
        inputs=_list(_object(**_TENSOR)),
        verdicts=_list(_ref("Verdict")),
        feedback=_list(_ref("Feedback")),
    ),
    "CaseInput": _document("tandem.case-input/1", **_TENSOR),
    "Label": _document(
        "tandem.label/1",
        repeat=_said(_FLAG, "The same person had said the same already: nothing was stored."),
        verdict=_said(_or_null(_ref("Verdict")), "What goes to the device; null when it says nothing new."),
    ),
    "FeedbackList": _document(
        "tandem.feedback-list/1",
        feedback=_list(_ref("Feedback")),
        next_before=_said(_or_null(_COUNT), "Give this as `before` for the next page; null at the end."),
    ),
    **_shipped("people", "People"),
    "Person": _document("tandem.login/1", **_PERSON),
    "JoinToken": _document(
        "tandem.join-token/1",
        token_id=_TEXT,
        token=_said(_TEXT, "For `edge-agent enrol --token`; it is not shown again."),
        site=_TEXT,
        device=_or_null(_TEXT),
        uses=_COUNT,
        expires_at_ns=_AT,
    ),
    "Problem": {
        "type": "object",
        "description": "RFC 9457 problem details.",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": _TEXT,
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _said(_TEXT, "What happened and what mends it."),
            "problems": _said(_list(_object(at=_TEXT, problem=_TEXT)), "Each faulty part of the input."),
        },
    },
}
