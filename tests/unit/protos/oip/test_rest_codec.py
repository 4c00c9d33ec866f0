"""Inference over REST: JSON lists and binary tensors give the same arrays, and what does not fit is named."""

import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from model_packs.errors import TensorError
from model_packs.tensors import TensorSpec
from protos.codec.errors import CodecError
from protos.oip.rest import HEADER_LENGTH, Address, Operation, address_of, header_length, inflated
from protos.oip.rest_codec import MAX_JSON_BYTES, RestCodec
from protos.oip.signature import Signature
from tests.unit.protos.oip.oip_models import MODEL, rows, taking

CODEC = RestCodec(Signature(MODEL))
OUTPUTS = {"logits": np.array([[1.0, -2.0]], np.float32), "sure": np.array([0.5], np.float32)}
X: Mapping[str, Any] = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0, 1, 2, 3]}


def body(*inputs: object, **rest: Any) -> bytes:  # noqa: ANN401 - any JSON
    """A request's JSON."""
    return json.dumps({"inputs": list(inputs), **rest}).encode()


@pytest.mark.parametrize("data", [[0, 1, 2, 3], [0.0, 1.0, 2.0, 3.0], [[0, 1, 2, 3]]])
def test_lists_flat_or_nested_are_read(data: list[Any]) -> None:
    """Row-major numbers, nested by axis or not, are the same tensor."""
    request = CODEC.read(body({**X, "data": data}, id="7", parameters={"priority": 1}), None)
    assert np.array_equal(request.asked.inputs["x"], rows())
    assert (request.request_id, request.parameters, request.asked.wanted) == ("7", {"priority": 1}, ("logits", "sure"))


def test_binary_tensors_lie_behind_the_json() -> None:
    """Bytes are taken in the order of the tensors; what wants binary answers gets them, with the JSON's length."""
    head = body(
        {"name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": 16}},
        outputs=[{"name": "sure"}, {"name": "logits", "parameters": {"binary_data": True}}],
    )
    request = CODEC.read(head + rows().tobytes(), len(head))
    assert np.array_equal(request.asked.inputs["x"], rows())
    answer = CODEC.write(request, OUTPUTS, parameters={"tier": "hub"})
    length = int(answer.headers[HEADER_LENGTH])
    document = json.loads(answer.body[:length])
    assert document["outputs"] == [
        {"name": "sure", "datatype": "FP32", "shape": [1], "data": [0.5]},
        {"name": "logits", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
    ]
    assert (document["model_name"], document["model_version"], document["parameters"]) == (
        "press",
        "2.0.0",
        {"tier": "hub"},
    )
    assert answer.body[length:] == OUTPUTS["logits"].tobytes()


def test_one_parameter_makes_all_outputs_binary() -> None:
    """`binary_data_output` is for outputs that say nothing themselves, and for requests that name none."""
    assert CODEC.read(body(X, parameters={"binary_data_output": True}), None).binary == {"logits", "sure"}
    named = [{"name": "sure"}, {"name": "logits", "parameters": {"binary_data": False}}]
    assert CODEC.read(body(X, outputs=named, parameters={"binary_data_output": True}), None).binary == {"sure"}
    assert not CODEC.read(body(X), None).binary


def test_an_answer_in_json_is_json() -> None:
    """What JSON has no number for is null; the body says its type and has no binary part."""
    answer = CODEC.write(
        CODEC.read(body(X), None), {"logits": np.array([[np.nan, np.inf]], np.float32), "sure": OUTPUTS["sure"]}
    )
    assert json.loads(answer.body)["outputs"][0]["data"] == [None, None]
    assert answer.headers == {"Content-Type": "application/json"}


def test_texts_are_texts() -> None:
    """BYTES come as JSON strings and go as such; what is no UTF-8 is to be asked for in binary form."""
    codec = RestCodec(Signature(taking(TensorSpec("t", "BYTES", (-1,)))))
    request = codec.read(body({"name": "t", "datatype": "BYTES", "shape": [2], "data": ["grün", ""]}), None)
    assert request.asked.inputs["t"].tolist() == ["grün".encode(), b""]
    assert json.loads(codec.write(request, request.asked.inputs).body)["outputs"][0]["data"] == ["grün", ""]
    with pytest.raises(TensorError, match="output 't' is no text: ask for it with binary_data"):
        codec.write(request, {"t": np.array([b"\xff", b""], dtype=object)})
    binary = request._replace(binary=frozenset({"t"}))
    assert codec.write(binary, {"t": np.array([b"\xff", b""], dtype=object)}).body.endswith(b"\1\0\0\0\xff\0\0\0\0")


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"", "body: is not the JSON of a request"),
        (b"\xff{}", "body: is not the JSON of a request"),
        (b"[" * 100_000, "body: is not the JSON of a request: nested too deeply"),
        (b"[]", "body: must be an object"),
        (b"{}", "inputs: must be a list"),
        (b" " * (MAX_JSON_BYTES + 1), "at most 8388608 are read"),
        (b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [NaN]}]}', "NaN is not JSON"),
        (body(7), r"inputs\[0\]: must be an object"),
        (body({**X, "name": 7}), r"inputs\[0\].name: must be a string"),
        (body({**X, "shape": [1, True]}), r"inputs\[0\].shape: must be a list of integers"),
        (body({**X, "shape": [1 << 31, 4]}), "tensor 'x' must hold 1 to 8 windows"),
        (body({**X, "datatype": "INT8"}), r"tensor 'x' must be FP32 \[-1, 4\], not INT8 \[1, 4\]"),
        (body({**X, "data": [0, 1, 2]}), "tensor 'x' must have 4 elements for FP32 .*, not 3"),
        (body({**X, "data": [0, 1, 2, "3"]}), "tensor 'x': an element is no FP32"),
        (body({**X, "data": [0, 1, 2, True]}), "tensor 'x': an element is no FP32"),
        (body({**X, "data": [0, 1, 2, 1e39]}), r"tensor 'x' must be finite: inf at \[0, 3\]"),
        (body({**X, "data": [0, 1, 2, 10**400]}), "tensor 'x': a value does not fit FP32"),
        (body({**X, "data": 7}), "data of tensor 'x': must be a list"),
        (body({key: X[key] for key in ("name", "datatype", "shape")}), "tensor 'x' has no data"),
        (body({**X, "parameters": {"binary_data_size": 16}}), "tensor 'x': binary_data_size must be 0 to 0"),
        (body({**X, "parameters": []}), r"inputs\[0\].parameters: must be an object"),
        (body({**X, "parameters": {"a": []}}), r"inputs\[0\].parameters.a: must be a number"),
        (body({**X, "name": "y"}), "unknown input 'y'"),
        (body(), "input 'x' is missing"),
        (body(X, X), "an input came twice"),
        (body(X, outputs=[{"name": "z"}]), "unknown output 'z'"),
        (body(X, outputs=[{"name": "sure", "parameters": {"classification": 1}}]), "does not sort classes"),
        (body(X, id=7), "id: must be a string"),
    ],
)
def test_what_does_not_fit_is_named(sent: bytes, message: str) -> None:
    """A bad request fails with the field or the tensor, and the next good one is read."""
    with pytest.raises((CodecError, TensorError), match=message):
        CODEC.read(sent, None)
    assert np.array_equal(CODEC.read(body(X), None).asked.inputs["x"], rows())


@pytest.mark.parametrize(
    ("size", "tail", "message"),
    [
        (15, 15, "must have 16 bytes for FP32 .*, not 15"),
        (2 << 30, 16, "binary_data_size must be 0 to 16, what is left, not 2147483648"),
        (-1, 16, "binary_data_size must be"),
        (16, 17, "1 bytes behind the JSON belong to no tensor"),
    ],
)
def test_binary_sizes_that_lie_are_refused(size: int, tail: int, message: str) -> None:
    """A claim is compared with what is there before anything is taken."""
    head = body({"name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": size}})
    with pytest.raises((CodecError, TensorError), match=message):
        CODEC.read(head + bytes(tail), len(head))


@pytest.mark.parametrize(("datatype", "value"), [("INT8", 128), ("UINT64", -1), ("UINT64", 1 << 64)])
def test_integers_beyond_their_type_are_refused(datatype: str, value: int) -> None:
    """A number that does not fit is no wrapped number."""
    codec = RestCodec(Signature(taking(TensorSpec("x", datatype, (-1,)))))
    with pytest.raises(TensorError, match=f"tensor 'x': a value does not fit {datatype}"):
        codec.read(body({"name": "x", "datatype": datatype, "shape": [1], "data": [value]}), None)


@pytest.mark.parametrize(
    ("method", "path", "address"),
    [
        ("GET", "/v2", Address(Operation.SERVER_METADATA)),
        ("GET", "/v2/health/live", Address(Operation.SERVER_LIVE)),
        ("GET", "/v2/models/press", Address(Operation.MODEL_METADATA, "press")),
        ("GET", "/v2/models/stats", Address(Operation.MODEL_STATISTICS)),
        ("GET", "/v2/models/press/versions/2.0.0/config", Address(Operation.MODEL_CONFIG, "press", "2.0.0")),
        ("POST", "/v2/models/a%20b/infer", Address(Operation.MODEL_INFER, "a b")),
        ("POST", "/v2/repository/models/press/load", Address(Operation.REPOSITORY_MODEL_LOAD, "press")),
        ("GET", "/v2/systemsharedmemory/region/r/status", Address(Operation.SHARED_MEMORY_STATUS, region="r")),
        ("GET", "/v2/models/press/infer", None),
        ("POST", "/v2/models//infer", None),
        ("GET", "/v3", None),
    ],
)
def test_an_address_says_what_is_asked_for(method: str, path: str, address: Address | None) -> None:
    """Model, version and region are read out of the path, escapes undone; anything else is no address."""
    assert address_of(method, path) == address


def test_the_length_of_the_json_is_within_the_body() -> None:
    """A header that is no such number is refused."""
    assert (header_length(None, 5), header_length("5", 5)) == (None, 5)
    for value in ("6", "-1", "x", "٣", "9" * 30):
        with pytest.raises(CodecError, match="must be 0 to 5, the body's length"):
            header_length(value, 5)


def test_compression_is_undone_within_the_cap() -> None:
    """Gzip and deflate are read; what is damaged, cut, unknown or a bomb is refused."""
    gzip = zlib.compressobj(wbits=31)
    zipped = gzip.compress(b"body") + gzip.flush()
    assert inflated([zipped[:3], zipped[3:]], "gzip") == b"body"
    assert inflated([zlib.compress(b"body")], "deflate") == b"body"
    assert inflated([b"body"], "") == b"body"
    bomb = zlib.compress(bytes(80 << 20))
    for sent, encoding, message in (
        (b"body", "gzip", "body: is not gzip"),
        (zipped[:-9], "gzip", "body: is truncated gzip"),
        (bomb, "deflate", "body: must be at most"),
        (b"body", "br", "Content-Encoding: must be gzip or deflate, not 'br'"),
    ):
        with pytest.raises(CodecError, match=message):
            inflated([sent], encoding)
