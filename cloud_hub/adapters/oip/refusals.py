"""Owns how a failed call is told: an error becomes a status, a text and, where waiting helps, for how long."""

import math
from dataclasses import dataclass
from typing import Final

from cloud_hub.errors import HubError
from cloud_hub.serving.errors import ServingFullError
from model_packs.errors import TensorError
from protos.codec.errors import CodecError
from protos.status import Status

PUSHBACK: Final = "grpc-retry-pushback-ms"
"""Trailing metadata that gRPC clients with retries obey (gRFC A6)."""

EXPECTED: Final = (HubError, TensorError, CodecError)
"""What a call may fail with; anything else is a fault of the hub."""

_MS_PER_S: Final = 1000.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call has no answer."""

    status: Status
    text: str
    retry_after_s: float | None = None

    @property
    def trailing(self) -> tuple[tuple[str, str], ...]:
        """The trailing metadata of a gRPC call."""
        if self.retry_after_s is None:
            return ()
        return ((PUSHBACK, str(math.ceil(self.retry_after_s * _MS_PER_S))),)


def refusal_of(error: Exception) -> Refusal:
    """Translate an error.

    Args:
        error: One of `EXPECTED`.

    Returns:
        What the caller is told.
    """
    if isinstance(error, ServingFullError):
        return Refusal(error.status, str(error), error.retry_after_s)
    return Refusal(error.status if isinstance(error, HubError) else Status.INVALID_ARGUMENT, str(error))
