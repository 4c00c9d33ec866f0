"""Owns tensors at rest and on the wire: raw little-endian bytes with a datatype and a shape, and what a model declares.

Names and datatypes are those of the Open Inference Protocol v2. Messages around tensors belong to `protos`.
"""

import json
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_packs.digests import Digest, digest_of
from model_packs.errors import TensorError

DYNAMIC: Final = -1
"""A dimension whose size a spec leaves open (the batch)."""

MAX_TENSOR_BYTES: Final = 64 << 20
MAX_DIMENSIONS: Final = 8
MAX_NAME_CHARS: Final = 128
MAX_ELEMENTS: Final = 1 << 20
"""Most elements of a `BYTES` tensor: each becomes an object."""

DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""Open Inference Protocol datatype to little-endian NumPy dtype, for elements of one size."""

BYTES: Final = "BYTES"
"""The datatype of texts and files: elements of any length, in NumPy an array of `bytes` objects.

In raw form each element is its length (4 bytes, little-endian) and its bytes (Triton's binary tensor data extension).
"""

DATATYPES: Final = (*DTYPES, BYTES)
"""Every datatype that a tensor may have."""

_LENGTH_BYTES: Final = 4
_TOO_MUCH: Final = f"a {BYTES} tensor has at most {MAX_ELEMENTS} elements and {MAX_TENSOR_BYTES} bytes"
_OBJECT = np.dtype(object)
_NAMES = {**{dtype: name for name, dtype in DTYPES.items()}, _OBJECT: BYTES}


def datatype_of(dtype: np.dtype[Any]) -> str:
    """Name a NumPy dtype as the Open Inference Protocol does.

    Args:
        dtype: Any byte order.

    Returns:
        The datatype, e.g. `FP32`; `BYTES` for objects.

    Raises:
        TensorError: The protocol has no such type (complex, text of one length).
    """
    name = _NAMES.get(dtype.newbyteorder("<"))
    if name is None:
        raise TensorError(f"no tensor datatype for NumPy's {dtype}; use one of {', '.join(DATATYPES)}")
    return name


def dtype_of(datatype: str) -> np.dtype[Any]:
    """Name the NumPy dtype of a datatype.

    Args:
        datatype: Open Inference Protocol datatype.

    Returns:
        The little-endian dtype; `object` for `BYTES`.

    Raises:
        TensorError: Unknown datatype.
    """
    dtype = _OBJECT if datatype == BYTES else DTYPES.get(datatype)
    if dtype is None:
        raise TensorError(f"unknown datatype {datatype[:20]!r}; use one of {', '.join(DATATYPES)}")
    return dtype


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a model declares about one input or output.

    Attributes:
        name: Tensor name in the graph.
        datatype: Open Inference Protocol datatype.
        shape: Sizes by axis; `DYNAMIC` (-1) leaves one open.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    def mismatch(self, datatype: str, shape: tuple[int, ...]) -> str | None:
        """Compare a tensor with the declaration.

        Args:
            datatype: The tensor's datatype.
            shape: The tensor's shape, all sizes known.

        Returns:
            What differs, for a person; None if it fits.
        """
        if (
            datatype == self.datatype
            and len(shape) == len(self.shape)
            and all(want in (DYNAMIC, size) for want, size in zip(self.shape, shape, strict=True))
        ):
            return None
        return f"tensor {self.name!r} must be {self.datatype} {list(self.shape)}, not {datatype[:20]} {list(shape)}"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor's value.

    Attributes:
        name: Tensor name.
        datatype: Open Inference Protocol datatype.
        shape: Sizes by axis.
        data: Raw little-endian bytes, C order.

    Raises:
        TensorError: On construction, when the parts do not fit each other or exceed a cap. Sizes are checked by
            arithmetic; nothing is allocated.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > MAX_NAME_CHARS:
            raise TensorError(f"a tensor's name has 1 to {MAX_NAME_CHARS} characters, not {len(self.name)}")
        if self.datatype == BYTES:
            elements_from_raw(self.data, self.shape)
            return
        size_bytes = tensor_size_bytes(self.datatype, self.shape)
        if len(self.data) != size_bytes:
            form = f"{self.datatype} {list(self.shape)}"
            raise TensorError(f"tensor {self.name!r}: {form} takes {size_bytes} bytes, not {len(self.data)}")

    @classmethod
    def from_array(cls, name: str, array: NDArray[Any]) -> "Tensor":
        """Copy an array into a tensor.

        Args:
            name: Tensor name.
            array: Any layout and byte order.

        Returns:
            The tensor; it shares nothing with the array.

        Raises:
            TensorError: The dtype has no datatype, an object is neither bytes nor text, or a cap is exceeded.
        """
        datatype = datatype_of(array.dtype)
        if datatype == BYTES:
            return cls(name, BYTES, tuple(array.shape), raw_from_elements(array.ravel().tolist()))
        tensor_size_bytes(datatype, array.shape)
        data = np.ascontiguousarray(array, dtype=DTYPES[datatype]).tobytes()
        return cls(name, datatype, tuple(array.shape), data)

    def to_array(self) -> NDArray[Any]:
        """View the bytes as an array.

        Returns:
            A read-only array over the tensor's own bytes, shape as declared, C order; `BYTES`: new `bytes` objects.
        """
        if self.datatype == BYTES:
            return elements_from_raw(self.data, self.shape)
        return np.frombuffer(self.data, dtype=DTYPES[self.datatype]).reshape(self.shape)

    def digest(self) -> Digest:
        """Digest name, datatype, shape and bytes, so that equal digests mean equal tensors.

        Returns:
            The digest.
        """
        head = json.dumps([self.name, self.datatype, list(self.shape)], separators=(",", ":")).encode()
        return digest_of(head + b"\0" + self.data)


def tensor_size_bytes(datatype: str, shape: tuple[int, ...]) -> int:
    """Compute how many bytes a tensor takes, before anything is allocated for it.

    Args:
        datatype: Open Inference Protocol datatype.
        shape: Sizes by axis, from a peer or a file.

    Returns:
        The exact size.

    Raises:
        TensorError: Unknown datatype, one whose elements have no one size (`BYTES`), a negative size, too many axes, or
            more than `MAX_TENSOR_BYTES`.
    """
    dtype = dtype_of(datatype)
    if dtype == _OBJECT:
        raise TensorError(f"elements of {BYTES} have no one size; use one of {', '.join(DTYPES)}")
    size_bytes = _n_elements(shape) * dtype.itemsize
    if size_bytes > MAX_TENSOR_BYTES:
        raise TensorError(
            f"a tensor takes at most {MAX_TENSOR_BYTES} bytes; {datatype} {list(shape)} takes {size_bytes}"
        )
    return size_bytes


def raw_from_elements(elements: Iterable[object]) -> bytes:
    """Write the elements of a `BYTES` tensor in raw form.

    Args:
        elements: In row-major order, each `bytes`, or text that becomes UTF-8.

    Returns:
        Length and bytes of each.

    Raises:
        TensorError: An element is something else, or they exceed a cap.
    """
    parts: list[bytes] = []
    size_bytes = 0
    for element in elements:
        data = element.encode() if isinstance(element, str) else element
        if not isinstance(data, bytes):
            raise TensorError(f"an element of {BYTES} is bytes or text, not {type(element).__name__}")
        size_bytes += _LENGTH_BYTES + len(data)
        parts += (len(data).to_bytes(_LENGTH_BYTES, "little"), data)
        if size_bytes > MAX_TENSOR_BYTES or len(parts) > 2 * MAX_ELEMENTS:
            raise TensorError(_TOO_MUCH)
    return b"".join(parts)


def elements_from_raw(data: bytes | memoryview, shape: tuple[int, ...]) -> NDArray[Any]:
    """Read a `BYTES` tensor in raw form.

    Args:
        data: Length and bytes of each element, from a peer.
        shape: Sizes by axis, from a peer.

    Returns:
        A new array of `bytes` objects.

    Raises:
        TensorError: The lengths do not fit the data, there are more or fewer elements than the shape says, or a cap is
            exceeded; nothing was allocated for what only the shape claims.
    """
    n_elements = _n_elements(shape)
    if len(data) > MAX_TENSOR_BYTES or n_elements > MAX_ELEMENTS:
        raise TensorError(_TOO_MUCH)
    elements: list[bytes] = []
    at = 0
    while at < len(data) and len(elements) < n_elements:
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(data[at:start], "little")
        if at > len(data) or start > len(data):
            raise TensorError(f"element {len(elements)} of {BYTES} {list(shape)} goes beyond its {len(data)} bytes")
        elements.append(bytes(data[start:at]))
    if len(elements) != n_elements or at != len(data):
        more = "more than " if at != len(data) else ""
        raise TensorError(f"{BYTES} {list(shape)} takes {n_elements} elements, not {more}{len(elements)}")
    array = np.empty(n_elements, dtype=_OBJECT)
    array[:] = elements
    return array.reshape(shape)


def _n_elements(shape: tuple[int, ...]) -> int:
    """Multiply sizes that a peer or a file gave."""
    if len(shape) > MAX_DIMENSIONS:
        raise TensorError(f"a tensor has at most {MAX_DIMENSIONS} axes, not {len(shape)}")
    if shape and (min(shape) < 0 or max(shape) > sys.maxsize):
        raise TensorError(f"a tensor's sizes must be known and not negative: {list(shape)}")
    return math.prod(shape)
