"""Owns decoding the pixels of a JPEG or PNG with Pillow (the extra `image`); imported only where a binding needs it.

What may be decoded at all was decided from the header (`core/image.py`). A Pillow object never leaves this module.
"""

import importlib.util
import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.image import DecodeImage
from edge_agent.errors import ConfigurationError, InputFault, InputFaultError
from model_packs.manifest import ImageSpec

INSTALL = "pip install 'tandem-edge[image]'"

_FORMATS = ("JPEG", "PNG")


def is_installed(find: Callable[[str], object] = importlib.util.find_spec) -> bool:
    """Whether Pillow is here.

    Args:
        find: Finds a module by name; tests pass their own.
    """
    return find("PIL") is not None


def pillow_decoder(binding: str, find: Callable[[str], object] = importlib.util.find_spec) -> DecodeImage:
    """Load Pillow.

    Args:
        binding: Who needs it, for people.
        find: As for `is_installed`.

    Returns:
        The decoder.

    Raises:
        ConfigurationError: Pillow is not installed; the mend names the extra.
    """
    if not is_installed(find):
        problem = f'binding {binding!r}: codec "image" needs Pillow, which is not installed'
        raise ConfigurationError((problem,), INSTALL)
    from PIL import Image  # noqa: PLC0415 - an optional dependency: without a binding of images it is never loaded

    def decode(payload: bytes, image: ImageSpec) -> NDArray[np.uint8]:
        try:
            with Image.open(io.BytesIO(payload), formats=_FORMATS) as opened:
                if opened.size != (image.width, image.height):
                    raise ValueError(f"{opened.size} pixels inside")  # noqa: TRY301 - what the header hid
                values = np.array(opened.convert(image.mode), np.uint8)
        except Exception as error:  # decoding a stranger's bytes: Pillow raises almost anything
            detail = f"its pixels cannot be decoded (truncated or corrupt): {error}"
            mend = "send each picture as one whole JPEG or PNG file"
            raise InputFaultError(InputFault.DAMAGED, detail, mend) from error
        return values

    return decode
