"""Which digits train, tune, calibrate and are shown as the field.

Owns the split of the form-digits family: by index, seeded, stratified by class, fixed before any figure was seen. Every
class has its 500 digits ordered by a hash of seed and index, which no library's random numbers can change; the first
260 train, and so on. Every digit is in exactly one part.

    |      training 260      |tuning 40| calibration 100 |    field 100    |   of each class's 500

The data set does not say who wrote which digit: the same hand may be in several parts. What the digits are and where
they come from is `dataset`'s business.
"""

import hashlib
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_packs.digests import Digest, digest_of
from model_packs.shipped.form_digits.dataset import LABELS

SEED: Final = 20261122
PER_CLASS: Final = 500


class Part(Enum):
    """A part of the data: first and last bound among a class's digits in their hashed order."""

    TRAINING = (0, 260)
    TUNING = (260, 300)
    CALIBRATION = (300, 400)
    FIELD = (400, 500)


def indices(part: Part, labels: NDArray[np.int64]) -> NDArray[np.intp]:
    """The digits that belong to a part.

    Args:
        part: The part.
        labels: int64 [n], the whole data set's labels; 500 of each class.

    Returns:
        intp [n of the part], positions in the data set, shuffled by another hash: any run of them is a fair sample.
    """
    first, last = part.value
    chosen = [
        index
        for label in range(len(LABELS))
        for index in sorted(np.flatnonzero(labels == label).tolist(), key=_cut_place)[first:last]
    ]
    return np.array(sorted(chosen, key=_shown_place), dtype=np.intp)


def digest(chosen: NDArray[np.intp]) -> Digest:
    """Name a part by its content.

    Args:
        chosen: From `indices`.

    Returns:
        The digest of the positions as decimal numbers, one a line, rising.
    """
    return digest_of("".join(f"{index}\n" for index in sorted(chosen.tolist())).encode())


def _cut_place(index: int) -> bytes:
    """Where a digit stands among its class when the parts are cut."""
    return hashlib.sha256(f"{SEED}:cut:{index}".encode()).digest()


def _shown_place(index: int) -> bytes:
    """Where a digit stands inside its part."""
    return hashlib.sha256(f"{SEED}:shown:{index}".encode()).digest()
