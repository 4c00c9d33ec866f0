"""What crosses the wire comes back as it was, and what a peer breaks is named by field."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_packs.boxes import Box
from model_packs.outputs import (
    MAX_BOXES,
    MAX_TEXT_CHARS,
    Classification,
    Detection,
    Output,
    RawTensors,
    Regression,
    Text,
)
from model_packs.tensors import Tensor
from protos.codec import enrolment, escalation, fleet, packs
from protos.codec.errors import CodecError
from protos.codec.inference import output_from_wire
from protos.messages.enrolment import EnrolRequest, EnrolResponse
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
from protos.messages.fleet import BindingReport, DeviceHello, FleetWelcome, Heartbeat, HeartbeatAck
from protos.messages.inference import ModelUse, Role, Tier
from protos.messages.packs import BlobChunk, BlobDescriptor, PackMetadata
from protos.status import Status
from protos.tandem.v1 import escalation_pb2, fleet_pb2, inference_pb2

TEXT = st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=20)
SEQ = st.integers(1, 2**63 - 1)
TIME_NS = st.integers(0, 2**62)
UNIT = st.floats(0.0, 1.0)
CLASSES = st.sampled_from(ItemClass)
MODELS = st.builds(ModelUse, TEXT, TEXT, st.sampled_from(Role))


@st.composite
def classifications(draw: st.DrawFn) -> Classification:
    """A classification whose label is among its scores."""
    scores = draw(st.dictionaries(TEXT, UNIT, min_size=1, max_size=5))
    return Classification(label=draw(st.sampled_from(sorted(scores))), scores=scores)


@st.composite
def regressions(draw: st.DrawFn) -> Regression:
    """A number, with an interval around it or without."""
    low, value, high = sorted(draw(st.lists(st.floats(-1e300, 1e300), min_size=3, max_size=3)))
    has_interval = draw(st.booleans())
    return Regression(value, low if has_interval else None, high if has_interval else None, draw(UNIT), draw(TEXT))


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """A box with an area."""
    x0, y0 = draw(st.floats(-1e6, 1e6)), draw(st.floats(-1e6, 1e6))
    width, height = draw(st.floats(0.5, 1e3)), draw(st.floats(0.5, 1e3))
    return Box(draw(TEXT), draw(UNIT), x0, y0, x0 + width, y0 + height)


DETECTIONS = st.builds(
    Detection, st.lists(boxes(), max_size=3).map(tuple), st.sampled_from(["pixels", "share"]), st.floats(0.0, 1.0)
)


def outputs() -> st.SearchStrategy[Output]:
    """An answer of any task."""
    raw = st.lists(tensors(), min_size=1, max_size=3).map(lambda found: RawTensors(tuple(found)))
    return st.one_of(classifications(), regressions(), DETECTIONS, st.builds(Text, st.text()), raw)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """A small float tensor with a batch axis."""
    width = draw(st.integers(1, 6))
    values = draw(st.lists(st.floats(width=32, allow_nan=True), min_size=width, max_size=width))
    return Tensor.from_array("window", np.asarray([values], dtype=np.float32))


ESCALATIONS = st.builds(
    Escalation,
    prediction_id=TEXT.map(PredictionId),
    input_digest=TEXT,
    binding=TEXT,
    partition=TEXT,
    window_start_ns=TIME_NS,
    window_end_ns=TIME_NS,
    window_samples=st.integers(0, 10_000),
    window_fill=UNIT,
    clock=st.sampled_from(["synced", "unsynced"]),
    edge_model=MODELS,
    hub_pack=TEXT,
    reason=st.sampled_from(Reason),
    propensity=UNIT,
    confidence=UNIT,
    edge_output=st.none() | outputs(),
    inputs=st.lists(tensors(), min_size=1, max_size=2).map(tuple),
    trace=TEXT,
    codec_version=st.integers(1, 9),
    threshold=st.none() | UNIT,
    certificate_digest=TEXT,
)
FLOORS = st.lists(st.tuples(CLASSES, SEQ), max_size=3).map(tuple)
CREDITS = st.builds(Credit, st.integers(0, 1000), st.integers(0, 2**40))
REQUESTS: st.SearchStrategy[EscalateRequest] = st.one_of(
    st.builds(Hello, TEXT.map(StoreId), FLOORS, SEQ, st.none() | TEXT.map(HubIncarnation), TEXT),
    st.builds(Item, CLASSES, SEQ, SEQ, st.none() | st.integers(0, 2**40), ESCALATIONS),
    st.builds(VerdictAck, SEQ),
)
RESPONSES: st.SearchStrategy[EscalateResponse] = st.one_of(
    st.builds(Welcome, SEQ, TEXT.map(HubIncarnation), FLOORS, CREDITS, TIME_NS),
    st.builds(Ack, CLASSES, st.lists(st.tuples(SEQ, SEQ), max_size=3).map(tuple)),
    st.builds(Reject, CLASSES, SEQ, st.sampled_from(Status), TEXT, st.integers(0, 10_000)),
    CREDITS,
    st.builds(
        Verdict,
        verdict_seq=SEQ,
        prediction_id=TEXT.map(PredictionId),
        input_digest=TEXT,
        revision=st.integers(1, 100),
        tier=st.sampled_from(Tier),
        output=st.none() | outputs(),
        confidence=UNIT,
        models=st.lists(MODELS, max_size=2).map(tuple),
        decided_at_ns=TIME_NS,
        infer_ms=st.floats(0, 1e6),
    ),
    st.builds(GoAway, TEXT, st.integers(0, 10_000)),
)


@given(REQUESTS)
def test_a_request_survives_the_wire(request: EscalateRequest) -> None:
    """Every message of the device is the same after serialising and parsing."""
    data = escalation.request_to_wire(request).SerializeToString()
    assert escalation.request_from_wire(escalation_pb2.EscalateRequest.FromString(data)) == request


@given(RESPONSES)
def test_a_response_survives_the_wire(response: EscalateResponse) -> None:
    """Every message of the hub is the same after serialising and parsing."""
    data = escalation.response_to_wire(response).SerializeToString()
    assert escalation.response_from_wire(escalation_pb2.EscalateResponse.FromString(data)) == response


@given(ESCALATIONS)
def test_an_escalation_at_rest_is_the_same_bytes_each_time(one: Escalation) -> None:
    """Equal escalations have equal bytes, and the bytes read back."""
    assert escalation.escalation_from_bytes(escalation.escalation_to_bytes(one)) == one
    assert escalation.escalation_to_bytes(one) == escalation.escalation_to_bytes(one)


def _wire_item() -> escalation_pb2.Item:
    item = escalation_pb2.Item(item_class=escalation_pb2.ITEM_CLASS_ESCALATION, seq=1)
    body = item.escalation
    body.prediction_id, body.input_digest, body.reason = "id", "sha256:0", "low_confidence"
    body.edge_model.role = "active"
    body.inputs.append(inference_pb2.Tensor(name="x", datatype="FP32", shape=[1], data=b"\0\0\0\0"))
    return item


def test_a_whole_item_is_read() -> None:
    """The item that the next test breaks is itself fine."""
    request = escalation.request_from_wire(escalation_pb2.EscalateRequest(item=_wire_item()))
    assert isinstance(request, Item)
    assert request.age_ms is None


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("item.seq", {"seq": 0}),
        ("item.item_class", {"item_class": 0}),
        ("item.escalation.prediction_id", {"prediction_id": ""}),
        ("item.escalation.input_digest", {"input_digest": ""}),
        ("item.escalation.reason", {"reason": "bored"}),
        ("item.escalation.confidence", {"confidence": float("nan")}),
        ("item.escalation.propensity", {"propensity": 1.5}),
    ],
)
def test_a_broken_item_names_its_field(field: str, broken: dict[str, object]) -> None:
    """A peer's mistake is reported with the path of the field."""
    item = _wire_item()
    for name, value in broken.items():
        setattr(item if name in {"seq", "item_class"} else item.escalation, name, value)
    with pytest.raises(CodecError) as caught:
        escalation.request_from_wire(escalation_pb2.EscalateRequest(item=item))
    assert caught.value.field == field


def test_a_tensor_that_lies_about_its_length_is_refused() -> None:
    """Bytes that do not fill the shape never become an array."""
    item = _wire_item()
    item.escalation.inputs[0].shape[:] = [2]
    with pytest.raises(CodecError, match=r"inputs\[0\]"):
        escalation.request_from_wire(escalation_pb2.EscalateRequest(item=item))


def test_a_score_that_is_not_finite_is_refused() -> None:
    """A NaN score never reaches a decision."""
    item = _wire_item()
    item.escalation.edge_output.classification.label = "a"
    item.escalation.edge_output.classification.scores["a"] = float("nan")
    with pytest.raises(CodecError, match="not finite"):
        escalation.request_from_wire(escalation_pb2.EscalateRequest(item=item))


def test_messages_of_a_newer_program_are_named_as_such() -> None:
    """An unset oneof is refused, not guessed."""
    with pytest.raises(CodecError, match="newer"):
        escalation.request_from_wire(escalation_pb2.EscalateRequest())
    with pytest.raises(CodecError, match="newer"):
        escalation.response_from_wire(escalation_pb2.EscalateResponse())
    with pytest.raises(CodecError, match="newer"):
        fleet.report_from_wire(fleet_pb2.DeviceReport())
    with pytest.raises(CodecError, match="newer"):
        fleet.directive_from_wire(fleet_pb2.HubDirective())


def test_bytes_that_are_no_escalation_are_refused() -> None:
    """Damage at rest is an error with a name."""
    with pytest.raises(CodecError, match="not an escalation"):
        escalation.escalation_from_bytes(b"\xff\xff\xff")


def test_the_fleet_session_survives_the_wire() -> None:
    """Reports and directives are the same after the wire, an unknown age included."""
    model = ModelUse("motion-band-edge@1.0.0", "sha256:1")
    binding = BindingReport("motion", model, 10, 2, 1, "certified")
    for age_ms in (None, 0, 1500):
        report = Heartbeat(3, 1_000, "ok", ("disk nearly full",), 10, 2, age_ms, (binding,))
        assert fleet.report_from_wire(fleet.report_to_wire(report)) == report
    hello = DeviceHello("0.1.0", StoreId("s"), ("escalate",))
    assert fleet.report_from_wire(fleet.report_to_wire(hello)) == hello
    welcome = FleetWelcome(5_000, 1, HubIncarnation("h"))
    assert fleet.directive_from_wire(fleet.directive_to_wire(welcome)) == welcome
    ack = HeartbeatAck(3, 2)
    assert fleet.directive_from_wire(fleet.directive_to_wire(ack)) == ack


def test_enrolment_survives_the_wire_and_refuses_gaps() -> None:
    """A request without a certificate request, or an answer without a certificate, is refused."""
    request = EnrolRequest("t", "s", b"csr", "press-07", "0.1.0")
    assert enrolment.request_from_wire(enrolment.request_to_wire(request)) == request
    response = EnrolResponse("o", "s", "d", b"chain", b"ca", b"key", 7)
    assert enrolment.response_from_wire(enrolment.response_to_wire(response)) == response
    with pytest.raises(CodecError, match="csr_der"):
        enrolment.request_from_wire(enrolment.request_to_wire(EnrolRequest("t", "s", b"", "d", "0")))
    with pytest.raises(CodecError, match="site_key_pem"):
        enrolment.response_from_wire(enrolment.response_to_wire(EnrolResponse("o", "s", "d", b"c", b"t", b"", 7)))


def test_the_secret_of_a_request_is_not_shown() -> None:
    """A request in a log or a traceback does not give the token away."""
    assert "hush" not in repr(EnrolRequest("t", "hush", b"csr", "d", "0"))


def test_pack_metadata_and_chunks_survive_the_wire() -> None:
    """A manifest arrives byte for byte."""
    metadata = PackMetadata(b"{}", "sha256:2", (BlobDescriptor("sha256:3", 5),))
    assert packs.metadata_from_wire(packs.metadata_to_wire(metadata)) == metadata
    chunk = BlobChunk(256, b"abc")
    assert packs.chunk_from_wire(packs.chunk_to_wire(chunk)) == chunk


def detection(**changes: Any) -> inference_pb2.Output:  # noqa: ANN401 - fields of the message
    """An answer of boxes, changed."""
    return inference_pb2.Output(detection=inference_pb2.Detection(**{"units": "pixels", "iou": 0.5, **changes}))


@pytest.mark.parametrize(
    ("wire", "field"),
    [
        (inference_pb2.Output(regression=inference_pb2.Regression(value=float("nan"))), "output.regression"),
        (inference_pb2.Output(regression=inference_pb2.Regression(tolerance=-1.0)), "output.regression"),
        (inference_pb2.Output(regression=inference_pb2.Regression(low=0.0)), "output.regression.low"),
        (inference_pb2.Output(regression=inference_pb2.Regression(low=1.0, high=2.0)), "output.regression.low"),
        (inference_pb2.Output(regression=inference_pb2.Regression(unit="x" * 33)), "output.regression.unit"),
        (detection(units="miles"), "output.detection.units"),
        (detection(iou=float("nan")), "output.detection"),
        (detection(boxes=[inference_pb2.Box(label="a", x1=1.0, y1=1.0, score=2.0)]), "output.detection"),
        (detection(boxes=[inference_pb2.Box(label="", x1=1.0, y1=1.0)]), "output.detection.boxes"),
        (detection(boxes=[inference_pb2.Box(label="a" * 201, x1=1.0, y1=1.0)]), "output.detection.boxes"),
        (detection(boxes=[inference_pb2.Box(label="a", x1=1.0)]), "output.detection.boxes"),
        (detection(boxes=[inference_pb2.Box(label="a", x1=float("inf"), y1=1.0)]), "output.detection.boxes"),
        (detection(boxes=[inference_pb2.Box(label="a", x1=float("nan"), y1=1.0)]), "output.detection.boxes"),
        (detection(boxes=[inference_pb2.Box(label="a", x1=1.0, y1=1.0)] * (MAX_BOXES + 1)), "output.detection.boxes"),
        (inference_pb2.Output(text=inference_pb2.Text(text="x" * (MAX_TEXT_CHARS + 1))), "output.text.text"),
        (inference_pb2.Output(tensors=inference_pb2.RawTensors()), "output.tensors.tensors"),
        (
            inference_pb2.Output(tensors=inference_pb2.RawTensors(tensors=[inference_pb2.Tensor(name="y")])),
            r"output.tensors.tensors\[0\]",
        ),
    ],
)
def test_a_broken_answer_is_named_by_its_field(wire: inference_pb2.Output, field: str) -> None:
    """Of every task: numbers that are none, half an interval, too much text, no tensors."""
    with pytest.raises(CodecError, match=field):
        output_from_wire(wire, "output")
