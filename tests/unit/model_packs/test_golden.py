"""Golden arrays: deterministic bytes, read without trust."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from model_packs.errors import TensorError
from model_packs.golden import read_npy, write_npy

DTYPES = st.sampled_from(("<f4", "<i8", "?")).map(np.dtype)


@given(npst.arrays(DTYPES, npst.array_shapes(min_side=0)))
def test_arrays_survive_the_round_trip(array: NDArray[Any]) -> None:
    """Read back they are the same bytes, and NumPy reads them, too."""
    data = write_npy(array)
    assert read_npy(data).tobytes() == array.tobytes()
    assert np.load(io.BytesIO(data)).shape == array.shape


def npy(array: NDArray[Any]) -> bytes:
    """Write an array with NumPy itself."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a .npy file"),
        (npy(np.zeros(3))[:-1], "takes 24 bytes, not 23"),
        (npy(np.zeros(3)) + b"x", "takes 24 bytes, not 25"),
        (npy(np.array([object()])), "BYTES have no one size"),
        (npy(np.zeros(3, ">f4")), "little-endian"),
        (npy(np.zeros((3, 2)).T), "C order"),
        (npy(np.zeros(9)).replace(b"(9,)", b"(9999999999999,)".ljust(4))[:128], "not a .npy file|at most|takes"),
    ],
)
def test_what_is_no_plain_array_is_refused(data: bytes, message: str) -> None:
    """Pickles, foreign byte orders, and headers that lie about the size never reach an allocation."""
    with pytest.raises(TensorError, match=message):
        read_npy(data)
