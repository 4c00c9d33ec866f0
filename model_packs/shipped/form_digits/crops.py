"""A digit as it travels to a device: a JPEG, and the pixels that come out of it.

Owns the encoding that the family's training, certificate and figures are stated for: grey, one fixed quality. A device
decodes with Pillow as well, so the pixels here are the pixels there. Needs the extra `image` (Pillow).
"""

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUALITY: Final = 85


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """Encode one digit as a scanner would send it.

    Args:
        image: uint8 [height, width], grey values.

    Returns:
        The JPEG file.
    """
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def pixels(data: bytes) -> NDArray[np.uint8]:
    """Decode one crop.

    Args:
        data: From `jpeg`.

    Returns:
        uint8 [height, width], grey values; a copy that the caller owns.
    """
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return np.array(image.convert("L"))


def as_seen(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What a device sees of digits: each through JPEG and back.

    Args:
        images: uint8 [n, height, width].

    Returns:
        uint8 [n, height, width], a copy that the caller owns.
    """
    return np.array([pixels(jpeg(image)) for image in images], dtype=np.uint8).reshape(images.shape)
