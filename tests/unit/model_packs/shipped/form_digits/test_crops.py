"""A digit through JPEG and back."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_packs.shipped.form_digits import crops


def a_stroke() -> NDArray[np.uint8]:
    """A soft vertical stroke, 28 x 28."""
    columns = np.exp(-(((np.arange(28) - 13.0) / 3.0) ** 2))
    return np.tile((255 * columns).astype(np.uint8), (28, 1))


def test_a_crop_is_a_small_grey_jpeg() -> None:
    """Any decoder finds a grey JPEG of the image's size, some hundred bytes long."""
    data = crops.jpeg(a_stroke())

    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "L", (28, 28))
    assert len(data) < 1500


def test_what_comes_back_looks_the_same() -> None:
    """The decoded pixels are near the image, an array of their own, and the same every time."""
    image = a_stroke()

    seen = crops.pixels(crops.jpeg(image))

    assert (seen.shape, seen.dtype) == ((28, 28), np.dtype(np.uint8))
    assert np.abs(seen.astype(int) - image).max() <= 8
    assert seen.flags.writeable
    assert np.array_equal(seen, crops.pixels(crops.jpeg(image)))


def test_many_are_seen_as_each_is_seen() -> None:
    """A stack gives each image's own pixels, in order; an empty one stays empty."""
    images = np.array([a_stroke(), np.zeros((28, 28), np.uint8), a_stroke().T])

    seen = crops.as_seen(images)

    assert seen.shape == images.shape
    assert all(
        np.array_equal(found, crops.pixels(crops.jpeg(image))) for found, image in zip(seen, images, strict=True)
    )
    assert crops.as_seen(images[:0]).shape == (0, 28, 28)
