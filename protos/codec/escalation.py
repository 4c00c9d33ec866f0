"""The escalation stream between its frozen values and its generated classes, and the escalation as bytes at rest."""

from collections.abc import Iterable, Sequence
from typing import Final, cast

from google.protobuf.message import DecodeError

from protos.codec.errors import CodecError
from protos.codec.inference import (
    model_from_wire,
    model_to_wire,
    output_from_wire,
    output_to_wire,
    tensor_from_wire,
    tensor_to_wire,
)
from protos.messages.escalation import (
    Ack,
    Credit,
    EscalateRequest,
    EscalateResponse,
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
from protos.messages.inference import Tier
from protos.status import Status
from protos.tandem.v1 import escalation_pb2 as pb

MAX_INPUTS = 16

_REASONS: Final = {reason.value: reason for reason in Reason}
_CLASSES: Final = {item_class.value: item_class for item_class in ItemClass}


def request_to_wire(request: EscalateRequest) -> pb.EscalateRequest:
    """One message from the device."""
    match request:
        case Hello():
            return pb.EscalateRequest(
                hello=pb.Hello(
                    wire_version=request.wire_version,
                    store_id=request.store_id,
                    highest=_floors_to_wire(request.highest),
                    verdict_cursor=request.verdict_cursor,
                    hub_incarnation=request.hub_incarnation or "",
                    capabilities=request.capabilities,
                    agent_version=request.agent_version,
                )
            )
        case Item():
            return pb.EscalateRequest(
                item=pb.Item(
                    item_class=_class_to_wire(request.item_class),
                    seq=request.seq,
                    low_water=request.low_water,
                    age_ms=request.age_ms,
                    escalation=_escalation_to_wire(request.body),
                )
            )
        case VerdictAck():
            return pb.EscalateRequest(verdict_ack=pb.VerdictAck(verdict_seq=request.verdict_seq))


def request_from_wire(wire: pb.EscalateRequest) -> EscalateRequest:
    """One message from the device.

    Raises:
        CodecError: A field is missing or cannot be what it says.
    """
    match wire.WhichOneof("kind"):
        case "hello":
            hello = wire.hello
            if not hello.store_id:
                raise CodecError("hello.store_id", "is empty")
            return Hello(
                store_id=StoreId(hello.store_id),
                highest=_floors_from_wire(hello.highest, "hello.highest"),
                verdict_cursor=hello.verdict_cursor,
                hub_incarnation=HubIncarnation(hello.hub_incarnation) if hello.hub_incarnation else None,
                agent_version=hello.agent_version,
                capabilities=tuple(hello.capabilities),
                wire_version=hello.wire_version,
            )
        case "item":
            return _item_from_wire(wire.item)
        case "verdict_ack":
            return VerdictAck(wire.verdict_ack.verdict_seq)
        case _:
            raise CodecError("kind", "is not set, or is newer than this program")


def response_to_wire(response: EscalateResponse) -> pb.EscalateResponse:
    """One message from the hub."""
    match response:
        case Welcome():
            return pb.EscalateResponse(
                welcome=pb.Welcome(
                    wire_version=response.wire_version,
                    session_epoch=response.session_epoch,
                    hub_incarnation=response.hub_incarnation,
                    applied=_floors_to_wire(response.applied),
                    credit=_credit_to_wire(response.credit),
                    hub_time_ns=response.hub_time_ns,
                )
            )
        case Ack():
            ranges = [pb.SeqRange(first=first, last=last) for first, last in response.ranges]
            return pb.EscalateResponse(ack=pb.Ack(item_class=_class_to_wire(response.item_class), ranges=ranges))
        case Reject():
            return pb.EscalateResponse(
                reject=pb.Reject(
                    item_class=_class_to_wire(response.item_class),
                    seq=response.seq,
                    status=response.status.value,
                    message=response.message,
                    retry_after_ms=response.retry_after_ms,
                )
            )
        case Credit():
            return pb.EscalateResponse(credit=_credit_to_wire(response))
        case Verdict():
            return _verdict_to_wire(response)
        case GoAway():
            return pb.EscalateResponse(
                go_away=pb.GoAway(reason=response.reason, retry_after_ms=response.retry_after_ms)
            )


def response_from_wire(wire: pb.EscalateResponse) -> EscalateResponse:
    """One message from the hub.

    Raises:
        CodecError: A field is missing or cannot be what it says.
    """
    match wire.WhichOneof("kind"):
        case "welcome":
            welcome = wire.welcome
            return Welcome(
                session_epoch=welcome.session_epoch,
                hub_incarnation=HubIncarnation(welcome.hub_incarnation),
                applied=_floors_from_wire(welcome.applied, "welcome.applied"),
                credit=_credit_from_wire(welcome.credit),
                hub_time_ns=welcome.hub_time_ns,
                wire_version=welcome.wire_version,
            )
        case "ack":
            return Ack(
                item_class=_class_from_wire(wire.ack.item_class, "ack.item_class"),
                ranges=tuple((span.first, span.last) for span in wire.ack.ranges),
            )
        case "reject":
            return Reject(
                item_class=_class_from_wire(wire.reject.item_class, "reject.item_class"),
                seq=wire.reject.seq,
                status=_status_from_wire(wire.reject.status),
                message=wire.reject.message,
                retry_after_ms=wire.reject.retry_after_ms,
            )
        case "credit":
            return _credit_from_wire(wire.credit)
        case "verdict":
            return _verdict_from_wire(wire.verdict)
        case "go_away":
            return GoAway(reason=wire.go_away.reason, retry_after_ms=wire.go_away.retry_after_ms)
        case _:
            raise CodecError("kind", "is not set, or is newer than this program")


def escalation_to_bytes(escalation: Escalation) -> bytes:
    """The escalation as it rests in the device's outbox and the hub's tables."""
    return _escalation_to_wire(escalation).SerializeToString(deterministic=True)


def escalation_from_bytes(data: bytes) -> Escalation:
    """Read what `escalation_to_bytes` wrote.

    Raises:
        CodecError: The bytes are not an escalation.
    """
    try:
        wire = pb.Escalation.FromString(data)
    except DecodeError as exc:
        raise CodecError("escalation", "the bytes are not an escalation") from exc
    return _escalation_from_wire(wire, "escalation")


def _escalation_to_wire(escalation: Escalation) -> pb.Escalation:
    return pb.Escalation(
        prediction_id=escalation.prediction_id,
        input_digest=escalation.input_digest,
        binding=escalation.binding,
        partition=escalation.partition,
        window_start_ns=escalation.window_start_ns,
        window_end_ns=escalation.window_end_ns,
        window_samples=escalation.window_samples,
        window_fill=escalation.window_fill,
        clock=escalation.clock,
        edge_model=model_to_wire(escalation.edge_model),
        hub_pack=escalation.hub_pack,
        reason=escalation.reason.value,
        propensity=escalation.propensity,
        confidence=escalation.confidence,
        edge_output=output_to_wire(escalation.edge_output),
        inputs=[tensor_to_wire(tensor) for tensor in escalation.inputs],
        trace=escalation.trace,
        codec_version=escalation.codec_version,
        threshold=escalation.threshold,
        certificate_digest=escalation.certificate_digest,
        policy_version=escalation.policy_version,
        group=escalation.group,
    )


def _escalation_from_wire(wire: pb.Escalation, field: str) -> Escalation:
    if not wire.prediction_id:
        raise CodecError(f"{field}.prediction_id", "is empty")
    if not wire.input_digest:
        raise CodecError(f"{field}.input_digest", "is empty")
    if not 1 <= len(wire.inputs) <= MAX_INPUTS:
        raise CodecError(f"{field}.inputs", f"{len(wire.inputs)} tensors, wanted 1 to {MAX_INPUTS}")
    confidence, propensity = wire.confidence, wire.propensity
    for name, value in (("confidence", confidence), ("propensity", propensity)):
        if not 0.0 <= value <= 1.0:  # NaN is not, either
            raise CodecError(f"{field}.{name}", f"{value} is not between 0 and 1")
    reason = _REASONS.get(wire.reason)
    if reason is None:
        raise CodecError(f"{field}.reason", f"{wire.reason!r} is unknown")
    return Escalation(
        prediction_id=PredictionId(wire.prediction_id),
        input_digest=wire.input_digest,
        binding=wire.binding,
        partition=wire.partition,
        window_start_ns=wire.window_start_ns,
        window_end_ns=wire.window_end_ns,
        window_samples=wire.window_samples,
        window_fill=wire.window_fill,
        clock=wire.clock,
        edge_model=model_from_wire(wire.edge_model, f"{field}.edge_model"),
        hub_pack=wire.hub_pack,
        reason=reason,
        propensity=propensity,
        confidence=confidence,
        edge_output=output_from_wire(wire.edge_output, f"{field}.edge_output"),
        inputs=tuple([tensor_from_wire(one, f"{field}.inputs[{i}]") for i, one in enumerate(wire.inputs)]),
        trace=wire.trace,
        codec_version=wire.codec_version,
        threshold=wire.threshold if wire.HasField("threshold") else None,
        certificate_digest=wire.certificate_digest,
        policy_version=wire.policy_version,
        group=wire.group,
    )


def _item_from_wire(wire: pb.Item) -> Item:
    if wire.WhichOneof("body") != "escalation":
        raise CodecError("item.body", "is not set, or is newer than this program")
    if wire.seq == 0:
        raise CodecError("item.seq", "is 0; sequences start at 1")
    return Item(
        item_class=_class_from_wire(wire.item_class, "item.item_class"),
        seq=wire.seq,
        low_water=wire.low_water,
        age_ms=wire.age_ms if wire.HasField("age_ms") else None,
        body=_escalation_from_wire(wire.escalation, "item.escalation"),
    )


def _verdict_to_wire(verdict: Verdict) -> pb.EscalateResponse:
    """Written in place: putting three messages together takes twice as long, and somebody waits for it."""
    response = pb.EscalateResponse()
    wire = response.verdict
    wire.verdict_seq = verdict.verdict_seq
    wire.prediction_id = verdict.prediction_id
    wire.input_digest = verdict.input_digest
    wire.revision = verdict.revision
    wire.tier = verdict.tier.value
    wire.output.CopyFrom(output_to_wire(verdict.output))
    wire.confidence = verdict.confidence
    wire.models.extend([model_to_wire(model) for model in verdict.models])
    wire.decided_at_ns = verdict.decided_at_ns
    wire.infer_ms = verdict.infer_ms
    return response


def _verdict_from_wire(wire: pb.Verdict) -> Verdict:
    try:
        tier = Tier(wire.tier)
    except ValueError as exc:
        raise CodecError("verdict.tier", f"{wire.tier!r} is unknown") from exc
    if wire.revision == 0:
        raise CodecError("verdict.revision", "revisions are numbered from 1")
    return Verdict(
        verdict_seq=wire.verdict_seq,
        prediction_id=PredictionId(wire.prediction_id),
        input_digest=wire.input_digest,
        revision=wire.revision,
        tier=tier,
        output=output_from_wire(wire.output, "verdict.output"),
        confidence=wire.confidence,
        models=tuple(model_from_wire(model, f"verdict.models[{i}]") for i, model in enumerate(wire.models)),
        decided_at_ns=wire.decided_at_ns,
        infer_ms=wire.infer_ms,
    )


def _credit_to_wire(credit: Credit) -> pb.Credit:
    return pb.Credit(items=credit.items, bytes=credit.bytes)


def _credit_from_wire(wire: pb.Credit) -> Credit:
    return Credit(items=wire.items, bytes=wire.bytes)


def _floors_to_wire(floors: Sequence[tuple[ItemClass, int]]) -> list[pb.ClassFloor]:
    return [pb.ClassFloor(item_class=_class_to_wire(item_class), seq=seq) for item_class, seq in floors]


def _floors_from_wire(wires: Iterable[pb.ClassFloor], field: str) -> tuple[tuple[ItemClass, int], ...]:
    return tuple((_class_from_wire(floor.item_class, field), floor.seq) for floor in wires)


def _class_to_wire(item_class: ItemClass) -> pb.ItemClass:
    return cast("pb.ItemClass", item_class.value)


def _class_from_wire(value: int, field: str) -> ItemClass:
    item_class = _CLASSES.get(value)
    if item_class is None:
        raise CodecError(field, f"item class {value} is unknown")
    return item_class


def _status_from_wire(value: int) -> Status:
    try:
        return Status(value)
    except ValueError:
        return Status.UNKNOWN
