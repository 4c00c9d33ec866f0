"""Owns one example of every message kind of wire version 1, with every field set, and where its golden bytes lie.

An example and its bytes are for ever: a later program must read and write them so. A new field gets an example of its
own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import Message

from model_packs.boxes import Box
from model_packs.outputs import Classification, Detection, Output, RawTensors, Regression, Text
from model_packs.tensors import Tensor
from protos.codec import enrolment, escalation, feedback, fleet, packs
from protos.messages.enrolment import EnrolRequest, EnrolResponse
from protos.messages.escalation import (
    Ack,
    Credit,
    Escalation,
    GoAway,
    Hello,
    HubIncarnation,
    Item,
    ItemClass,
    PredictionId,
    Reason,
    Reject,
    StoreId,
    Verdict,
    VerdictAck,
    Welcome,
)
from protos.messages.feedback import (
    Feedback,
    FeedbackBatch,
    FeedbackItem,
    FeedbackReceipt,
    FeedbackRefusal,
    Judgement,
)
from protos.messages.fleet import (
    BindingReport,
    BudgetReport,
    Desired,
    DesiredPolicy,
    DesiredSlot,
    DeviceHello,
    DriftReport,
    FailureAction,
    FleetWelcome,
    Heartbeat,
    HeartbeatAck,
    InstallPhase,
    PackFailure,
    PolicyMode,
    PolicyReport,
    PolicyState,
    SlotReport,
    SlotState,
)
from protos.messages.inference import ModelUse, Role, Tier
from protos.messages.packs import BlobChunk, BlobDescriptor, PackMetadata
from protos.status import Status
from protos.tandem.v1 import enrolment_pb2, escalation_pb2, feedback_pb2, fleet_pb2, packs_pb2

GOLDEN = Path(__file__).parent / "golden" / "wire_v1"

_START_NS = 1_700_000_000_000_000_000
_EDGE = ModelUse("motion-band-edge@1.0.0", "sha256:" + "ab" * 32)
_HUB = ModelUse("motion-band-hub@1.0.0", "sha256:" + "cd" * 32, Role.MEMBER)
_STORE = StoreId("store-1")
_INCARNATION = HubIncarnation("hub-1")
_PREDICTION = PredictionId("abcdefghijklmnopqrstuvwx23")
_INPUT = "sha256:" + "12" * 32

_ESCALATION = Escalation(
    prediction_id=_PREDICTION,
    input_digest=_INPUT,
    binding="motion",
    partition="line1/m7",
    window_start_ns=_START_NS,
    window_end_ns=_START_NS + 1_000_000_000,
    window_samples=2,
    window_fill=0.5,
    clock="synced",
    edge_model=_EDGE,
    hub_pack="motion-band-hub@1.0.0",
    reason=Reason.LOW_CONFIDENCE,
    propensity=1.0,
    confidence=0.625,
    edge_output=Classification("ROW", {"PEN": 0.375, "ROW": 0.625}),
    inputs=(Tensor.from_array("window", np.array([[[1.5, -2.0], [0.0, np.inf]]], dtype=np.float32)),),
    trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    codec_version=1,
    threshold=0.75,
    certificate_digest="sha256:" + "34" * 32,
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One generated message and its codec."""

    wire: type[Message]
    to_wire: Callable[[Any], Message]
    from_wire: Callable[[Any], Any]

    def encode(self, value: object) -> bytes:
        """The bytes of a frozen value, map entries sorted."""
        return self.to_wire(value).SerializeToString(deterministic=True)

    def decode(self, data: bytes) -> object:
        """The frozen value of some bytes."""
        return self.from_wire(self.wire.FromString(data))


_ESCALATE_REQUEST = Kind(escalation_pb2.EscalateRequest, escalation.request_to_wire, escalation.request_from_wire)
_ESCALATE_RESPONSE = Kind(escalation_pb2.EscalateResponse, escalation.response_to_wire, escalation.response_from_wire)
_REPORT = Kind(fleet_pb2.DeviceReport, fleet.report_to_wire, fleet.report_from_wire)
_DIRECTIVE = Kind(fleet_pb2.HubDirective, fleet.directive_to_wire, fleet.directive_from_wire)
_ENROL_REQUEST = Kind(enrolment_pb2.EnrolRequest, enrolment.request_to_wire, enrolment.request_from_wire)
_ENROL_RESPONSE = Kind(enrolment_pb2.EnrolResponse, enrolment.response_to_wire, enrolment.response_from_wire)
_METADATA = Kind(packs_pb2.PackMetadata, packs.metadata_to_wire, packs.metadata_from_wire)
_FEEDBACK_BATCH = Kind(feedback_pb2.FeedbackBatch, feedback.batch_to_wire, feedback.batch_from_wire)
_FEEDBACK_RECEIPT = Kind(feedback_pb2.FeedbackReceipt, feedback.receipt_to_wire, feedback.receipt_from_wire)
_CHUNK = Kind(packs_pb2.BlobChunk, packs.chunk_to_wire, packs.chunk_from_wire)

_OTHER_TASKS: dict[str, Output] = {
    "regression": Regression(12.5, 12.0, 13.25, 0.5, "mm"),
    "detection": Detection(
        (Box("bolt", 0.875, 1.5, 2.0, 8.25, 16.0), Box("nut", 0.5, 3.0, 4.0, 5.0, 6.0)), "pixels", 0.5
    ),
    "text": Text("stop the line"),
    "tensor": RawTensors((Tensor.from_array("y", np.array([1.5, -2.0], dtype=np.float32)),)),
}

EXAMPLES: Mapping[str, tuple[Kind, object]] = {
    "escalate_hello": (
        _ESCALATE_REQUEST,
        Hello(
            _STORE,
            ((ItemClass.ESCALATION, 42), (ItemClass.AUDIT, 7)),
            verdict_cursor=40,
            hub_incarnation=_INCARNATION,
            agent_version="0.1.0",
            capabilities=("verdicts",),
            wire_version=1,
        ),
    ),
    "escalate_item": (_ESCALATE_REQUEST, Item(ItemClass.ESCALATION, 42, low_water=41, age_ms=1500, body=_ESCALATION)),
    "escalate_audit": (
        _ESCALATE_REQUEST,
        Item(
            ItemClass.AUDIT,
            7,
            low_water=7,
            age_ms=None,
            body=replace(_ESCALATION, reason=Reason.AUDIT, propensity=0.125, policy_version=3, group="ROW"),
        ),
    ),
    "escalate_verdict_ack": (_ESCALATE_REQUEST, VerdictAck(41)),
    "escalate_welcome": (
        _ESCALATE_RESPONSE,
        Welcome(3, _INCARNATION, ((ItemClass.ESCALATION, 41),), Credit(64, 1 << 23), _START_NS, wire_version=1),
    ),
    "escalate_ack": (_ESCALATE_RESPONSE, Ack(ItemClass.ESCALATION, ((1, 40), (42, 42)))),
    "escalate_reject": (
        _ESCALATE_RESPONSE,
        Reject(ItemClass.AUDIT, 7, Status.RESOURCE_EXHAUSTED, "the hub is full", retry_after_ms=2000),
    ),
    "escalate_credit": (_ESCALATE_RESPONSE, Credit(32, 1 << 22)),
    "escalate_verdict": (
        _ESCALATE_RESPONSE,
        Verdict(
            verdict_seq=41,
            prediction_id=_PREDICTION,
            input_digest=_INPUT,
            revision=1,
            tier=Tier.HUB,
            output=Classification("PEN", {"PEN": 0.875, "ROW": 0.125}),
            confidence=0.875,
            models=(_HUB,),
            decided_at_ns=_START_NS + 2_000_000_000,
            infer_ms=12.5,
        ),
    ),
    **{
        f"escalate_verdict_{task}": (
            _ESCALATE_RESPONSE,
            Verdict(
                verdict_seq=42,
                prediction_id=_PREDICTION,
                input_digest=_INPUT,
                revision=1,
                tier=Tier.HUB,
                output=output,
                confidence=0.5,
                models=(_HUB,),
                decided_at_ns=_START_NS + 2_000_000_000,
                infer_ms=12.5,
            ),
        )
        for task, output in _OTHER_TASKS.items()
    },
    "escalate_go_away": (_ESCALATE_RESPONSE, GoAway("a newer stream of this device", retry_after_ms=1000)),
    "fleet_hello": (_REPORT, DeviceHello("0.1.0", _STORE, ("verdicts",), wire_version=1)),
    "fleet_heartbeat": (
        _REPORT,
        Heartbeat(
            number=9,
            device_time_ns=_START_NS,
            state="online",
            problems=("the disk is slow",),
            outbox_bytes=4096,
            outbox_items=3,
            outbox_oldest_age_ms=2500,
            bindings=(BindingReport("motion", _EDGE, 100, 12, 11, "certified"),),
        ),
    ),
    "fleet_heartbeat_with_twin": (
        _REPORT,
        Heartbeat(
            number=10,
            device_time_ns=_START_NS,
            state="ok",
            problems=(),
            outbox_bytes=0,
            outbox_items=0,
            outbox_oldest_age_ms=None,
            bindings=(BindingReport("motion", _EDGE, 100, 12, 11, "certified", answer_p95_ms=3.5),),
            desired_version=4,
            slots=(
                SlotReport(
                    binding="motion",
                    pack=_EDGE.pack,
                    digest=_EDGE.digest,
                    state=SlotState.TRIAL,
                    previous_pack="motion-band-edge@0.9.0",
                    is_pinned=True,
                    phase=InstallPhase.DOWNLOADING,
                    done_bytes=1024,
                    total_bytes=4096,
                    failure=PackFailure(
                        "motion-band-edge@1.1.0",
                        "sha256:" + "56" * 32,
                        FailureAction.ROLLED_BACK,
                        "engine_failures",
                        "3 of 10 answers could not be scored on trial",
                        _START_NS,
                    ),
                ),
            ),
        ),
    ),
    "fleet_heartbeat_with_policies": (
        _REPORT,
        Heartbeat(
            number=11,
            device_time_ns=_START_NS,
            state="ok",
            problems=(),
            outbox_bytes=0,
            outbox_items=0,
            outbox_oldest_age_ms=None,
            bindings=(),
            policies=(
                PolicyReport(
                    binding="motion",
                    policy_version=3,
                    pack=_EDGE.pack,
                    pack_digest=_EDGE.digest,
                    decided=100,
                    kept=80,
                    escalated=20,
                    audits_drawn=9,
                    audits_lost=1,
                    audit_rate=0.125,
                    threshold=0.75,
                    state=PolicyState.REFUSED,
                    detail="the threshold is lower and nobody signed it",
                ),
            ),
            drift=(DriftReport("motion", "mean:ax", _START_NS, 0.25),),
        ),
    ),
    "fleet_heartbeat_with_budget": (
        _REPORT,
        Heartbeat(
            number=12,
            device_time_ns=_START_NS,
            state="ok",
            problems=(),
            outbox_bytes=0,
            outbox_items=0,
            outbox_oldest_age_ms=None,
            bindings=(),
            policies=(
                PolicyReport(
                    binding="motion",
                    policy_version=0,
                    pack=_EDGE.pack,
                    pack_digest=_EDGE.digest,
                    decided=100,
                    kept=60,
                    escalated=20,
                    audits_drawn=9,
                    audits_lost=1,
                    audit_rate=0.125,
                    threshold=0.75,
                    state=PolicyState.ACTIVE,
                    suppressed=20,
                    suppressed_asked=3,
                    unanswered=2,
                ),
            ),
            budget=(BudgetReport("calls", "main", 29.0, 1.5),),
        ),
    ),
    "fleet_desired_policy": (
        _DIRECTIVE,
        Desired(
            5,
            (
                DesiredSlot(
                    "motion",
                    _EDGE.pack,
                    _EDGE.digest,
                    DesiredPolicy(
                        version=3,
                        mode=PolicyMode.TIGHTEN,
                        threshold=0.875,
                        audit_rate=0.25,
                        certificate=b"{}",
                        signature=b"signature",
                        pack_digest=_EDGE.digest,
                        voided_certificate="sha256:" + "34" * 32,
                    ),
                ),
            ),
        ),
    ),
    "fleet_desired": (_DIRECTIVE, Desired(4, (DesiredSlot("motion", _EDGE.pack, _EDGE.digest),))),
    "fleet_welcome": (_DIRECTIVE, FleetWelcome(10_000, _START_NS, _INCARNATION, wire_version=1)),
    "fleet_heartbeat_ack": (_DIRECTIVE, HeartbeatAck(9, _START_NS)),
    "enrol_request": (_ENROL_REQUEST, EnrolRequest("token-1", "secret", b"request", "press-07", "0.1.0", 1)),
    "enrol_response": (
        _ENROL_RESPONSE,
        EnrolResponse("acme", "plant-1", "press-07", b"chain", b"bundle", b"site key", _START_NS),
    ),
    "feedback_batch": (
        _FEEDBACK_BATCH,
        FeedbackBatch(
            _STORE,
            (
                FeedbackItem(
                    5,
                    Feedback(
                        prediction_id=_PREDICTION,
                        judgement=Judgement.LABEL,
                        label="PEN",
                        given_by="panel 2",
                        note="seen by eye",
                        given_at_ns=_START_NS + 3_000_000_000,
                        binding="motion",
                        partition="line1/m7",
                        window_start_ns=_START_NS,
                        window_end_ns=_START_NS + 1_000_000_000,
                        edge_model=_EDGE,
                        edge_output=Classification("ROW", {"PEN": 0.375, "ROW": 0.625}),
                        confidence=0.625,
                        propensity=0.5,
                        codec_version=1,
                    ),
                ),
            ),
        ),
    ),
    "feedback_receipt": (
        _FEEDBACK_RECEIPT,
        FeedbackReceipt((5, 6), (FeedbackRefusal(7, Status.INVALID_ARGUMENT, "label 'x' is no class"),)),
    ),
    "pack_metadata": (
        _METADATA,
        PackMetadata(b'{"schemaVersion":2}', "sha256:" + "ef" * 32, (BlobDescriptor("sha256:" + "01" * 32, 11_010),)),
    ),
    "pack_chunk": (_CHUNK, BlobChunk(65_536, b"\x00\x01\xfe\xff")),
}
"""By the name of its golden file."""
