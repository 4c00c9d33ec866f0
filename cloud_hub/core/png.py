"""Owns pictures as PNG (W3C, Portable Network Graphics, third edition): grey or RGB, eight bits, no filter.

Enough to show what a model got, pixel by pixel; the hub needs no picture library for it.
"""

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BIT_DEPTH = 8
_GREY, _RGB = 0, 2
_RGB_AXES = 3


def is_picture(shape: tuple[int, ...], datatype: str) -> bool:
    """Say whether a case's tensor can be shown as a picture.

    Args:
        shape: Batch axis included.
        datatype: Open Inference Protocol datatype.

    Returns:
        True for UINT8 (1, height, width) and (1, height, width, 3).
    """
    is_one = len(shape) in (3, 4) and shape[0] == 1 and min(shape) >= 1
    return datatype == "UINT8" and is_one and (len(shape) == _RGB_AXES or shape[3] == _RGB_AXES)


def encoded(pixels: NDArray[np.uint8]) -> bytes:
    """Write a picture.

    Args:
        pixels: uint8, (height, width) grey or (height, width, 3) red, green, blue.

    Returns:
        A PNG file.
    """
    height, width = pixels.shape[:2]
    colour = _RGB if pixels.ndim == _RGB_AXES else _GREY
    rows: NDArray[Any] = np.ascontiguousarray(pixels).reshape(height, -1)
    unfiltered = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, _BIT_DEPTH, colour, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(unfiltered)), _chunk(b"IEND", b""))
    return _SIGNATURE + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
