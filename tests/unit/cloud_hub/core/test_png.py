"""What a model got is shown pixel by pixel: another library reads the same picture back."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cloud_hub.core.png import encoded, is_picture


@pytest.mark.parametrize("shape", [(28, 28), (1, 1), (3, 7), (28, 28, 3), (2, 5, 3)])
def test_a_picture_is_read_back_as_it_was(shape: tuple[int, ...]) -> None:
    """Grey and RGB pixels come back exactly, with the right mode."""
    pixels: NDArray[np.uint8] = np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)
    with Image.open(io.BytesIO(encoded(pixels))) as image:
        assert image.mode == ("RGB" if len(shape) == 3 else "L")
        assert np.array_equal(np.asarray(image), pixels)


def test_pixels_that_do_not_lie_one_after_the_other_are_written_alike() -> None:
    """A view with steps gives the same file as its copy."""
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)[::2, ::2]
    assert encoded(pixels) == encoded(pixels.copy())


@pytest.mark.parametrize(
    ("shape", "datatype", "expected"),
    [
        ((1, 28, 28), "UINT8", True),
        ((1, 28, 28, 3), "UINT8", True),
        ((1, 28, 28, 4), "UINT8", False),
        ((2, 28, 28), "UINT8", False),
        ((1, 28), "UINT8", False),
        ((1, 0, 28), "UINT8", False),
        ((1, 28, 28), "FP32", False),
        ((1, 2, 2, 3, 1), "UINT8", False),
    ],
)
def test_only_one_image_of_bytes_is_a_picture(shape: tuple[int, ...], datatype: str, expected: bool) -> None:  # noqa: FBT001 - a row of the table
    """Windows of samples, several images and floats are none."""
    assert is_picture(shape, datatype) is expected
