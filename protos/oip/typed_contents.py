"""Owns tensors as typed lists, the form beside raw bytes: what which list holds, and its numbers within their type.

No list fits FP16: such a tensor travels in raw bytes only.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_packs.errors import TensorError
from model_packs.tensors import BYTES, raw_from_elements
from protos.oip.signature import Form
from protos.tandem.oip.v2 import grpc_service_pb2 as pb

_FIELDS: Final = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}

_WIDE: Final = {"uint_contents": np.dtype("<u4"), "int_contents": np.dtype("<i4")}


def is_typed(datatype: str) -> bool:
    """Tell whether a list fits the datatype."""
    return datatype in _FIELDS


def raw_from_contents(form: Form, contents: pb.InferTensorContents) -> bytes:
    """Read a typed list.

    Args:
        form: The tensor's form; its shape says how many elements there must be.
        contents: The message.

    Returns:
        The same as raw bytes.

    Raises:
        TensorError: The datatype has no list, the list has another number of elements, or one does not fit the type.
    """
    field = _FIELDS.get(form.datatype)
    if field is None:
        raise TensorError(f"tensor {form.name!r}: {form.datatype} has no typed contents; send raw_input_contents")
    values = getattr(contents, field)
    if len(values) != form.n_elements:
        raise TensorError(
            f"tensor {form.name!r} must have {form.n_elements} elements in {field} for {form.datatype} "
            f"{list(form.shape)}, not {len(values)}"
        )
    if form.datatype == BYTES:
        return raw_from_elements(values)
    wide = np.array(values, dtype=_WIDE.get(field, form.dtype))
    narrow = wide.astype(form.dtype)
    if field in _WIDE and not np.array_equal(wide, narrow):
        raise TensorError(f"tensor {form.name!r}: a value does not fit {form.datatype}")
    return narrow.tobytes()


def fill_contents(contents: pb.InferTensorContents, datatype: str, array: NDArray[Any]) -> None:
    """Write a typed list.

    Args:
        contents: The message, empty.
        datatype: One that a list fits.
        array: The tensor's value.
    """
    values = array.ravel().tolist()
    if datatype == BYTES:
        values = [value.encode() if isinstance(value, str) else value for value in values]
    getattr(contents, _FIELDS[datatype]).extend(values)
