"""Owns the audit lottery: which windows go to the hub although the device is sure of them, so that it can be checked.

A window is drawn before it is answered and whatever the answer will be, by the hash of a secret of this device and the
prediction id: `hash < rate`. So the drawn windows are a random sample of the traffic, each with probability `rate`, the
same ones after a crash, a redelivery or without a network, and nobody who does not know the secret can choose them.
What becomes of a drawn window is `decision.py`.
"""

import hashlib
import math

from protos.messages.escalation import PredictionId

KEY_BYTES = 32

_DRAW_BYTES = 8
_DRAWS = 1 << (8 * _DRAW_BYTES)
_PERSON = b"tandem-audit"


def is_drawn(key: bytes, name: PredictionId, rate: float) -> bool:
    """Draw one window.

    Args:
        key: The device's secret, `KEY_BYTES` of them; it lives as long as the store.
        name: Prediction id: of the window, not of the answer or the pack.
        rate: Probability of being drawn, 0..1, fixed before the window is seen.

    Returns:
        Whether the hash of both, read as a number from 0 up to 1 (BLAKE2b, RFC 7693, keyed), is below the rate.

    Raises:
        ValueError: The rate is no probability, or the key has another length.
    """
    if not 0.0 <= rate <= 1.0 or math.isnan(rate):
        raise ValueError(f"an audit rate is a probability from 0 to 1, not {rate}")
    if len(key) != KEY_BYTES:
        raise ValueError(f"the key of the audit lottery has {KEY_BYTES} bytes, not {len(key)}")
    if rate == 0.0:  # as it mostly is where there is no hub
        return False
    digest = hashlib.blake2b(name.encode("ascii"), digest_size=_DRAW_BYTES, key=key, person=_PERSON).digest()
    return int.from_bytes(digest, "big") < rate * _DRAWS
