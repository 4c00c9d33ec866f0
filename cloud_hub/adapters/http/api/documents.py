"""Owns how the values of the hub are written as JSON by the HTTP API; what each document holds is `schemas.py`.

The registry is written by `core.registry`, as the command line does.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud_hub.core.cases import Case, CaseDetail, CasePage
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import EventKind, HubEvent
from cloud_hub.core.feedback import Given, GivenPage, LabelOutcome
from cloud_hub.core.people import Person
from cloud_hub.core.png import is_picture
from cloud_hub.core.trends import TrendPoint
from cloud_hub.core.twin import DesiredTwin
from cloud_hub.inviting import MadeToken
from cloud_hub.ports import PackFacts, UnreadablePack
from model_packs.tensors import Tensor
from protos.messages.escalation import Verdict

Document = dict[str, Any]

MAX_CHANNELS = 64
_SERIES_AXES = 3


def trends(points: Sequence[TrendPoint], *, now_ns: int, since_ns: int) -> Document:
    """Write what happened in each bucket."""
    return {
        "schema": "tandem.trends/1",
        "at_ns": now_ns,
        "since_ns": since_ns,
        "points": [
            {
                "site": one.device.site_id,
                "device": one.device.device_id,
                "binding": one.binding,
                "bucket_ns": one.bucket_ns,
                "span_ns": one.span_ns,
                "decided": one.decided,
                "escalated": one.escalated,
                "answered": one.answered,
                "p95_ms": one.p95_ms,
                "outbox_items": one.outbox_items,
            }
            for one in points
        ],
    }


def events(found: Sequence[HubEvent], *, hidden: frozenset[EventKind], after: int) -> Document:
    """Write a page of the outbox without what the reader may not see; `next_after` asks for what follows."""
    return {
        "schema": "tandem.events/1",
        "events": [
            {
                "id": one.event_id,
                "at_ns": one.at_ns,
                "kind": one.kind,
                "site": None if one.device is None else one.device.site_id,
                "device": None if one.device is None else one.device.device_id,
                "actor": one.actor,
                "subject": one.subject,
                "detail": dict(one.detail),
            }
            for one in found
            if one.kind not in hidden
        ],
        "next_after": found[-1].event_id if found else after,
    }


def desired(device: DeviceKey, twin: DesiredTwin | None) -> Document:
    """Write what a device should run; version 0 is that of nothing."""
    return {
        "schema": "tandem.desired/1",
        "site": device.site_id,
        "device": device.device_id,
        "version": 0 if twin is None else twin.version,
        "set_by": None if twin is None else twin.set_by,
        "set_at_ns": None if twin is None else twin.set_at_ns,
        "slots": [
            {
                "binding": one.binding,
                "pack": one.pack,
                "digest": one.digest,
                "set_by": one.set_by,
                "set_at_ns": one.set_at_ns,
            }
            for one in (() if twin is None else twin.slots)
        ],
    }


def packs(found: Sequence[PackFacts | UnreadablePack]) -> Document:
    """Write the published packs; a damaged one says why and what mends it."""
    return {
        "schema": "tandem.published-packs/1",
        "packs": [_pack(one) for one in found if isinstance(one, PackFacts)],
        "unreadable": [
            {"pack": str(one.ref), "reason": one.reason, "mend": one.mend}
            for one in found
            if isinstance(one, UnreadablePack)
        ],
    }


def pack(facts: PackFacts) -> Document:
    """Write one published pack with its card and certificate."""
    certificate = facts.certificate
    return {
        "schema": "tandem.published-pack/1",
        **_pack(facts),
        "card": facts.card,
        "certificate": None if certificate is None else json.loads(certificate.to_json()),
    }


def _pack(facts: PackFacts) -> Document:
    manifest = facts.manifest
    return {
        "pack": str(facts.ref),
        "digest": facts.digest,
        "size_bytes": facts.size_bytes,
        "role": manifest.role,
        "family": manifest.family,
        "labels": list(manifest.labels),
        "escalates_to": manifest.escalates_to and str(manifest.escalates_to),
        "signed_by": list(facts.signed_by),
    }


def cases(page: CasePage) -> Document:
    """Write a page of cases."""
    return {"schema": "tandem.cases/1", "cases": [_case(one) for one in page.cases], "next_before": page.next_cursor}


def reviews(queue: Sequence[Case], *, waiting: int) -> Document:
    """Write what to review next, in order."""
    return {"schema": "tandem.reviews/1", "waiting": waiting, "cases": [_case(one) for one in queue]}


def case(detail: CaseDetail, *, choices: Sequence[str]) -> Document:
    """Write one case with all that was said of it; `choices` are the labels that a person may give."""
    return {
        "schema": "tandem.case/1",
        "case": _case(detail.case),
        "choices": list(choices),
        "edge_output": None if detail.edge_output is None else detail.edge_output.to_json(),
        "inputs": [tensor(one) for one in detail.inputs],
        "verdicts": [_verdict(one) for one in detail.verdicts],
        "feedback": [_given(one) for one in detail.feedback],
    }


def case_input(one: Tensor) -> Document:
    """Write one input of a case alone."""
    return {"schema": "tandem.case-input/1", **tensor(one)}


def tensor(one: Tensor) -> Document:
    """Sum a tensor up, channel by channel."""
    can_be_shown = is_picture(one.shape, one.datatype)
    columns = _by_channel(one.to_array().astype(np.float64), is_picture=can_be_shown)
    return {
        "name": one.name,
        "datatype": one.datatype,
        "shape": list(one.shape),
        "is_picture": can_be_shown,
        "channels": [_summary(columns[:, number]) for number in range(columns.shape[1])],
    }


def labelled(outcome: LabelOutcome) -> Document:
    """Write what became of a label."""
    return {
        "schema": "tandem.label/1",
        "repeat": outcome.is_repeat,
        "verdict": None if outcome.verdict is None else _verdict(outcome.verdict),
    }


def feedback(page: GivenPage) -> Document:
    """Write a page of what people said."""
    return {
        "schema": "tandem.feedback-list/1",
        "feedback": [_given(one) for _, one in page.judgements],
        "next_before": page.next_cursor,
    }


def people(found: Sequence[Person]) -> Document:
    """Write who may log in."""
    return {"schema": "tandem.people/1", "people": [_person(one) for one in found]}


def person(one: Person) -> Document:
    """Write one person."""
    return {"schema": "tandem.login/1", **_person(one)}


def join_token(made: MadeToken) -> Document:
    """Write a new join token."""
    return {
        "schema": "tandem.join-token/1",
        "token_id": made.token.token_id,
        "token": made.encoded,
        "site": made.token.site_id,
        "device": made.token.device_id,
        "uses": made.token.max_uses,
        "expires_at_ns": made.token.expires_at_ns,
    }


def _person(one: Person) -> Document:
    return {"name": one.name, "role": one.role, "created_at_ns": one.created_at_ns}


def _case(one: Case) -> Document:
    return {
        "site": one.device.site_id,
        "device": one.device.device_id,
        "prediction_id": one.prediction_id,
        "binding": one.binding,
        "partition": one.partition,
        "received_at_ns": one.received_at_ns,
        "window_start_ns": one.window_start_ns,
        "window_end_ns": one.window_end_ns,
        "reason": one.reason,
        "propensity": one.propensity,
        "threshold": one.threshold,
        "state": one.state,
        "agrees": one.agrees,
        "edge": {
            "pack": one.edge_pack,
            "digest": one.edge_digest,
            "label": one.edge_label,
            "confidence": one.edge_confidence,
        },
        "hub": {
            "pack": one.hub_pack,
            "digest": one.hub_digest or None,
            "label": one.hub_label,
            "confidence": one.hub_confidence,
        },
        "human": {
            "label": one.human_label,
            "by": one.human_by,
            "unsure": one.unsure_n,
            "doubted": one.is_doubted,
        },
    }


def _verdict(one: Verdict) -> Document:
    return {
        "seq": one.verdict_seq,
        "revision": one.revision,
        "tier": one.tier,
        "output": None if one.output is None else one.output.to_json(),
        "confidence": one.confidence,
        "models": [{"pack": use.pack, "digest": use.digest} for use in one.models],
        "decided_at_ns": one.decided_at_ns,
    }


def _given(one: Given) -> Document:
    return {
        "site": one.device.site_id,
        "device": one.device.device_id,
        "prediction_id": one.prediction_id,
        "source": one.source,
        "said": one.said,
        "label": one.label,
        "by": one.given_by,
        "note": one.note,
        "given_at_ns": one.given_at_ns,
        "received_at_ns": one.received_at_ns,
        "binding": one.binding,
        "reason": one.reason,
        "propensity": one.propensity,
        "edge": {
            "pack": one.edge_pack,
            "digest": one.edge_digest,
            "label": one.edge_label,
            "confidence": one.edge_confidence,
        },
        "hub": {
            "pack": one.hub_pack,
            "digest": one.hub_digest,
            "label": one.hub_label,
            "confidence": one.hub_confidence,
        },
        "revision": one.revision,
    }


def _by_channel(values: NDArray[np.float64], *, is_picture: bool) -> NDArray[np.float64]:
    """One column a channel: the last axis of what has batch, time and channels; else one for all."""
    has_channels = values.ndim == _SERIES_AXES and not is_picture and values.shape[-1] <= MAX_CHANNELS
    return values.reshape(-1, values.shape[-1] if has_channels else 1)


def _summary(values: NDArray[np.float64]) -> Document:
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return {"least": None, "most": None, "mean": None, "not_finite": int(values.size)}
    return {
        "least": float(finite.min()),
        "most": float(finite.max()),
        "mean": float(finite.mean()),
        "not_finite": int(values.size - finite.size),
    }
