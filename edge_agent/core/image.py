"""Owns what an image says of itself before it is decoded: its format, size and colours, and whether a pack takes it.

Only JPEG and PNG, told by their content, never by a name. Everything that could cost memory is refused here, from the
first bytes: the header's size must be the pack's own, so that a small file cannot become a large picture. Decoding the
pixels is an adapter's; its failures are input faults, too.

References: PNG (W3C, third edition) 5.3, 11.2.1, 11.3.3.1; JPEG (ITU-T T.81) B.1.1, B.2.2.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.digests import digest_128
from edge_agent.errors import InputFault, InputFaultError
from model_packs.digests import digest_of
from model_packs.manifest import ImageSpec

DecodeImage = Callable[[bytes, ImageSpec], NDArray[np.uint8]]
"""Decodes a JPEG or PNG whose header was checked: uint8, of `ImageSpec.shape`; raises `InputFaultError`."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_MAX_BITS = 8
_MAX_PARTS = 1000
"""Chunks or segments before the pixels; more is no camera's doing."""

_PNG_COLOURS = {0: "grey", 2: "RGB", 3: "palette"}
_JPEG_COLOURS = {1: "grey", 3: "RGB"}
_CMYK_COMPONENTS = 4
_START_OF_SCAN = 0xDA
_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a frame header (SOF0 to SOF15), without DHT, JPG and DAC among them."""

_WHOLE = "send each picture as one whole JPEG or PNG file"
_PLAIN = "send a grey, RGB or palette picture of 8 bits a channel, without transparency"


@dataclass(frozen=True, slots=True)
class ImagePayload:
    """What a binding declares about its images.

    Attributes:
        image: What its pack takes.
        max_bytes: Largest message.
        key: Captures of the topic that together never repeat; empty: the topic and the message itself.
    """

    image: ImageSpec
    max_bytes: int
    key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """One decoded image: a question by itself.

    Attributes:
        start_ns: When it arrived, Unix epoch, UTC; a picture has no other time.
        values: uint8 [height, width], for RGB [height, width, 3]; owned by the receiver.
        key: 16 bytes that name it among those of its binding.
    """

    partition: str
    start_ns: int
    values: NDArray[np.uint8] = field(repr=False, compare=False)
    key: bytes

    @property
    def identity(self) -> tuple[str | int, ...]:
        """What names it among those of its binding: a picture that comes again has another time, and the same key."""
        return self.partition, self.key.hex()

    @property
    def end_ns(self) -> int:
        """Its start: a picture has no length."""
        return self.start_ns

    @property
    def samples(self) -> int:
        """It is one sample."""
        return 1

    @property
    def fill(self) -> float:
        """It is whole."""
        return 1.0


def image_key(spec: ImagePayload, topic: str, captures: Mapping[str, str], payload: bytes) -> bytes:
    """Name an image among those of its binding.

    Args:
        spec: What the binding declares.
        topic: Where it came from.
        captures: Of that topic.
        payload: The message.

    Returns:
        16 bytes, the same when it comes again.
    """
    if spec.key:
        return digest_128(*(captures[name] for name in spec.key))
    return digest_128(topic, digest_of(payload))


def check_image(payload: bytes, spec: ImagePayload) -> None:
    """Refuse what must not be decoded, from its first bytes.

    Args:
        payload: As received.
        spec: What the binding declares.

    Raises:
        InputFaultError: The sender's fault: it is no picture that the pack takes.
    """
    if len(payload) > spec.max_bytes:
        raise InputFaultError(
            InputFault.TOO_LARGE,
            f"{len(payload)} bytes; at most {spec.max_bytes} are read",
            "send smaller pictures, or raise max_bytes of the binding's payload",
        )
    if not payload:
        raise InputFaultError(InputFault.EMPTY, "an empty message", _WHOLE)
    if payload.startswith(_PNG):
        _check_png(payload, spec.image)
    elif payload.startswith(_JPEG):
        _check_jpeg(payload, spec.image)
    else:
        raise InputFaultError(InputFault.UNKNOWN_FORMAT, "neither JPEG nor PNG by its content", _WHOLE)


def _check_png(payload: bytes, image: ImageSpec) -> None:
    chunks = _png_chunks(payload)
    kind, header = next(chunks, (b"", b""))
    if kind != b"IHDR" or len(header) != 13:  # noqa: PLR2004 - the length of IHDR, PNG 11.2.1
        raise _damaged("a PNG that does not begin with its header")
    bits, colour = header[8], header[9]
    _check_size(height=int.from_bytes(header[4:8], "big"), width=int.from_bytes(header[:4], "big"), image=image)
    _check_bits(bits)
    if colour not in _PNG_COLOURS:
        raise InputFaultError(InputFault.WRONG_COLOUR, f"a PNG of colour type {colour}: it has transparency", _PLAIN)
    for kind, _ in chunks:
        if kind == b"acTL":
            raise InputFaultError(InputFault.ANIMATED, "an animated PNG", "send each picture as a file of its own")
        if kind == b"tRNS":
            raise InputFaultError(InputFault.WRONG_COLOUR, "a PNG with transparency", _PLAIN)


def _png_chunks(payload: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks before the pixels; the header's content, and of the others only that they are there."""
    at = len(_PNG)
    for _ in range(_MAX_PARTS):
        length, kind = int.from_bytes(payload[at : at + 4], "big"), payload[at + 4 : at + 8]
        if kind == b"IDAT":
            return
        if at + 12 + length > len(payload):
            raise _damaged("a PNG that ends before its pixels")
        yield kind, payload[at + 8 : at + 8 + length]
        at += 12 + length
    raise _damaged(f"a PNG with more than {_MAX_PARTS} chunks before its pixels")


def _check_jpeg(payload: bytes, image: ImageSpec) -> None:
    frames = [body for marker, body in _jpeg_segments(payload) if marker in _SIZES]
    if len(frames) != 1 or len(frames[0]) < 6:  # noqa: PLR2004 - up to the number of components, T.81 B.2.2
        raise _damaged("a JPEG without exactly one frame before its pixels")
    (frame,) = frames
    components = frame[5]
    _check_size(height=int.from_bytes(frame[1:3], "big"), width=int.from_bytes(frame[3:5], "big"), image=image)
    _check_bits(frame[0])
    if components not in _JPEG_COLOURS:
        name = "CMYK" if components == _CMYK_COMPONENTS else f"{components} components"
        raise InputFaultError(InputFault.WRONG_COLOUR, f"a JPEG in {name}", _PLAIN)


def _jpeg_segments(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """The segments before the pixels: marker and content."""
    at = 2
    for _ in range(_MAX_PARTS):
        if payload[at : at + 1] != b"\xff":
            break
        marker = payload[at + 1] if at + 1 < len(payload) else 0
        if marker == _START_OF_SCAN:
            return
        if marker == 0xFF:  # noqa: PLR2004 - a fill byte, T.81 B.1.1.2
            at += 1
            continue
        length = int.from_bytes(payload[at + 2 : at + 4], "big")
        if length < 2 or at + 2 + length > len(payload):  # noqa: PLR2004 - a length counts its own two bytes
            break
        yield marker, payload[at + 4 : at + 2 + length]
        at += 2 + length
    raise _damaged("a JPEG that ends, or is garbled, before its pixels")


def _check_size(*, height: int, width: int, image: ImageSpec) -> None:
    if (height, width) != (image.height, image.width):
        raise InputFaultError(
            InputFault.WRONG_SIZE,
            f"{width} x {height} pixels (width x height); the pack takes {image.width} x {image.height}",
            "cut or scale pictures to the pack's size before sending",
        )


def _check_bits(bits: int) -> None:
    if not 1 <= bits <= _MAX_BITS:
        raise InputFaultError(InputFault.WRONG_DEPTH, f"{bits} bits a channel; at most {_MAX_BITS} are read", _PLAIN)


def _damaged(what: str) -> InputFaultError:
    return InputFaultError(InputFault.DAMAGED, what, _WHOLE)
