"""Owns content digests: `sha256:` and 64 hexadecimal digits, the one form used in packs, blobs and messages."""

import hashlib
import re
from pathlib import Path
from typing import NewType

Digest = NewType("Digest", str)
"""A digest in the form `sha256:<64 hex digits>`."""

PATTERN = r"sha256:[0-9a-f]{64}"

_FULL = re.compile(PATTERN)
_CHUNK_BYTES = 1 << 20


def digest_of(data: bytes) -> Digest:
    """Digest bytes.

    Args:
        data: The bytes.

    Returns:
        Their digest.
    """
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def digest_of_file(path: Path) -> Digest:
    """Digest a file in constant memory.

    Args:
        path: The file.

    Returns:
        Its content's digest.

    Raises:
        OSError: It cannot be read.
    """
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            hasher.update(chunk)
    return Digest("sha256:" + hasher.hexdigest())


def parse_digest(text: str) -> Digest:
    """Check a digest's form.

    Args:
        text: What should be a digest.

    Returns:
        The same text.

    Raises:
        ValueError: It has another form; another algorithm, too, is refused.
    """
    if not _FULL.fullmatch(text):
        raise ValueError(f"not a digest of the form sha256:<64 hex digits>: {text[:80]!r}")
    return Digest(text)


def hex_of(digest: Digest) -> str:
    """Take the hexadecimal part, e.g. for a file name.

    Args:
        digest: A digest.

    Returns:
        Its 64 digits.
    """
    return digest.partition(":")[2]
