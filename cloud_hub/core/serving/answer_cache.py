"""Owns answers that were given before: the same pack and the same input give the same answer, within a bound of bytes.

The key is of content, so nothing here is ever stale: a new version has another digest.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from numpy.typing import NDArray

Outputs = Mapping[str, NDArray[Any]]

_ENTRY_BYTES: Final = 512
"""What an entry takes beside its arrays, roughly: key, tuple, headers."""


def answer_key(pack_digest: str, inputs: Outputs) -> bytes | None:
    """Digest what an answer depends on.

    Args:
        pack_digest: Of the pack, or of the ensemble's declaration.
        inputs: By name arrays of numbers.

    Returns:
        The key; None for inputs that are not plain numbers (texts and files are not cached).
    """
    digest = hashlib.blake2b(pack_digest.encode(), digest_size=32)
    for name, array in sorted(inputs.items()):
        if array.dtype.hasobject:
            return None
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.digest()


class AnswerCache:
    """The latest answers, the least recently asked for leaving first.

    Args:
        max_bytes: What all of them may take together.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._answers: OrderedDict[bytes, tuple[Outputs, int]] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: bytes) -> Outputs | None:
        """Look an answer up.

        Args:
            key: What `answer_key` gave.

        Returns:
            Its outputs, read only; None if it is not here.
        """
        found = self._answers.get(key)
        if found is None:
            return None
        self._answers.move_to_end(key)
        return found[0]

    def put(self, key: bytes, outputs: Outputs) -> None:
        """Keep an answer; one that would take more than a quarter of the whole is not kept.

        Args:
            key: What `answer_key` gave.
            outputs: By name arrays; copied, since they may be views of a batch.
        """
        size_bytes = _ENTRY_BYTES + sum(array.nbytes for array in outputs.values())
        if size_bytes * 4 > self._max_bytes or any(array.dtype.hasobject for array in outputs.values()):
            return
        old = self._answers.pop(key, None)
        if old is not None:
            self.size_bytes -= old[1]
        kept = {name: array.copy() for name, array in outputs.items()}
        for array in kept.values():
            array.flags.writeable = False
        self._answers[key] = (kept, size_bytes)
        self.size_bytes += size_bytes
        while self.size_bytes > self._max_bytes:
            self.size_bytes -= self._answers.popitem(last=False)[1][1]
