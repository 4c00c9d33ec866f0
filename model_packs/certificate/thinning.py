"""From rows that were judged with known, unequal chances to a uniform sample.

Owns the second lottery. In the field every escalated window is judged (chance 1) and every audited one with the audit
rate; taken together they are no fair sample of the traffic. Keeping a row with the chance smallest / its own makes all
equally likely (Poisson thinning), and exact tests hold again at every threshold, above and below the one in use. The
smallest is that of all the traffic, not of the rows that happened to be judged: where no audit was drawn yet, escalated
rows alone say nothing of what is kept.

The lottery looks at a row's id alone, so it is the same each time, and independent of score and outcome.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model_packs.certificate.errors import CertificateError

_DOMAIN: Final = b"tandem-thin"
_TICKET_BYTES: Final = 8


def thin(inclusion: ArrayLike, ids: Sequence[str], smallest: float = 1.0) -> NDArray[np.bool_]:
    """Choose a uniform sample.

    Args:
        inclusion: float [rows], the chance with which each row came to be judged, logged when it was decided; above 0,
            at most 1.
        ids: The rows' ids, each once.
        smallest: The smallest chance that any window of the traffic had, judged or not: the audit rate where windows
            were kept, 1 where all were escalated.

    Returns:
        bool [rows], the rows to use; all of them when all chances are equal and none was smaller.

    Raises:
        CertificateError: Lists of different lengths, chances out of range, or an id that comes twice.
    """
    chances = np.asarray(inclusion, dtype=np.float64)
    if chances.shape != (len(ids),):
        raise CertificateError(f"{len(ids)} ids but chances of shape {chances.shape}")
    if not ((chances > 0.0) & (chances <= 1.0)).all():  # NaN fails, too
        raise CertificateError(
            "a chance of being judged lies above 0 and is at most 1; a row without one proves nothing"
        )
    if not 0.0 < smallest <= 1.0:
        raise CertificateError(
            f"the smallest chance of being judged lies above 0 and is at most 1, not {smallest}: what is kept without "
            "audits cannot be certified; let audits be drawn"
        )
    if len(set(ids)) != len(ids):
        raise CertificateError("an id comes twice: each judged window counts once")
    if len(chances) == 0:
        return np.zeros(0, dtype=np.bool_)
    tickets = np.array([_ticket(name) for name in ids])
    is_chosen: NDArray[np.bool_] = tickets < min(smallest, float(chances.min())) / chances
    return is_chosen


def _ticket(name: str) -> float:
    """A number from 0 to below 1 that only the id decides."""
    digest = hashlib.blake2b(name.encode(), digest_size=_TICKET_BYTES, person=_DOMAIN).digest()
    return int.from_bytes(digest, "big") / (1 << (8 * _TICKET_BYTES))
