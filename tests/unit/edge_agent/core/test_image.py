"""What an image says of itself decides whether it is decoded at all; every way to be wrong has a name."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from edge_agent.core.image import ImagePayload, Picture, check_image, image_key
from edge_agent.core.prediction import prediction_id
from edge_agent.errors import InputFault, InputFaultError
from model_packs.manifest import ImageSpec

HEIGHT, WIDTH = 4, 6
SPEC = ImagePayload(ImageSpec(HEIGHT, WIDTH, "L"), max_bytes=4096, key=("form", "field"))


def picture(mode: str, image_format: str, size: tuple[int, int] = (WIDTH, HEIGHT), **options: object) -> bytes:
    """A real file of one colour."""
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, image_format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: bytes, bits: int = 8, colour: int = 0, width: int = WIDTH) -> bytes:
    """A PNG up to its pixels, with these chunks before them."""
    header = struct.pack(">IIBBBBB", width, HEIGHT, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IDAT")


def segment(marker: int, body: bytes) -> bytes:
    """One segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def frame(components: int = 1, bits: int = 8, width: int = WIDTH) -> bytes:
    """A JPEG's frame header."""
    return segment(0xC0, struct.pack(">BHHB", bits, HEIGHT, width, components) + bytes(3 * components))


def jpeg(*segments: bytes) -> bytes:
    """A JPEG up to its pixels, with these segments before them."""
    return b"\xff\xd8" + b"".join(segments) + b"\xff\xda"


def fault_of(payload: bytes, spec: ImagePayload = SPEC) -> tuple[InputFault, str]:
    """Why it is refused."""
    with pytest.raises(InputFaultError) as caught:
        check_image(payload, spec)
    assert caught.value.mend
    return caught.value.reason, caught.value.message


@pytest.mark.parametrize(
    "payload",
    [
        picture("L", "PNG"),
        picture("RGB", "PNG"),
        picture("P", "PNG"),
        picture("1", "PNG"),
        picture("L", "JPEG"),
        picture("RGB", "JPEG", progressive=True),
        jpeg(b"\xff" * 5, segment(0xE0, b"JFIF"), frame()),
        png(chunk(b"tEXt", b"a\0b")),
    ],
)
def test_grey_colour_and_palette_pictures_of_the_packs_size_are_taken(payload: bytes) -> None:
    """JPEG and PNG, whatever stands between their header and their pixels."""
    check_image(payload, SPEC)


@pytest.mark.parametrize(
    ("payload", "reason", "words"),
    [
        (b"", InputFault.EMPTY, "an empty message"),
        (bytes(5000), InputFault.TOO_LARGE, "5000 bytes; at most 4096 are read"),
        (b"GIF89a", InputFault.UNKNOWN_FORMAT, "neither JPEG nor PNG"),
        (picture("L", "BMP"), InputFault.UNKNOWN_FORMAT, "neither JPEG nor PNG"),
        (
            picture("L", "PNG", (28, 28)),
            InputFault.WRONG_SIZE,
            r"28 x 28 pixels (width x height); the pack takes 6 x 4",
        ),
        (picture("L", "JPEG", (WIDTH, 5)), InputFault.WRONG_SIZE, "6 x 5 pixels"),
        (png(width=2**31 - 1), InputFault.WRONG_SIZE, "2147483647 x 4 pixels"),
        (jpeg(frame(width=0)), InputFault.WRONG_SIZE, "0 x 4 pixels"),
        (picture("I;16", "PNG"), InputFault.WRONG_DEPTH, "16 bits a channel"),
        (jpeg(frame(bits=12)), InputFault.WRONG_DEPTH, "12 bits a channel"),
        (png(bits=0), InputFault.WRONG_DEPTH, "0 bits a channel"),
        (picture("CMYK", "JPEG"), InputFault.WRONG_COLOUR, "a JPEG in CMYK"),
        (jpeg(frame(components=2)), InputFault.WRONG_COLOUR, "a JPEG in 2 components"),
        (picture("RGBA", "PNG"), InputFault.WRONG_COLOUR, "colour type 6: it has transparency"),
        (picture("LA", "PNG"), InputFault.WRONG_COLOUR, "colour type 4: it has transparency"),
        (picture("P", "PNG", transparency=0), InputFault.WRONG_COLOUR, "a PNG with transparency"),
        (
            picture("L", "PNG", save_all=True, append_images=[Image.new("L", (WIDTH, HEIGHT), 9)]),
            InputFault.ANIMATED,
            "an animated PNG",
        ),
        (picture("L", "PNG")[:20], InputFault.DAMAGED, "ends before its pixels"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT"), InputFault.DAMAGED, "does not begin with its header"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"short"), InputFault.DAMAGED, "does not begin with its header"),
        (png(*[chunk(b"tEXt")] * 1000), InputFault.TOO_LARGE, "at most 4096"),
        (picture("L", "JPEG")[:30], InputFault.DAMAGED, "ends, or is garbled"),
        (b"\xff\xd8\xff", InputFault.DAMAGED, "ends, or is garbled"),
        (jpeg(b"\xff\xe0\x00\x01", frame()), InputFault.DAMAGED, "ends, or is garbled"),
        (jpeg(b"garbage"), InputFault.UNKNOWN_FORMAT, "neither JPEG nor PNG"),
        (jpeg(frame(), b"garbage"), InputFault.DAMAGED, "ends, or is garbled"),
        (jpeg(), InputFault.DAMAGED, "without exactly one frame"),
        (jpeg(frame(), frame(width=60000)), InputFault.DAMAGED, "without exactly one frame"),
        (jpeg(segment(0xC0, b"ab")), InputFault.DAMAGED, "without exactly one frame"),
    ],
)
def test_every_wrong_picture_is_refused_by_name(payload: bytes, reason: InputFault, words: str) -> None:
    """From its first bytes, with the mend, before anything is decoded."""
    found, message = fault_of(payload)
    assert found is reason
    assert words in message


def test_a_file_of_nothing_but_chunks_is_not_walked_for_ever() -> None:
    """The parts before the pixels are bounded, for both formats."""
    roomy = ImagePayload(SPEC.image, 1 << 20, SPEC.key)
    assert fault_of(png(*[chunk(b"tEXt")] * 1000), roomy)[0] is InputFault.DAMAGED
    assert fault_of(jpeg(*[segment(0xE0, b"")] * 1001), roomy)[0] is InputFault.DAMAGED


def test_the_key_is_the_captures_or_else_the_topic_and_the_content() -> None:
    """Only what makes a picture another one changes its key."""
    captures = {"form": "7", "field": "iban", "camera": "a"}
    key = image_key(SPEC, "b/7/iban/a", captures, b"one")
    assert key == image_key(SPEC, "b/7/iban/b", {**captures, "camera": "b"}, b"two")
    assert key != image_key(SPEC, "b/7/name/a", {**captures, "field": "name"}, b"one")
    unkeyed = ImagePayload(SPEC.image, 4096, ())
    assert image_key(unkeyed, "b/7", {}, b"one") == image_key(unkeyed, "b/7", {}, b"one")
    assert image_key(unkeyed, "b/7", {}, b"one") != image_key(unkeyed, "b/8", {}, b"one")
    assert image_key(unkeyed, "b/7", {}, b"one") != image_key(unkeyed, "b/7", {}, b"two")


def test_a_picture_that_comes_again_has_the_same_prediction_id() -> None:
    """Its time of arrival is in the event, and not in its name."""
    first = Picture("p", 1_000, np.zeros((HEIGHT, WIDTH), np.uint8), b"k" * 16)
    again = Picture("p", 2_000, np.zeros((HEIGHT, WIDTH), np.uint8), b"k" * 16)
    other = Picture("p", 1_000, np.zeros((HEIGHT, WIDTH), np.uint8), b"l" * 16)
    names = [prediction_id("device", "binding", *one.identity) for one in (first, again, other)]
    assert names[0] == names[1] != names[2]
    assert (first.start_ns, first.end_ns, first.samples, first.fill) == (1_000, 1_000, 1, 1.0)
