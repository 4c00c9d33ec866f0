"""Tensors: bytes, shape and datatype belong together, and sizes are checked before memory is taken."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from model_packs.errors import TensorError
from model_packs.tensors import DTYPES, MAX_TENSOR_BYTES, Tensor, TensorSpec

ARRAYS = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda name: npst.arrays(DTYPES[name], npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)


@given(ARRAYS)
def test_arrays_survive_the_round_trip(array: NDArray[Any]) -> None:
    """Every datatype and shape comes back bit by bit, read-only."""
    back = Tensor.from_array("x", array).to_array()
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()
    assert not back.flags.writeable


def test_any_layout_and_byte_order_becomes_little_endian_in_c_order() -> None:
    """A big-endian, transposed array is copied into the one form."""
    array = np.arange(6, dtype=">f4").reshape(2, 3).T
    tensor = Tensor.from_array("x", array)
    assert (tensor.datatype, tensor.shape) == ("FP32", (3, 2))
    assert tensor.data == np.array([0, 3, 1, 4, 2, 5], "<f4").tobytes()


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "message"),
    [
        ("FP32", (2,), b"\0" * 7, r"takes 8 bytes, not 7"),
        ("FP31", (2,), b"", "unknown datatype"),
        ("FP32", (-1,), b"", "must be known and not negative"),
        ("FP32", (1,) * 9, b"\0" * 4, "at most 8 axes"),
        ("FP32", (1 << 20, 1 << 20, 1 << 20), b"", f"at most {MAX_TENSOR_BYTES} bytes"),
        ("UINT8", (0, 1 << 62), b"x", "takes 0 bytes"),
    ],
)
def test_parts_that_do_not_fit_are_refused(datatype: str, shape: tuple[int, ...], data: bytes, message: str) -> None:
    """Wrong lengths, unknown types and absurd sizes fail by arithmetic, without memory."""
    with pytest.raises(TensorError, match=message):
        Tensor("x", datatype, shape, data)


def test_a_dtype_without_a_datatype_is_refused() -> None:
    """Complex numbers have no form here."""
    with pytest.raises(TensorError, match="complex64"):
        Tensor.from_array("x", np.zeros(2, np.complex64))


def test_the_digest_covers_name_datatype_shape_and_bytes() -> None:
    """Tensors that differ in any one of them have different digests; equal ones have equal digests."""
    zeros = np.zeros((2, 2), np.float32)
    tensors = [
        Tensor.from_array("x", zeros),
        Tensor.from_array("y", zeros),
        Tensor.from_array("x", zeros.reshape(4, 1)),
        Tensor.from_array("x", zeros.astype(np.int32)),
        Tensor.from_array("x", zeros + 1),
    ]
    assert len({tensor.digest() for tensor in tensors}) == len(tensors)
    assert tensors[0].digest() == Tensor.from_array("x", zeros).digest()


def test_a_spec_says_what_does_not_fit() -> None:
    """An open axis takes any size; rank, size and datatype are named when they differ."""
    spec = TensorSpec("window", "FP32", (-1, 50, 6))
    assert spec.mismatch("FP32", (7, 50, 6)) is None
    assert "tensor 'window' must be FP32 [-1, 50, 6], not FP32 [7, 50]" in str(spec.mismatch("FP32", (7, 50)))
    assert "not FP32 [7, 6, 50]" in str(spec.mismatch("FP32", (7, 6, 50)))
    assert "must be FP32 [-1, 50, 6], not FP64 [7, 50, 6]" in str(spec.mismatch("FP64", (7, 50, 6)))


@given(st.lists(st.binary(max_size=9), max_size=6))
def test_elements_of_any_length_survive_the_round_trip(elements: list[bytes]) -> None:
    """Bytes come back as they were, empty ones and none at all included."""
    array = np.empty((1, len(elements)), dtype=object)
    array[0, :] = elements
    tensor = Tensor.from_array("x", array)
    assert (tensor.datatype, tensor.shape) == ("BYTES", (1, len(elements)))
    assert tensor.to_array().tolist() == [elements]


def test_text_travels_as_utf_8() -> None:
    """A text element becomes its UTF-8 bytes behind their number."""
    assert Tensor.from_array("x", np.array(["grün"], dtype=object)).data == b"\x05\0\0\0gr\xc3\xbcn"


@pytest.mark.parametrize(
    ("shape", "data", "message"),
    [
        ((1,), b"\x02\0\0\0a", "element 0 of BYTES .* beyond its 5 bytes"),
        ((1,), b"\x02\0", "element 0 of BYTES .* beyond its 2 bytes"),
        ((1,), b"\xff\xff\xff\xffa", "element 0 of BYTES .* beyond its 5 bytes"),
        ((2,), b"\x01\0\0\0a", "takes 2 elements, not 1"),
        ((1,), b"\x01\0\0\0a" * 2, "takes 1 elements, not more than 1"),
        ((0,), b"a", "takes 0 elements, not more than 0"),
        ((1 << 40,), b"", "at most 1048576 elements"),
        ((-1,), b"", "must be known and not negative"),
    ],
)
def test_elements_that_do_not_fit_are_refused(shape: tuple[int, ...], data: bytes, message: str) -> None:
    """Lengths beyond the data, wrong numbers and absurd claims fail before memory is taken for them."""
    with pytest.raises(TensorError, match=message):
        Tensor("x", "BYTES", shape, data)


def test_an_object_that_is_no_bytes_is_refused() -> None:
    """An array of objects is a tensor only if they are bytes or texts."""
    with pytest.raises(TensorError, match="bytes or text, not int"):
        Tensor.from_array("x", np.array([1], dtype=object))
