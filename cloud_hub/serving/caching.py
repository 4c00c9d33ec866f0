"""Owns asking for an answer that was given before: first in this process, then where several processes keep them.

What is kept how is `core.serving.answer_cache`; a store outside is an adapter of `RemoteAnswers`. One that fails costs
speed, never an answer: one request at a time finds out, the others go without it, ever longer.
"""

import io
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from cloud_hub.core.serving.answer_cache import AnswerCache, answer_key
from cloud_hub.errors import StorageError

logger = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]

FIRST_PAUSE_S: Final = 1.0
"""How long a store that failed is left alone; twice as long after each time more."""

LONGEST_PAUSE_S: Final = 60.0


class RemoteAnswers(Protocol):
    """Answers kept outside this process."""

    async def get(self, key: bytes) -> bytes | None:
        """Look one up; raises StorageError."""

    async def put(self, key: bytes, answer: bytes) -> None:
        """Keep one; raises StorageError."""

    async def close(self) -> None:
        """Disconnect; a second call does nothing."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an answer is to be kept.

    Attributes:
        key: What it is kept by.
        is_shared: Outside this process, too: not where looking there just failed, which would cost its time twice.
    """

    key: bytes
    is_shared: bool


class AnswerCaching:
    """Answers of the packs for which this was switched on.

    Args:
        max_bytes: What those in this process may take.
        remote: Those outside; None: there are none.
        monotonic_s: Monotonic clock.
    """

    def __init__(
        self, max_bytes: int, remote: RemoteAnswers | None, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._near = AnswerCache(max_bytes)
        self._remote = remote
        self._monotonic_s = monotonic_s
        self._pause_s = 0.0  # 0: the store answered when it was last asked
        self._away_until_s = 0.0
        self._failed_s = 0.0

    async def look_up(self, digest: str, inputs: Arrays) -> tuple[Place | None, Arrays | None]:
        """Look an answer up.

        Args:
            digest: Of the pack.
            inputs: Of the request.

        Returns:
            The place to keep an answer at (None: such inputs are not kept), and the outputs if there are any.
        """
        key = answer_key(digest, inputs)
        if key is None:
            return None, None
        outputs, is_shared = self._near.get(key), False
        if outputs is None and self._remote is not None and self._is_asked_now():
            outputs, is_shared = await self._far(self._remote, key)
            if outputs is not None:
                self._near.put(key, outputs)
        return Place(key, is_shared), outputs

    async def keep(self, place: Place, outputs: Arrays) -> None:
        """Keep an answer.

        Args:
            place: What `look_up` gave.
            outputs: Of the answer.
        """
        self._near.put(place.key, outputs)
        if self._remote is None or not place.is_shared or any(array.dtype.hasobject for array in outputs.values()):
            return
        if self._is_asked_now():
            asked_s = self._monotonic_s()
            try:
                await self._remote.put(place.key, to_bytes(outputs))
            except StorageError as error:
                self._leave_alone("answer_not_kept", error, asked_s)
            else:
                self._pause_s = self._away_until_s = 0.0

    async def close(self) -> None:
        """Disconnect; a second call does nothing."""
        if self._remote is not None:
            await self._remote.close()

    async def _far(self, remote: RemoteAnswers, key: bytes) -> tuple[Arrays | None, bool]:
        """What the store has, and whether it answered."""
        asked_s = self._monotonic_s()
        try:
            found = await remote.get(key)
        except StorageError as error:
            self._leave_alone("answer_not_looked_up", error, asked_s)
            return None, False
        self._pause_s = self._away_until_s = 0.0
        try:
            return None if found is None else from_bytes(found), True
        except ValueError as error:
            logger.warning("answer_not_looked_up", extra={"reason": str(error)})
            return None, True

    def _is_asked_now(self) -> bool:
        """Whether the store is asked; after a failure one request does, and the others wait for what it finds."""
        now_s = self._monotonic_s()
        if now_s < self._away_until_s:
            return False
        if self._pause_s:
            self._away_until_s = now_s + self._pause_s
        return True

    def _leave_alone(self, event: str, error: StorageError, asked_s: float) -> None:
        if asked_s < self._failed_s:  # one of several that were on their way together
            return
        self._failed_s = self._monotonic_s()
        self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s or FIRST_PAUSE_S)
        self._away_until_s = self._failed_s + self._pause_s
        logger.warning(event, extra={"reason": str(error), "left_alone_s": self._pause_s})


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
