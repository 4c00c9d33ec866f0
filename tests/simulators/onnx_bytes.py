"""Owns writing ONNX graphs byte by byte, so that tests and benches need no exporter.

Its own graphs are linear classifiers: logits = flatten(input) · weights. Others are made of `node`, `weights_tensor`,
`value` and `model` (onnx.proto3 has the field numbers).
"""

import struct
from collections.abc import Callable, Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray

_FLOAT, _UINT8, _INT32, _INT64, _BOOL = 1, 2, 6, 7, 9
_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_GRAPH, _ATTRIBUTE_INTS = 1, 2, 5, 7
_IR_VERSION, OPSET, _NO_OPSET = 8, 17, 9999


HIGH = 2.0
"""Sums up to here are harmless."""


class Fault(Enum):
    """What a graph that loads, or that does not, can do to its engine."""

    HANGS = "hangs"
    """A loop without an end."""
    CRASHES = "crashes"
    """A division whose result no integer holds: the processor raises SIGFPE (x86-64), and the process dies."""
    NO_NUMBER_LATER = "no number later"
    """Answers with no number (NaN) where a sum is above `HIGH`: golden examples that stay below it do not show it."""
    CRASHES_LATER = "crashes later"
    """The division of `CRASHES`, where a sum is above `HIGH`."""
    UNKNOWN_OPSET = "unknown opset"
    OTHER_ANSWERS = "other answers"
    """None that the engine would notice: the weights are not those behind the golden outputs."""


def linear_graph(
    weights: NDArray[np.float32],
    *,
    samples: int,
    channels: int,
    input_name: str = "window",
    output_name: str = "logits",
    external_file: str | None = None,
    fault: Fault | None = None,
) -> bytes:
    """Write a linear classifier.

    Args:
        weights: [samples * channels, labels].
        samples: Samples of the window.
        channels: Channels of a sample.
        input_name: Name of the input, FP32 [batch, samples, channels].
        output_name: Name of the output, FP32 [batch, labels].
        external_file: Declare the weights as external data in this file instead of embedding them.
        fault: What it does to the engine instead of answering.

    Returns:
        An ONNX file.
    """
    n_inputs, n_labels = weights.shape
    shape = tensor("shape", _INT64, (2,), np.array([-1, n_inputs], "<i8").tobytes())
    if external_file is None:
        matrix = tensor("weights", _FLOAT, weights.shape, weights.astype("<f4").tobytes())
    else:
        entry = text(1, "location") + text(2, external_file)
        matrix = tensor_head("weights", _FLOAT, weights.shape) + nested(13, entry) + number(14, 1)
    graph = (
        nested(1, node("Reshape", [input_name, "shape"], "flat"))
        + nested(1, node("MatMul", ["flat", "weights"], "sums" if fault in _TAILS else output_name))
        + (_TAILS[fault]("sums", output_name) if fault in _TAILS else b"")
        + text(2, "linear")
        + nested(5, shape)
        + nested(5, matrix)
        + nested(11, value(input_name, ("batch", samples, channels)))
        + nested(12, value(output_name, ("batch", n_labels)))
    )
    return model(graph, _NO_OPSET if fault is Fault.UNKNOWN_OPSET else OPSET)


def image_graph(weights: NDArray[np.float32], *, height: int, width: int) -> bytes:
    """Write a linear classifier of grey images: logits = flatten(float(image)) · weights.

    Args:
        weights: [height * width, labels].
        height: Rows.
        width: Pixels of a row.

    Returns:
        An ONNX file; its input `image` is UINT8 [batch, height, width], its output `logits` FP32 [batch, labels].
    """
    n_pixels, n_labels = weights.shape
    to_float = text(1, "to") + number(3, _FLOAT) + number(20, _ATTRIBUTE_INT)
    graph = (
        nested(1, node("Cast", ["image"], "pixels") + nested(5, to_float))
        + nested(1, node("Reshape", ["pixels", "shape"], "flat"))
        + nested(1, node("MatMul", ["flat", "weights"], "logits"))
        + text(2, "linear")
        + nested(5, tensor("shape", _INT64, (2,), np.array([-1, n_pixels], "<i8").tobytes()))
        + nested(5, tensor("weights", _FLOAT, weights.shape, weights.astype("<f4").tobytes()))
        + nested(11, value("image", ("batch", height, width), _UINT8))
        + nested(12, value("logits", ("batch", n_labels)))
    )
    return model(graph)


def _endless(source: str, output: str) -> bytes:
    """Nodes that add a number to itself for ever."""
    body = (
        nested(1, node("Identity", ["going_in"], "going_on"))
        + nested(1, node("Add", ["sum_in", "sum_in"], "sum_out"))
        + text(2, "body")
        + nested(11, value("turn", (), _INT64))
        + nested(11, value("going_in", (), _BOOL))
        + nested(11, value("sum_in", ("rows", "columns")))
        + nested(12, value("going_on", (), _BOOL))
        + nested(12, value("sum_out", ("rows", "columns")))
    )
    attribute = text(1, "body") + nested(6, body) + number(20, _ATTRIBUTE_GRAPH)
    going = nested(5, tensor("going", _BOOL, (), b"\x01"))
    return nested(1, node("Loop", ["", "going", source], output) + nested(5, attribute)) + going


def _overflowing(source: str, output: str) -> bytes:
    """Nodes that divide the smallest integer by -1."""
    to = {kind: nested(5, text(1, "to") + number(3, kind) + number(20, _ATTRIBUTE_INT)) for kind in (_INT32, _FLOAT)}
    smallest, minus_one = (np.array(number, "<i4").tobytes() for number in (np.iinfo(np.int32).min, -1))
    return (
        nested(1, node("Cast", [source], "whole") + to[_INT32])
        + nested(1, node("Sub", ["whole", "whole"], "zero"))
        + nested(1, node("Add", ["zero", "smallest"], "dividend"))
        + nested(1, node("Add", ["zero", "minus_one"], "divisor"))
        + nested(1, node("Div", ["dividend", "divisor"], "broken"))
        + nested(1, node("Cast", ["broken"], output) + to[_FLOAT])
        + nested(5, tensor("smallest", _INT32, (), smallest))
        + nested(5, tensor("minus_one", _INT32, (), minus_one))
    )


def _square_rooted(source: str, output: str) -> bytes:
    """Nodes that add the square root of what is left below `HIGH`, and take it away again."""
    return (
        nested(1, node("Sub", ["high", source], "left"))
        + nested(1, node("Sqrt", ["left"], "root"))
        + nested(1, node("Sub", ["root", "root"], "nothing"))
        + nested(1, node("Add", [source, "nothing"], output))
        + nested(5, tensor("high", _FLOAT, (), np.array(HIGH, "<f4").tobytes()))
    )


def _overflowing_when_high(source: str, output: str) -> bytes:
    """Nodes that divide by -1: the smallest integer where a sum is above `HIGH`, else 0, which is then added."""
    to = {kind: nested(5, text(1, "to") + number(3, kind) + number(20, _ATTRIBUTE_INT)) for kind in (_INT32, _FLOAT)}
    smallest, minus_one = (np.array(number, "<i4").tobytes() for number in (np.iinfo(np.int32).min, -1))
    return (
        nested(1, node("Greater", [source, "high"], "is_high"))
        + nested(1, node("Cast", ["is_high"], "one_if_high") + to[_INT32])
        + nested(1, node("Mul", ["one_if_high", "smallest"], "dividend"))
        + nested(1, node("Sub", ["one_if_high", "one_if_high"], "zero"))
        + nested(1, node("Add", ["zero", "minus_one"], "divisor"))
        + nested(1, node("Div", ["dividend", "divisor"], "broken"))
        + nested(1, node("Cast", ["broken"], "nothing") + to[_FLOAT])
        + nested(1, node("Add", [source, "nothing"], output))
        + nested(5, tensor("high", _FLOAT, (), np.array(HIGH, "<f4").tobytes()))
        + nested(5, tensor("smallest", _INT32, (), smallest))
        + nested(5, tensor("minus_one", _INT32, (), minus_one))
    )


def nested(field: int, body: bytes) -> bytes:
    """Write one length-delimited protobuf field.

    Args:
        field: Its number.
        body: Its content.

    Returns:
        Key, length and content.
    """
    return _varint(field << 3 | 2) + _varint(len(body)) + body


def model(graph: bytes, opset: int = OPSET) -> bytes:
    """Write an ONNX file.

    Args:
        graph: The fields of its GraphProto.
        opset: Version of the operators.

    Returns:
        The file.
    """
    return number(1, _IR_VERSION) + nested(8, text(1, "") + number(2, opset)) + nested(7, graph)


def weights_tensor(name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> bytes:
    """Write an initialiser of float32 or int64."""
    kind = _INT64 if values.dtype == np.int64 else _FLOAT
    return tensor(name, kind, values.shape, values.astype(values.dtype.newbyteorder("<")).tobytes())


def tensor(name: str, data_type: int, shape: Sequence[int], data: bytes) -> bytes:
    """Write a TensorProto with raw data."""
    return tensor_head(name, data_type, shape) + nested(9, data)


def tensor_head(name: str, data_type: int, shape: Sequence[int]) -> bytes:
    """Write a TensorProto without its data."""
    return b"".join(number(1, size) for size in shape) + number(2, data_type) + text(8, name)


def node(operator: str, inputs: Sequence[str], output: str, **attributes: float | Sequence[int]) -> bytes:
    """Write a NodeProto with one output; attributes are INT, FLOAT or INTS."""
    head = b"".join(text(1, name) for name in inputs) + text(2, output) + text(4, operator)
    return head + b"".join(nested(5, _attribute(name, value)) for name, value in attributes.items())


def value(name: str, shape: Sequence[int | str], data_type: int = _FLOAT) -> bytes:
    """Write the ValueInfoProto of a tensor; a name instead of a size leaves the axis open."""
    sizes = b"".join(nested(1, text(2, size) if isinstance(size, str) else number(1, size)) for size in shape)
    return text(1, name) + nested(2, nested(1, number(1, data_type) + nested(2, sizes)))


def number(field: int, value: int) -> bytes:
    """Write one varint field of protobuf."""
    return _varint(field << 3) + _varint(value)


def text(field: int, value: str) -> bytes:
    """Write one field of text."""
    return nested(field, value.encode())


def _attribute(name: str, value: float | Sequence[int]) -> bytes:
    if isinstance(value, int):
        return text(1, name) + number(3, value) + number(20, _ATTRIBUTE_INT)
    if isinstance(value, float):
        return text(1, name) + _varint(2 << 3 | 5) + struct.pack("<f", value) + number(20, _ATTRIBUTE_FLOAT)
    return text(1, name) + b"".join(number(8, one) for one in value) + number(20, _ATTRIBUTE_INTS)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


_TAILS: dict[Fault | None, Callable[[str, str], bytes]] = {
    Fault.HANGS: _endless,
    Fault.CRASHES: _overflowing,
    Fault.NO_NUMBER_LATER: _square_rooted,
    Fault.CRASHES_LATER: _overflowing_when_high,
}
"""Nodes between the linear classifier's sums and its output."""
