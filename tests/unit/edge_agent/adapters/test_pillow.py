"""Pixels as the pack takes them; what cannot be decoded is an input fault, and a missing Pillow names the extra."""

import io

import numpy as np
import pytest
from PIL import Image

from edge_agent.adapters.pillow import is_installed, pillow_decoder
from edge_agent.errors import ConfigurationError, InputFault, InputFaultError
from model_packs.manifest import ImageSpec

HEIGHT, WIDTH = 20, 30
GREY, COLOUR = ImageSpec(HEIGHT, WIDTH, "L"), ImageSpec(HEIGHT, WIDTH, "RGB")
decode = pillow_decoder("branch")


def pixels() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Some grey picture."""
    return np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH), np.uint8)


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    """A real file."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def test_pixels_arrive_as_the_pack_declares_them() -> None:
    """PNG without loss; grey for `L`, three values for `RGB`, whatever the file has."""
    grey = Image.fromarray(pixels())
    assert (decode(encoded(grey, "PNG"), GREY) == pixels()).all()
    assert (decode(encoded(grey.convert("RGB"), "PNG"), GREY) == pixels()).all()
    colour = decode(encoded(grey, "PNG"), COLOUR)
    assert colour.shape == COLOUR.shape
    assert colour.dtype == np.dtype("u1")
    assert (colour == pixels()[:, :, None]).all()
    assert decode(encoded(grey.convert("P"), "PNG"), COLOUR).shape == COLOUR.shape
    jpeg = decode(encoded(grey, "JPEG", quality=95), GREY)
    assert np.abs(jpeg.astype(int) - pixels()).mean() < 8


@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
def test_a_truncated_file_is_damaged(image_format: str) -> None:
    """Wherever it ends: never half a picture."""
    whole = encoded(Image.fromarray(pixels()), image_format)
    for length in (10, len(whole) // 2, len(whole) - 60):
        with pytest.raises(InputFaultError, match="truncated or corrupt") as caught:
            decode(whole[:length], GREY)
        assert caught.value.reason is InputFault.DAMAGED


def test_corrupt_pixels_are_damaged() -> None:
    """A PNG says so by its checksums."""
    whole = bytearray(encoded(Image.fromarray(pixels()), "PNG"))
    whole[len(whole) // 2] ^= 0xFF
    with pytest.raises(InputFaultError, match="truncated or corrupt"):
        decode(bytes(whole), GREY)


def test_another_size_inside_is_never_decoded() -> None:
    """Whatever the header check was made to believe."""
    with pytest.raises(InputFaultError, match=r"\(40, 20\) pixels inside"):
        decode(encoded(Image.new("L", (40, 20)), "PNG"), GREY)


def test_other_formats_are_not_even_tried() -> None:
    """Pillow's other readers are strangers' ways in."""
    with pytest.raises(InputFaultError):
        decode(encoded(Image.new("L", (WIDTH, HEIGHT)), "GIF"), GREY)


def test_without_pillow_the_start_names_the_extra() -> None:
    """And the binding that needs it."""
    assert is_installed()
    with pytest.raises(ConfigurationError, match="binding 'branch': codec \"image\" needs Pillow") as caught:
        pillow_decoder("branch", lambda _: None)
    assert caught.value.mend == "pip install 'tandem-edge[image]'"
