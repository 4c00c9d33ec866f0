"""Owns tensors at rest and on the wire: raw little-endian bytes with a datatype and a shape, and what a model declares.

Names and datatypes are those of the Open Inference Protocol v2. Messages around tensors belong to `protos`.
"""

import json
import math
import sys
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
"""Open Inference Protocol datatype to little-endian NumPy dtype."""

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def datatype_of(dtype: np.dtype[Any]) -> str:
    """Name a NumPy dtype as the Open Inference Protocol does.

    Args:
        dtype: Any byte order.

    Returns:
        The datatype, e.g. `FP32`.

    Raises:
        TensorError: The protocol has no such type (complex, object, text).
    """
    name = _NAMES.get(dtype.newbyteorder("<"))
    if name is None:
        raise TensorError(f"no tensor datatype for NumPy's {dtype}; use one of {', '.join(DTYPES)}")
    return name


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
        if datatype != self.datatype:
            return f"tensor {self.name!r} must be {self.datatype}, not {datatype}"
        if len(shape) != len(self.shape) or any(
            want not in (DYNAMIC, size) for want, size in zip(self.shape, shape, strict=True)
        ):
            return f"tensor {self.name!r} must have the shape {list(self.shape)}, not {list(shape)}"
        return None


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
            TensorError: The dtype has no datatype, or a cap is exceeded.
        """
        datatype = datatype_of(array.dtype)
        tensor_size_bytes(datatype, array.shape)
        data = np.ascontiguousarray(array, dtype=DTYPES[datatype]).tobytes()
        return cls(name, datatype, tuple(array.shape), data)

    def to_array(self) -> NDArray[Any]:
        """View the bytes as an array.

        Returns:
            A read-only array over the tensor's own bytes, shape as declared, C order.
        """
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
        TensorError: Unknown datatype, a negative size, too many axes, or more than `MAX_TENSOR_BYTES`.
    """
    dtype = DTYPES.get(datatype)
    if dtype is None:
        raise TensorError(f"unknown datatype {datatype[:20]!r}; use one of {', '.join(DTYPES)}")
    if len(shape) > MAX_DIMENSIONS:
        raise TensorError(f"a tensor has at most {MAX_DIMENSIONS} axes, not {len(shape)}")
    if any(size < 0 or size > sys.maxsize for size in shape):
        raise TensorError(f"a tensor's sizes must be known and not negative: {list(shape)}")
    size_bytes = math.prod(shape) * dtype.itemsize
    if size_bytes > MAX_TENSOR_BYTES:
        raise TensorError(
            f"a tensor takes at most {MAX_TENSOR_BYTES} bytes; {datatype} {list(shape)} takes {size_bytes}"
        )
    return size_bytes
