"""Inference over gRPC: what fits is read without a copy, what does not is named, answers keep the asked order."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from model_packs.errors import TensorError
from model_packs.tensors import DTYPES, TensorSpec
from protos.oip.grpc_codec import GrpcCodec
from protos.oip.parameters import parameters_of, priority_of, timeout_s
from protos.oip.signature import Signature
from protos.oip.streaming import stream_answer, stream_error
from protos.tandem.oip.v2 import grpc_service_pb2 as pb
from tests.unit.protos.oip.oip_models import MODEL, raw_bytes, raw_request, rows, taking

Request = pb.ModelInferRequest
CODEC = GrpcCodec(Signature(MODEL))
OUTPUTS = {"logits": np.array([[1.0, -2.0]], np.float32), "sure": np.array([0.5], np.float32)}


def test_raw_bytes_become_a_view() -> None:
    """A fitting tensor is read-only over the request's bytes; without wishes all outputs are wanted, in order."""
    asked = CODEC.read(raw_request(x=rows(3)))
    assert np.array_equal(asked.inputs["x"], rows(3))
    assert not asked.inputs["x"].flags.owndata
    assert not asked.inputs["x"].flags.writeable
    assert (asked.wanted, asked.is_raw) == (("logits", "sure"), True)


def test_an_answer_has_its_values_in_the_asked_order() -> None:
    """Raw outputs stand in the order in which the caller named them, with the request's id and ours of the model."""
    asked = CODEC.read(raw_request("sure", "logits", x=rows()))
    answer = CODEC.write(asked, OUTPUTS, request_id="7")
    assert (answer.model_name, answer.model_version, answer.id) == ("press", "2.0.0", "7")
    assert [(out.name, out.datatype, list(out.shape)) for out in answer.outputs] == [
        ("sure", "FP32", [1]),
        ("logits", "FP32", [1, 2]),
    ]
    assert list(answer.raw_output_contents) == [OUTPUTS["sure"].tobytes(), OUTPUTS["logits"].tobytes()]


def test_an_answer_never_holds_another_ones_values() -> None:
    """What is prepared for many answers is the head only."""
    asked = CODEC.read(raw_request("sure", x=rows()))
    first = CODEC.write(asked, OUTPUTS, request_id="1", parameters={"status": "final"})
    second = CODEC.write(asked, {"sure": np.array([0.25], np.float32)}, request_id="", version="3.0.0")
    assert np.frombuffer(first.raw_output_contents[0], "<f4").tolist() == [0.5]
    assert np.frombuffer(second.raw_output_contents[0], "<f4").tolist() == [0.25]
    assert (second.id, second.model_version, dict(second.parameters)) == ("", "3.0.0", {})


def test_typed_contents_are_answered_in_kind() -> None:
    """Who sends typed lists gets typed lists, as MLServer's clients expect; raw bytes are then absent."""
    request = Request()
    tensor = request.inputs.add(name="x", datatype="FP32", shape=(1, 4))
    tensor.contents.fp32_contents.extend(rows().ravel().tolist())
    asked = CODEC.read(request)
    assert np.array_equal(asked.inputs["x"], rows())
    answer = CODEC.write(asked, OUTPUTS, request_id="")
    assert list(answer.outputs[0].contents.fp32_contents) == [1.0, -2.0]
    assert not answer.raw_output_contents


ARRAYS = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda name: npst.arrays(
        DTYPES[name],
        npst.array_shapes(min_dims=2, max_dims=3, max_side=4),
        elements=npst.from_dtype(DTYPES[name], allow_nan=False, allow_infinity=False),
    )
)


@given(ARRAYS)
def test_every_datatype_survives_both_forms(array: NDArray[Any]) -> None:
    """Raw and typed, in and out: bit by bit the same; FP16, which has no typed form, is answered raw."""
    name = next(name for name, dtype in DTYPES.items() if dtype == array.dtype)
    codec = GrpcCodec(Signature(taking(TensorSpec("x", name, (-1, *array.shape[1:])))))
    asked = codec.read(raw_request(x=array))
    answer = codec.write(asked, asked.inputs, request_id="")
    assert answer.raw_output_contents[0] == array.tobytes()
    typed = codec.write(asked._replace(is_raw=False), asked.inputs, request_id="")
    if name == "FP16":
        assert typed.raw_output_contents[0] == array.tobytes()
        return
    request = Request()
    request.inputs.add(name="x", datatype=name, shape=array.shape).contents.CopyFrom(typed.outputs[0].contents)
    assert codec.read(request).inputs["x"].tobytes() == array.tobytes()


def test_texts_travel_in_both_forms() -> None:
    """BYTES elements are read from raw and typed form, and answered in the same."""
    codec = GrpcCodec(Signature(taking(TensorSpec("text", "BYTES", (-1,)))))
    texts = np.array([b"gut", "grün", b""], dtype=object)
    asked = codec.read(raw_request(text=texts))
    assert asked.inputs["text"].tolist() == [b"gut", "grün".encode(), b""]
    assert codec.write(asked, {"text": texts}, request_id="").raw_output_contents[0] == raw_bytes(texts)
    request = Request()
    tensor = request.inputs.add(name="text", datatype="BYTES", shape=(1,))
    tensor.contents.bytes_contents.append(b"gut")
    typed = codec.write(codec.read(request), {"text": texts[1:2]}, request_id="")
    assert list(typed.outputs[0].contents.bytes_contents) == ["grün".encode()]


def without_raw(request: Request) -> None:
    """The request has no data."""
    del request.raw_input_contents[:]


def truncated(request: Request) -> None:
    """One byte is lost."""
    request.raw_input_contents[0] = request.raw_input_contents[0][:-1]


def claiming(*shape: int) -> Callable[[Request], None]:
    """The request claims another shape."""

    def change(request: Request) -> None:
        del request.inputs[0].shape[:]
        request.inputs[0].shape.extend(shape)

    return change


def named(name: str) -> Callable[[Request], None]:
    """The input has another name."""
    return lambda request: setattr(request.inputs[0], "name", name)


def typed_as(datatype: str) -> Callable[[Request], None]:
    """The input claims another datatype."""
    return lambda request: setattr(request.inputs[0], "datatype", datatype)


def holding(value: float) -> Callable[[Request], None]:
    """One value is replaced."""

    def change(request: Request) -> None:
        values = rows()
        values[0, 2] = value
        request.raw_input_contents[0] = values.tobytes()

    return change


def twice(request: Request) -> None:
    """The input comes twice."""
    request.inputs.append(request.inputs[0])
    request.raw_input_contents.append(request.raw_input_contents[0])


def with_raw_too_many(request: Request) -> None:
    """There are more raw bytes than inputs."""
    request.raw_input_contents.append(b"")


def without_inputs(request: Request) -> None:
    """Nothing was sent."""
    del request.inputs[:], request.raw_input_contents[:]


def typed(*values: float, field: str = "fp32_contents") -> Callable[[Request], None]:
    """The data is a typed list."""

    def change(request: Request) -> None:
        without_raw(request)
        getattr(request.inputs[0].contents, field).extend(values)

    return change


def wanting(*names: str) -> Callable[[Request], None]:
    """The request names outputs."""
    return lambda request: request.outputs.extend(Request.InferRequestedOutputTensor(name=name) for name in names)


def sorting_classes(request: Request) -> None:
    """The request uses Triton's classification extension."""
    request.outputs.add(name="logits").parameters["classification"].int64_param = 2


def in_shared_memory(request: Request) -> None:
    """The input is somewhere else."""
    without_raw(request)
    request.inputs[0].parameters["shared_memory_region"].string_param = "r"
    request.inputs[0].parameters["shared_memory_byte_size"].int64_param = 16


def in_too_much_shared_memory(request: Request) -> None:
    """The input claims two gigabytes of a region."""
    in_shared_memory(request)
    request.inputs[0].parameters["shared_memory_byte_size"].int64_param = 2 << 30


def in_a_negative_place(request: Request) -> None:
    """The input is nowhere."""
    in_shared_memory(request)
    request.inputs[0].parameters["shared_memory_offset"].int64_param = -1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (typed_as("INT8"), r"tensor 'x' must be FP32 \[-1, 4\], not INT8 \[1, 4\]"),
        (claiming(1, 5), r"tensor 'x' must be FP32 \[-1, 4\], not FP32 \[1, 5\]"),
        (claiming(4), r"must be FP32 \[-1, 4\], not FP32 \[4\]"),
        (claiming(-1, 4), "must hold 1 to 8 windows along its first axis, not -1"),
        (claiming(0, 4), "must hold 1 to 8 windows along its first axis, not 0"),
        (claiming(1 << 29, 4), "must hold 1 to 8 windows along its first axis, not 536870912"),
        (claiming(2, 4), r"tensor 'x' must have 32 bytes for FP32 \[2, 4\], not 16"),
        (named("y"), r"unknown input 'y': the model takes 'x' FP32 \[-1, 4\]"),
        (named("y" * 5000), "unknown input '" + "y" * 80 + "':"),
        (without_inputs, "input 'x' is missing: the model takes 'x' FP32"),
        (twice, "an input came twice"),
        (truncated, r"tensor 'x' must have 16 bytes for FP32 \[1, 4\], not 15"),
        (without_raw, "tensor 'x' has no data"),
        (with_raw_too_many, "raw_input_contents must hold the bytes of each of the 1 inputs .*, not 2"),
        (holding(np.nan), r"tensor 'x' must be finite: nan at \[0, 2\]"),
        (holding(-np.inf), r"tensor 'x' must be finite: -inf at \[0, 2\]"),
        (typed(1, 2, 3), "tensor 'x' must have 4 elements in fp32_contents for FP32 .*, not 3"),
        (typed(1, 2, 3, 4, field="int_contents"), "4 elements in fp32_contents .*, not 0"),
        (typed(1, 2, 3, np.nan), r"tensor 'x' must be finite: nan at \[0, 3\]"),
        (wanting("nothing"), r"unknown output 'nothing': the model gives 'logits' FP32 \[-1, 2\], 'sure'"),
        (wanting("sure", "sure"), "asked for twice"),
        (sorting_classes, "output 'logits': this server does not sort classes"),
        (in_shared_memory, "tensor 'x': this server shares no memory"),
        (in_too_much_shared_memory, "tensor 'x' must have 16 bytes of shared memory for FP32 .*, not 2147483648"),
        (in_a_negative_place, "tensor 'x': shared_memory_region must be text"),
    ],
)
def test_what_does_not_fit_is_named(change: Callable[[Request], None], message: str) -> None:
    """A bad request fails with the tensor's name and what was expected, and the next good one is read."""
    request = raw_request(x=rows())
    change(request)
    with pytest.raises(TensorError, match=message):
        CODEC.read(request)
    assert np.array_equal(CODEC.read(raw_request(x=rows())).inputs["x"], rows())


def test_numbers_beyond_their_type_are_refused() -> None:
    """The list for small integers is wider than they are; what does not fit is no wrapped number."""
    codec = GrpcCodec(Signature(taking(TensorSpec("x", "INT8", (-1, 2)))))
    request = Request()
    request.inputs.add(name="x", datatype="INT8", shape=(1, 2)).contents.int_contents.extend((127, 128))
    with pytest.raises(TensorError, match="tensor 'x': a value does not fit INT8"):
        codec.read(request)


def test_half_floats_have_no_typed_list() -> None:
    """FP16 travels raw only, and the message says so."""
    codec = GrpcCodec(Signature(taking(TensorSpec("x", "FP16", (-1, 2)))))
    request = Request()
    request.inputs.add(name="x", datatype="FP16", shape=(1, 2)).contents.fp32_contents.extend((1, 2))
    with pytest.raises(TensorError, match="tensor 'x': FP16 has no typed contents; send raw_input_contents"):
        codec.read(request)


def test_a_declared_missing_value_passes() -> None:
    """Where the model declares them, NaNs are values."""
    codec = GrpcCodec(Signature(MODEL, takes_non_finite=True))
    values = rows()
    values[0, 0] = np.nan
    assert np.isnan(codec.read(raw_request(x=values)).inputs["x"][0, 0])


def test_inputs_hold_equally_many_windows() -> None:
    """Two inputs are one batch."""
    codec = GrpcCodec(Signature(taking(TensorSpec("a", "INT8", (-1,)), TensorSpec("b", "INT8", (-1,)))))
    with pytest.raises(TensorError, match="equally many windows, not 1 in 'a', 2 in 'b'"):
        codec.read(raw_request(a=np.zeros(1, np.int8), b=np.zeros(2, np.int8)))


def test_what_is_remembered_is_bounded() -> None:
    """A caller who names ever new forms fills no memory."""
    signature = Signature(taking(TensorSpec("x", "INT8", (-1, -1))))
    for size in range(3000):
        signature.form("x", "INT8", (1, size))
    assert len(signature._forms) <= 1024


class Shelf:
    """Shared memory of one region."""

    def __init__(self, content: bytes) -> None:
        self.content = bytearray(content)

    def read(self, region: str, offset_bytes: int, size_bytes: int, /) -> bytes:
        """Copy a part."""
        self._check(region)
        return bytes(self.content[offset_bytes : offset_bytes + size_bytes])

    def write(self, region: str, offset_bytes: int, data: bytes, /) -> None:
        """Overwrite a part."""
        self._check(region)
        self.content[offset_bytes : offset_bytes + len(data)] = data

    def _check(self, region: str) -> None:
        if region != "r":
            raise TensorError(f"no shared memory region {region!r} is registered")


def placed(request: Request, *, region: str = "r", out_size: int = 8) -> Request:
    """The same request with its input in a region, and room for an output behind it."""
    in_shared_memory(request)
    request.inputs[0].parameters["shared_memory_region"].string_param = region
    output = request.outputs.add(name="logits")
    output.parameters["shared_memory_region"].string_param = region
    output.parameters["shared_memory_offset"].int64_param = 16
    output.parameters["shared_memory_byte_size"].int64_param = out_size
    return request


def test_tensors_in_shared_memory_are_read_and_written_there() -> None:
    """The request and the answer hold no bytes of them; the answer says where its values lie."""
    shelf = Shelf(rows().tobytes() + bytes(8))
    asked = CODEC.read(placed(raw_request(x=rows())), shelf)
    assert np.array_equal(asked.inputs["x"], rows())
    answer = CODEC.write(asked, OUTPUTS, request_id="", regions=shelf)
    assert bytes(shelf.content[16:]) == OUTPUTS["logits"].tobytes()
    assert list(answer.raw_output_contents) == [b""]
    assert parameters_of(answer.outputs[0].parameters) == {
        "shared_memory_region": "r",
        "shared_memory_offset": 16,
        "shared_memory_byte_size": 8,
    }


def test_a_place_that_does_not_fit_is_refused() -> None:
    """An unknown region and one that is too small are the caller's mistakes."""
    shelf = Shelf(rows().tobytes() + bytes(8))
    with pytest.raises(TensorError, match="tensor 'x': no shared memory region 'q' is registered"):
        CODEC.read(placed(raw_request(x=rows()), region="q"), shelf)
    asked = CODEC.read(placed(raw_request(x=rows()), out_size=4), shelf)
    with pytest.raises(TensorError, match="output 'logits' takes 8 bytes, the shared memory for it has 4"):
        CODEC.write(asked, OUTPUTS, request_id="", regions=shelf)


def test_parameters_keep_their_types() -> None:
    """Bool, integers of both kinds, float and text come back as they were; one without a value is left out."""
    values: dict[str, bool | int | float | str] = {"b": True, "i": -3, "u": (1 << 64) - 1, "d": 0.5, "s": "ü"}
    answer = CODEC.write(CODEC.read(raw_request(x=rows())), OUTPUTS, request_id="", parameters=values)
    answer.parameters["empty"].SetInParent()
    assert parameters_of(answer.parameters) == values
    assert answer.parameters["d"].WhichOneof("parameter_choice") == "double_param"


def test_priority_and_timeout_are_read() -> None:
    """Urgency and time come from the request's parameters; what is no such number is refused by name."""
    assert (priority_of({"priority": 2}), priority_of({})) == (2, 0)
    assert (timeout_s({"timeout": 1500}), timeout_s({}), timeout_s({"timeout": 0})) == (0.0015, None, None)
    with pytest.raises(TensorError, match="parameter 'priority' must be an integer of at least 0, not -1"):
        priority_of({"priority": -1})
    with pytest.raises(TensorError, match="parameter 'timeout' must be"):
        timeout_s({"timeout": "soon"})


def test_a_streamed_answer_is_marked_as_the_last_one() -> None:
    """Answers and refusals on a stream tell whose they are, and that no other follows."""
    answer = stream_answer(CODEC.write(CODEC.read(raw_request(x=rows())), OUTPUTS, request_id="7"))
    assert (answer.infer_response.id, answer.error_message) == ("7", "")
    refusal = stream_error("8", "tensor 'x' is too heavy")
    assert (refusal.infer_response.id, refusal.error_message) == ("8", "tensor 'x' is too heavy")
    for message in (answer, refusal):
        assert parameters_of(message.infer_response.parameters) == {"triton_final_response": True}
