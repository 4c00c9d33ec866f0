"""Owns the memory that request bodies of the REST form may take together, from their first byte to the answer.

One body is bounded by the protocol's largest message; without a bound on their sum, a few dozen callers could still
take all memory.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from starlette.requests import Request

from cloud_hub.serving.errors import ServingFullError
from protos.codec.errors import CodecError
from protos.oip.methods import MAX_MESSAGE_BYTES
from protos.oip.rest import inflated

MOST_BYTES: Final = 4 * MAX_MESSAGE_BYTES
"""All bodies in hand together; those of ordinary requests are thousands of times smaller."""

STALL_S: Final = 30.0
"""How long a body may stand still: what has come of it takes the room of others."""

_RETRY_AFTER_S: Final = 1.0


class Bodies:
    """The bodies in hand.

    Args:
        most_bytes: What they may take together; one body may pass it while it is inflated, and is refused then.
        stall_s: How long one may stand still.
    """

    def __init__(self, most_bytes: int = MOST_BYTES, stall_s: float = STALL_S) -> None:
        self._most_bytes = most_bytes
        self._stall_s = stall_s
        self._held_bytes = 0

    @asynccontextmanager
    async def read(self, request: Request, model: str) -> AsyncIterator[bytes]:
        """Read a body; it counts as long as the block runs.

        Args:
            request: Whose body it is.
            model: Whom it asks, for the refusal.

        Returns:
            The body, inflated.

        Raises:
            CodecError: It is longer than one message may be, stands still, or is not compressed as it says.
            ServingFullError: It finds no room beside the others.
            ClientDisconnect: The client went.
        """
        own_bytes = 0
        chunks: list[bytes] = []
        try:
            async for chunk in _flowing(request.stream(), self._stall_s):
                self._hold(len(chunk), model)
                own_bytes += len(chunk)
                if own_bytes > MAX_MESSAGE_BYTES:
                    raise CodecError("body", f"must be at most {MAX_MESSAGE_BYTES} bytes")
                chunks.append(chunk)
            body = inflated(chunks, request.headers.get("Content-Encoding", ""))
            chunks.clear()
            growth_bytes = len(body) - own_bytes
            self._hold(growth_bytes, model)
            own_bytes += growth_bytes
            yield body
        finally:
            self._held_bytes -= own_bytes

    def _hold(self, n_bytes: int, model: str) -> None:
        if self._held_bytes + n_bytes > self._most_bytes:
            in_hand = f"request bodies in hand take {self._held_bytes} of {self._most_bytes} bytes"
            raise ServingFullError(model, f"{in_hand}, and this one finds no room", _RETRY_AFTER_S)
        self._held_bytes += n_bytes


async def _flowing(chunks: AsyncGenerator[bytes, None], stall_s: float) -> AsyncIterator[bytes]:
    """The same chunks; raises CodecError where none comes for so long."""
    while True:
        try:
            async with asyncio.timeout(stall_s):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise CodecError("body", f"nothing more of it came for {stall_s:g} s") from error
        yield chunk
