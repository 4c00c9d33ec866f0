"""Owns how several fields become one short digest; what the digests name is their callers' business."""

import struct
from hashlib import blake2b

_DIGEST_BYTES = 16
_LENGTH = struct.Struct(">cQ").pack


def digest_128(*fields: str | int) -> bytes:
    """Digest fields so that no two different lists of fields share an input.

    Each field is written as its type's letter, its length in bytes (8 bytes, big-endian) and its text in UTF-8.

    Args:
        *fields: Strings and integers, in a fixed order.

    Returns:
        16 bytes (BLAKE2b, RFC 7693).
    """
    pieces: list[bytes] = []
    for field in fields:
        # "surrogatepass": JSON may carry lone surrogates; such a text is odd, not wrong.
        text = str(field).encode("utf-8", "surrogatepass")
        pieces += (_LENGTH(b"s" if isinstance(field, str) else b"i", len(text)), text)
    return blake2b(b"".join(pieces), digest_size=_DIGEST_BYTES).digest()
