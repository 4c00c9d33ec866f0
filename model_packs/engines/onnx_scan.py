"""Owns one look into an ONNX graph before any engine sees it: does it name files outside itself?

A graph with external data can make an engine read any file that the process can read. The scan walks the protobuf wire
format (https://protobuf.dev/programming-guides/encoding) along the fields of onnx.proto that can hold a tensor.
"""

from collections.abc import Iterator
from typing import Final

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH: Final = 32
_EXTERNAL: Final = 1

# Message name to {field number: message inside}, from onnx.proto (IR version 10).
_FIELDS: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_TENSOR_EXTERNAL_DATA: Final = 13
_TENSOR_DATA_LOCATION: Final = 14


def names_external_data(model: bytes) -> bool:
    """Tell whether a graph keeps tensors in other files.

    Args:
        model: An ONNX file, untrusted.

    Returns:
        True if any tensor names external data, or if the bytes are not well-formed enough to be sure that none does.
    """
    try:
        return _scan(memoryview(model), "model", 0)
    except (IndexError, ValueError):
        return True


def _scan(message: memoryview, kind: str, depth: int) -> bool:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    inner = _FIELDS[kind]
    for number, wire_type, value, body in _fields(message):
        if kind == "tensor" and number == _TENSOR_EXTERNAL_DATA:
            return True
        if kind == "tensor" and number == _TENSOR_DATA_LOCATION and value == _EXTERNAL:
            return True
        if wire_type == _LENGTH and number in inner and _scan(body, inner[number], depth + 1):
            return True
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int, int, memoryview]]:
    """Yield (field number, wire type, value of a varint, body of a length-delimited field)."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire_type = key >> 3, key & 7
        value, start = 0, position
        if wire_type == _VARINT:
            value, position = _varint(message, position)
        elif wire_type == _LENGTH:
            size, start = _varint(message, position)
            position = start + size
        elif wire_type in (_FIXED64, _FIXED32):
            position += 8 if wire_type == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire_type}")
        if position > len(message):
            raise ValueError("cut short")
        yield number, wire_type, value, message[start:position]


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit of a varint
            return value, position
    raise ValueError("varint too long")
