"""Owns golden arrays: NumPy `.npy` bytes written deterministically and read with every size checked before allocation.

Which file holds which tensor is said in pack.json; comparing a run with them is `verification.py`.
"""

import io
import math
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from model_packs.errors import TensorError
from model_packs.tensors import DTYPES, datatype_of, tensor_size_bytes

_VERSION: Final = (1, 0)


def write_npy(array: NDArray[Any]) -> bytes:
    """Write an array as `.npy` bytes; equal arrays give equal bytes.

    Args:
        array: Any layout; its dtype must be a tensor datatype.

    Returns:
        The file's bytes, little-endian, C order.

    Raises:
        TensorError: The dtype has no tensor datatype, or the array is too large.
    """
    datatype = datatype_of(array.dtype)
    tensor_size_bytes(datatype, array.shape)
    buffer = io.BytesIO()
    plain = np.ascontiguousarray(array, dtype=DTYPES[datatype])
    npy_format.write_array(buffer, plain, version=_VERSION, allow_pickle=False)
    return buffer.getvalue()


def read_npy(data: bytes) -> NDArray[Any]:
    """Read `.npy` bytes from an untrusted file.

    Args:
        data: The file's bytes.

    Returns:
        A read-only array over them.

    Raises:
        TensorError: It is no plain array of a tensor datatype, or its header and its length disagree.
    """
    buffer = io.BytesIO(data)
    try:
        version = npy_format.read_magic(buffer)
        if version != _VERSION:
            raise TensorError(f"version {version} of the .npy format; only {_VERSION} is read")
        shape, is_fortran, dtype = npy_format.read_array_header_1_0(buffer)
    except ValueError as error:
        raise TensorError(f"not a .npy file: {error}") from error
    datatype = datatype_of(dtype)
    expected_bytes = tensor_size_bytes(datatype, shape)
    if dtype != DTYPES[datatype] or (is_fortran and math.prod(shape) > 1):
        raise TensorError("a .npy file in a pack must be little-endian and in C order")
    if len(data) - buffer.tell() != expected_bytes:
        raise TensorError(f"{datatype} {list(shape)} takes {expected_bytes} bytes, not {len(data) - buffer.tell()}")
    return np.frombuffer(data, dtype=dtype, offset=buffer.tell()).reshape(shape)
