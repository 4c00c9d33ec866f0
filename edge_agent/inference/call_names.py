"""Owns the ids of local calls: a call has no key by which a repeated one could be known, so its id is drawn."""

import base64
import itertools
import secrets
from typing import Final

from protos.messages.escalation import PredictionId

_RANDOM_BYTES: Final = 10
_DIGITS: Final = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS: Final = tuple(first + second for first in _DIGITS for second in _DIGITS)


class CallNames:
    """Ids of the calls of one start: 26 digits of base32, as every prediction's; 80 random bits and 50 of a number."""

    def __init__(self) -> None:
        self._prefix = base64.b32encode(secrets.token_bytes(_RANDOM_BYTES)).decode("ascii").lower()
        self._next = itertools.count(1).__next__

    def __call__(self) -> PredictionId:
        """One that was never given out before; safe from any thread."""
        n, two = self._next(), _PAIRS
        low = two[n >> 20 & 1023] + two[n >> 10 & 1023] + two[n & 1023]
        return PredictionId(self._prefix + two[n >> 40 & 1023] + two[n >> 30 & 1023] + low)
