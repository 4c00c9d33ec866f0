"""Owns writing tiny ONNX graphs byte by byte, so that tests need no exporter: logits = flatten(input) · weights."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_FLOAT, _UINT8, _INT64 = 1, 2, 7
_IR_VERSION, _OPSET = 8, 17
_ATTRIBUTE_INT = 2


def linear_graph(
    weights: NDArray[np.float32],
    *,
    samples: int,
    channels: int,
    input_name: str = "window",
    output_name: str = "logits",
    external_file: str | None = None,
) -> bytes:
    """Write a linear classifier.

    Args:
        weights: [samples * channels, labels].
        samples: Samples of the window.
        channels: Channels of a sample.
        input_name: Name of the input, FP32 [batch, samples, channels].
        output_name: Name of the output, FP32 [batch, labels].
        external_file: Declare the weights as external data in this file instead of embedding them.

    Returns:
        An ONNX file.
    """
    n_inputs, n_labels = weights.shape
    shape = _tensor("shape", _INT64, (2,), np.array([-1, n_inputs], "<i8").tobytes())
    if external_file is None:
        matrix = _tensor("weights", _FLOAT, weights.shape, weights.astype("<f4").tobytes())
    else:
        entry = _text(1, "location") + _text(2, external_file)
        matrix = _tensor_head("weights", _FLOAT, weights.shape) + nested(13, entry) + _number(14, 1)
    graph = (
        nested(1, _node("Reshape", [input_name, "shape"], "flat"))
        + nested(1, _node("MatMul", ["flat", "weights"], output_name))
        + _text(2, "linear")
        + nested(5, shape)
        + nested(5, matrix)
        + nested(11, _value(input_name, ("batch", samples, channels)))
        + nested(12, _value(output_name, ("batch", n_labels)))
    )
    return _number(1, _IR_VERSION) + nested(8, _text(1, "") + _number(2, _OPSET)) + nested(7, graph)


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
    to_float = _text(1, "to") + _number(3, _FLOAT) + _number(20, _ATTRIBUTE_INT)
    graph = (
        nested(1, _node("Cast", ["image"], "pixels") + nested(5, to_float))
        + nested(1, _node("Reshape", ["pixels", "shape"], "flat"))
        + nested(1, _node("MatMul", ["flat", "weights"], "logits"))
        + _text(2, "linear")
        + nested(5, _tensor("shape", _INT64, (2,), np.array([-1, n_pixels], "<i8").tobytes()))
        + nested(5, _tensor("weights", _FLOAT, weights.shape, weights.astype("<f4").tobytes()))
        + nested(11, _value("image", ("batch", height, width), _UINT8))
        + nested(12, _value("logits", ("batch", n_labels)))
    )
    return _number(1, _IR_VERSION) + nested(8, _text(1, "") + _number(2, _OPSET)) + nested(7, graph)


def nested(field: int, body: bytes) -> bytes:
    """Write one length-delimited protobuf field.

    Args:
        field: Its number.
        body: Its content.

    Returns:
        Key, length and content.
    """
    return _varint(field << 3 | 2) + _varint(len(body)) + body


def _tensor(name: str, data_type: int, shape: Sequence[int], data: bytes) -> bytes:
    return _tensor_head(name, data_type, shape) + nested(9, data)


def _tensor_head(name: str, data_type: int, shape: Sequence[int]) -> bytes:
    return b"".join(_number(1, size) for size in shape) + _number(2, data_type) + _text(8, name)


def _node(operator: str, inputs: Sequence[str], output: str) -> bytes:
    return b"".join(_text(1, name) for name in inputs) + _text(2, output) + _text(4, operator)


def _value(name: str, shape: Sequence[int | str], data_type: int = _FLOAT) -> bytes:
    sizes = b"".join(nested(1, _text(2, size) if isinstance(size, str) else _number(1, size)) for size in shape)
    return _text(1, name) + nested(2, nested(1, _number(1, data_type) + nested(2, sizes)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return nested(field, value.encode())


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
