"""Owns asking for an answer that was given before: first in this process, then where several processes keep them.

What is kept how is `core.serving.answer_cache`; a store outside is an adapter of `RemoteAnswers`. One that fails costs
speed, never an answer.
"""

import io
import logging
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cloud_hub.core.serving.answer_cache import AnswerCache, answer_key
from cloud_hub.errors import StorageError

logger = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]


class RemoteAnswers(Protocol):
    """Answers kept outside this process."""

    async def get(self, key: bytes) -> bytes | None:
        """Look one up; raises StorageError."""

    async def put(self, key: bytes, answer: bytes) -> None:
        """Keep one; raises StorageError."""

    async def close(self) -> None:
        """Disconnect; a second call does nothing."""


class AnswerCaching:
    """Answers of the packs for which this was switched on.

    Args:
        max_bytes: What those in this process may take.
        remote: Those outside; None: there are none.
    """

    def __init__(self, max_bytes: int, remote: RemoteAnswers | None) -> None:
        self._near = AnswerCache(max_bytes)
        self._remote = remote

    async def look_up(self, digest: str, inputs: Arrays) -> tuple[bytes | None, Arrays | None]:
        """Look an answer up.

        Args:
            digest: Of the pack.
            inputs: Of the request.

        Returns:
            The key to keep an answer by (None: such inputs are not kept), and the outputs if there are any.
        """
        key = answer_key(digest, inputs)
        if key is None:
            return None, None
        outputs = self._near.get(key)
        if outputs is None and self._remote is not None:
            outputs = await self._far(key)
            if outputs is not None:
                self._near.put(key, outputs)
        return key, outputs

    async def keep(self, key: bytes, outputs: Arrays) -> None:
        """Keep an answer.

        Args:
            key: What `look_up` gave.
            outputs: Of the answer.
        """
        self._near.put(key, outputs)
        if self._remote is None or any(array.dtype.hasobject for array in outputs.values()):
            return
        try:
            await self._remote.put(key, to_bytes(outputs))
        except StorageError as error:
            logger.warning("answer_not_kept", extra={"reason": str(error)})

    async def close(self) -> None:
        """Disconnect; a second call does nothing."""
        if self._remote is not None:
            await self._remote.close()

    async def _far(self, key: bytes) -> Arrays | None:
        if self._remote is None:
            return None
        try:
            found = await self._remote.get(key)
            return None if found is None else from_bytes(found)
        except (StorageError, ValueError) as error:
            logger.warning("answer_not_looked_up", extra={"reason": str(error)})
            return None


def to_bytes(outputs: Arrays) -> bytes:
    """Write outputs as NumPy's .npz.

    Args:
        outputs: By name arrays of numbers.

    Returns:
        The bytes.
    """
    into = io.BytesIO()
    names = np.array(list(outputs), dtype=np.str_)
    arrays = {f"output_{index}": array for index, array in enumerate(outputs.values())}
    np.savez(into, allow_pickle=False, names=names, **arrays)
    return into.getvalue()


def from_bytes(data: bytes) -> dict[str, NDArray[Any]]:
    """Read what `to_bytes` wrote.

    Args:
        data: From a store that others may write to.

    Returns:
        By name arrays of numbers.

    Raises:
        ValueError: It is something else.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            return {str(name): found[f"output_{index}"] for index, name in enumerate(found["names"])}
    except Exception as error:  # decoding peer bytes: zip and NumPy raise many kinds
        raise ValueError(f"not an answer that was kept: {error}") from error
