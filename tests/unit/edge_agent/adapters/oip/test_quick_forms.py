"""The quick way reads and writes the same as the parser and the codec, or leaves it to them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.adapters.oip.decision_parameters import parameters_of_rows
from edge_agent.adapters.oip.quick_forms import QuickForms
from edge_agent.core.local_call import CallAnswer, CalledRow
from model_packs.errors import TensorError
from model_packs.tensors import TensorSpec
from protos.messages.inference import ModelUse
from protos.oip.grpc_codec import GrpcCodec
from protos.oip.model import OipModel
from protos.oip.parameters import parameters_of
from protos.oip.quick_forms import Head
from protos.oip.signature import Signature
from protos.tandem.oip.v2 import grpc_service_pb2 as pb
from tests.unit.edge_agent.packs.manifests import MANIFEST

USE = ModelUse("tiny-edge@1.0.0", MANIFEST.digest)
ROW = CalledRow("a" * 26, "final", 0.25, "idle", None, "edge")


def request(values: np.ndarray[Any, Any], **fields: Any) -> pb.ModelInferRequest:  # noqa: ANN401 - a message's fields
    """A request with raw values."""
    made = pb.ModelInferRequest(model_name="press", raw_input_contents=[values.tobytes()], **fields)
    made.inputs.add(name="window", datatype="FP32", shape=values.shape)
    return made


def learnt(message: pb.ModelInferRequest, **changes: Any) -> QuickForms:  # noqa: ANN401 - of the manifest
    """Forms that have seen a request."""
    signature = Signature(OipModel.of_pack(replace(MANIFEST, **changes), digest="sha256:1", name="press"))
    forms = QuickForms(signature)
    data = message.SerializeToString()
    assert forms.read(data) is None
    forms.learn(data, message, GrpcCodec(signature).read(message))
    return forms


def values(seed: int = 0, rows: int = 1) -> np.ndarray[Any, Any]:
    """Windows."""
    return np.random.default_rng(seed).normal(size=(rows, 5, 2)).astype(np.float32)


def test_a_known_head_gives_the_values_without_a_copy() -> None:
    """Another request with the same head is its values; they are read only."""
    forms = learnt(request(values()))
    found = forms.read(request(values(1)).SerializeToString())
    assert found is not None
    _, inputs = found
    assert np.array_equal(inputs["window"], values(1))
    assert not inputs["window"].flags.writeable
    assert not inputs["window"].flags.owndata


@pytest.mark.parametrize("other", [{"id": "7"}, {"model_version": "1.0.0"}, {"model_name": "other"}])
def test_another_head_is_not_known(other: dict[str, str]) -> None:
    """An id, a version or another name is another head."""
    forms = learnt(request(values()))
    message = request(values())
    for name, value in other.items():
        setattr(message, name, value)
    assert forms.read(message.SerializeToString()) is None


def test_what_is_not_of_the_form_is_not_learnt() -> None:
    """An id, parameters, typed contents or bytes behind the values are left to the parser, every time."""
    with_parameter = request(values())
    with_parameter.parameters["wait_for_hub_ms"].int64_param = 5
    typed = pb.ModelInferRequest(model_name="press")
    typed.inputs.add(name="window", datatype="FP32", shape=[1, 5, 2]).contents.fp32_contents.extend([0.0] * 10)
    for message in (request(values(), id="7"), with_parameter, typed):
        assert learnt(message).read(message.SerializeToString()) is None
    # The values first: then the message ends with its tensor's head.
    message = request(values())
    swapped = pb.ModelInferRequest(raw_input_contents=message.raw_input_contents).SerializeToString()
    message.ClearField("raw_input_contents")
    swapped += message.SerializeToString()
    parsed = pb.ModelInferRequest.FromString(swapped)
    signature = Signature(OipModel.of_pack(MANIFEST, digest="sha256:1", name="press"))
    forms = QuickForms(signature)
    forms.learn(swapped, parsed, GrpcCodec(signature).read(parsed))
    assert forms.read(swapped) is None
    # The same, and what ends the message has the very bytes of the values.
    name = "x" * 40
    ending = pb.ModelInferRequest(raw_input_contents=[name.encode()], inputs=message.inputs).SerializeToString()
    ending += pb.ModelInferRequest(model_name=name).SerializeToString()
    parsed = pb.ModelInferRequest.FromString(ending)
    forms.learn(ending, parsed, GrpcCodec(signature).read(parsed))
    assert forms.read(ending) is None


def test_zeros_behind_values_that_are_zeros_are_not_taken_for_them() -> None:
    """A message that ends with something else as long as its values, both of them zeros, is left to the parser."""
    zeros = np.zeros((1, 5, 2), np.float32)
    message = pb.ModelInferRequest(model_name="press", raw_input_contents=[zeros.tobytes()])
    data = message.SerializeToString()
    tensor = pb.ModelInferRequest()
    tensor.inputs.add(name="window", datatype="FP32", shape=zeros.shape).parameters["note"].string_param = "\0" * 40
    data += tensor.SerializeToString()
    assert data.endswith(zeros.tobytes())
    parsed = pb.ModelInferRequest.FromString(data)
    signature = Signature(OipModel.of_pack(MANIFEST, digest="sha256:1", name="press"))
    forms = QuickForms(signature)
    forms.learn(data, parsed, GrpcCodec(signature).read(parsed))
    assert forms.read(data[:-40] + np.ones((1, 5, 2), np.float32).tobytes()) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    """The quick way checks the values as the other does; large ones are none of these."""
    forms = learnt(request(values()))
    broken = values()
    broken[0, 3, 1] = bad
    with pytest.raises(TensorError, match="must be finite"):
        forms.read(request(broken).SerializeToString())
    large = np.full((1, 5, 2), 3e38, np.float32)
    assert forms.read(request(large).SerializeToString()) is not None


@given(st.binary(max_size=400), st.integers(0, 200))
def test_no_bytes_make_it_read_what_the_parser_does_not(tail: bytes, cut: int) -> None:
    """Whatever it takes for a request, the parser reads the same out of it."""
    good = request(values()).SerializeToString()
    data = good[:cut] + tail
    found = learnt(request(values())).read(data) if _is_finite(data) else None
    if found is not None:
        parsed = pb.ModelInferRequest.FromString(data)
        assert parsed.raw_input_contents[0] == found[1]["window"].tobytes()
        assert parsed.model_name == "press"


@pytest.mark.parametrize(
    "rows",
    [
        (ROW,),
        (ROW._replace(confidence=0.0, label=None, reason="unscorable", status="provisional"),),
        (ROW, ROW._replace(prediction_id="b" * 26, reason="audit")),
    ],
)
def test_answers_are_those_of_the_codec(rows: tuple[CalledRow, ...]) -> None:
    """Parsed, they are the same message: names, shapes, parameters, values."""
    message = request(values(rows=len(rows)))
    forms = learnt(message)
    signature = Signature(OipModel.of_pack(MANIFEST, digest="sha256:1", name="press"))
    codec = GrpcCodec(signature)
    outputs = {"logits": np.arange(3 * len(rows), dtype=np.float32).reshape(-1, 3)}
    answer = CallAnswer(USE, "2.0.0", outputs, rows)
    head = _head(forms, message)
    for _ in range(2):  # made, then remembered
        written = pb.ModelInferResponse.FromString(forms.write(head, answer))
        expected = codec.write(
            codec.read(message), outputs, request_id="", version="2.0.0", parameters=parameters_of_rows(rows)
        )
        assert written == expected
    assert parameters_of(written.parameters)["tier"] in ("edge", '["edge", "edge"]')


def test_several_outputs_are_written_in_the_order_that_was_asked_for() -> None:
    """Each output's values stand where its head stands."""
    outputs = (*MANIFEST.outputs, TensorSpec("embedding", "FP32", (-1, 2)))
    message = request(values())
    for name in ("embedding", "logits"):
        message.outputs.add(name=name)
    forms = learnt(message, outputs=outputs)
    made = {"logits": np.ones((1, 3), np.float32), "embedding": np.zeros((1, 2), np.float32)}
    written = pb.ModelInferResponse.FromString(
        forms.write(_head(forms, message), CallAnswer(USE, "1.0.0", made, (ROW,)))
    )
    assert [one.name for one in written.outputs] == ["embedding", "logits"]
    assert [len(one) for one in written.raw_output_contents] == [8, 12]


def test_a_long_head_is_not_kept() -> None:
    """Heads are remembered: what a client puts beside its tensor must not fill the memory."""
    message = request(values())
    message.inputs[0].parameters["note"].string_param = "x" * 5000
    assert learnt(message).read(message.SerializeToString()) is None


def test_text_in_an_answer_is_left_to_the_codec() -> None:
    """Its elements are objects, which have no bytes of their own: such a request is not learnt."""
    message = request(values())
    outputs = (TensorSpec("text", "BYTES", (-1,)), TensorSpec("confidence", "FP32", (-1, 1)))
    assert learnt(message, outputs=outputs).read(message.SerializeToString()) is None
    message.outputs.add(name="confidence")
    assert learnt(message, outputs=outputs).read(message.SerializeToString()) is not None


def _head(forms: QuickForms, message: pb.ModelInferRequest) -> Head:
    found = forms.read(message.SerializeToString())
    assert found is not None
    return found[0]


def _is_finite(data: bytes) -> bool:
    tail = data[-40:]
    return len(tail) == 40 and bool(np.isfinite(np.frombuffer(tail, np.float32)).all())
