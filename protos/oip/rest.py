"""Owns the addresses of the protocol over HTTP, and the parts of a request that are not JSON: compression and headers.

The addresses are those of the Open Inference Protocol's REST form with Triton's extensions. What each does is the
apps'; tensors are `rest_codec.py`.
"""

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final
from urllib.parse import unquote

from protos.codec.errors import CodecError
from protos.oip.methods import MAX_MESSAGE_BYTES

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
"""How many bytes of a body are JSON; binary tensors follow them."""

JSON_TYPE: Final = "application/json"
BINARY_TYPE: Final = "application/octet-stream"

_GZIP_OR_ZLIB: Final = zlib.MAX_WBITS | 32


class Operation(Enum):
    """What an address is for."""

    SERVER_LIVE = auto()
    SERVER_READY = auto()
    SERVER_METADATA = auto()
    MODEL_READY = auto()
    MODEL_METADATA = auto()
    MODEL_CONFIG = auto()
    MODEL_STATISTICS = auto()
    MODEL_INFER = auto()
    REPOSITORY_INDEX = auto()
    REPOSITORY_MODEL_LOAD = auto()
    REPOSITORY_MODEL_UNLOAD = auto()
    SHARED_MEMORY_STATUS = auto()
    SHARED_MEMORY_REGISTER = auto()
    SHARED_MEMORY_UNREGISTER = auto()


@dataclass(frozen=True, slots=True)
class Address:
    """What was asked for; `model`, `version` and `region` are empty where the address names none."""

    operation: Operation
    model: str = ""
    version: str = ""
    region: str = ""


_MODEL: Final = r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?"
_REGION: Final = r"/v2/systemsharedmemory(?:/region/(?P<region>[^/]+))?"

_ROUTES: Final = tuple(
    (method, re.compile(pattern), operation)
    for method, pattern, operation in (
        ("GET", r"/v2/health/live", Operation.SERVER_LIVE),
        ("GET", r"/v2/health/ready", Operation.SERVER_READY),
        ("GET", r"/v2/?", Operation.SERVER_METADATA),
        ("GET", r"/v2/models/stats", Operation.MODEL_STATISTICS),
        ("GET", _MODEL + r"/ready", Operation.MODEL_READY),
        ("GET", _MODEL + r"/config", Operation.MODEL_CONFIG),
        ("GET", _MODEL + r"/stats", Operation.MODEL_STATISTICS),
        ("GET", _MODEL, Operation.MODEL_METADATA),
        ("POST", _MODEL + r"/infer", Operation.MODEL_INFER),
        ("POST", r"/v2/repository/index", Operation.REPOSITORY_INDEX),
        ("POST", r"/v2/repository/models/(?P<model>[^/]+)/load", Operation.REPOSITORY_MODEL_LOAD),
        ("POST", r"/v2/repository/models/(?P<model>[^/]+)/unload", Operation.REPOSITORY_MODEL_UNLOAD),
        ("GET", _REGION + r"/status", Operation.SHARED_MEMORY_STATUS),
        ("POST", _REGION + r"/register", Operation.SHARED_MEMORY_REGISTER),
        ("POST", _REGION + r"/unregister", Operation.SHARED_MEMORY_UNREGISTER),
    )
)


def address_of(method: str, path: str) -> Address | None:
    """Read what a request is for.

    Args:
        method: `GET` or `POST`.
        path: The raw path, escapes included, without the query.

    Returns:
        What it asks for; None when the protocol has no such address.
    """
    for verb, pattern, operation in _ROUTES:
        match = pattern.fullmatch(path) if verb == method else None
        if match is not None:
            names = {name: unquote(value) for name, value in match.groupdict().items() if value}
            return Address(operation, **names)
    return None


def header_length(value: str | None, body_bytes: int) -> int | None:
    """Read `Inference-Header-Content-Length`.

    Args:
        value: The header; None where it is absent.
        body_bytes: Length of the whole body.

    Returns:
        How many bytes of the body are JSON; None: all.

    Raises:
        CodecError: It is no number from 0 to the body's length.
    """
    if value is None:
        return None
    if (
        not value.isascii()
        or not value.isdigit()
        or len(value) > len(str(MAX_MESSAGE_BYTES))
        or int(value) > body_bytes
    ):
        raise CodecError(HEADER_LENGTH, f"must be 0 to {body_bytes}, the body's length, not {value[:20]!r}")
    return int(value)


def inflated(chunks: Iterable[bytes], encoding: str) -> bytes:
    """Undo a body's compression, as far as a body may be long.

    Args:
        chunks: The body.
        encoding: `Content-Encoding`: `gzip`, `deflate`, or nothing.

    Returns:
        The body.

    Raises:
        CodecError: Another encoding, damaged data, or more than `MAX_MESSAGE_BYTES`.
    """
    body = b"".join(chunks)
    if encoding not in ("", "identity", "gzip", "deflate"):
        raise CodecError("Content-Encoding", f"must be gzip or deflate, not {encoding[:20]!r}")
    if encoding in ("gzip", "deflate"):
        inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
        try:
            body = inflater.decompress(body, MAX_MESSAGE_BYTES + 1)
        except zlib.error as error:
            raise CodecError("body", f"is not {encoding}: {error}") from error
        if not inflater.eof and len(body) <= MAX_MESSAGE_BYTES:
            raise CodecError("body", f"is truncated {encoding}")
    if len(body) > MAX_MESSAGE_BYTES:
        raise CodecError("body", f"must be at most {MAX_MESSAGE_BYTES} bytes")
    return body
