"""Owns whether a join token may enrol this key, under this name, now.

A token is bound to the first public key of each use: the same key may come again (its reply was lost) and gets the
same certificate; another key is another use.
"""

import hashlib
import hmac
from dataclasses import dataclass, replace
from enum import Enum, StrEnum

from cloud_hub.core.devices import DeviceKey
from cloud_hub.errors import DeviceTakenError, TokenBoundError, TokenExpiredError, TokenUnknownError, TokenUsedUpError

_NO_SECRET = "0" * 64


@dataclass(frozen=True, slots=True)
class Token:
    """A join token as it is stored: the secret only as its SHA-256.

    Attributes:
        device_id: The only device that it may enrol (and whose key it may replace); None for any new name.
        used_by: Device id by SHA-256 of the public key, one entry a use.
    """

    token_id: str
    secret_digest: str
    org_id: str
    site_id: str
    device_id: str | None
    expires_at_ns: int
    max_uses: int
    used_by: dict[str, str]


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A device that has the requested name already."""

    key: DeviceKey
    public_key_digest: str


class TokenState(StrEnum):
    """Whether a token may still let a new key in."""

    OPEN = "open"
    USED_UP = "used_up"
    EXPIRED = "expired"


class Use(Enum):
    """What the enrolment is."""

    FIRST = "first"
    REPEAT = "repeat"


def secret_digest(secret: str) -> str:
    """Digest a token's secret for storage (256 random bits need no slow hash).

    Args:
        secret: The secret part of the token.

    Returns:
        SHA-256, hex.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


def state(token: Token, now_ns: int) -> TokenState:
    """Tell whether a token may still let a new key in, by the rules of `check`.

    Args:
        token: The token.
        now_ns: Wall clock, Unix epoch, UTC.

    Returns:
        Its state; one that has expired says so, used or not.
    """
    if now_ns >= token.expires_at_ns:
        return TokenState.EXPIRED
    return TokenState.USED_UP if len(token.used_by) >= token.max_uses else TokenState.OPEN


def revoked(token: Token, now_ns: int) -> Token:
    """End a token's time now; one whose time is over stays as it is.

    Args:
        token: The token.
        now_ns: Wall clock, Unix epoch, UTC.

    Returns:
        The token as it is from now on: it lets nobody in any more, no repeat either. Who came with it stays enrolled.
    """
    return replace(token, expires_at_ns=min(token.expires_at_ns, now_ns))


def check(
    token: Token | None,
    *,
    secret: str,
    public_key_digest: str,
    device_id: str,
    enrolled: Enrolled | None,
    now_ns: int,
) -> Use:
    """Decide about one enrolment; the secret is compared in constant time, also for an unknown token.

    Args:
        token: The stored token, None if its id is unknown.
        secret: The secret that was presented.
        public_key_digest: SHA-256 (hex) of the SubjectPublicKeyInfo in the certificate request.
        device_id: The requested name.
        enrolled: The device of that name at the token's site, None if the name is free.
        now_ns: Wall clock, Unix epoch, UTC.

    Returns:
        Whether this is a first use, or a repeat of one whose reply was lost.

    Raises:
        TokenUnknownError: Unknown token or wrong secret.
        TokenBoundError: The token is for another device, or this key used it under another name.
        TokenExpiredError: Its time is over (a repeat is refused then, too).
        TokenUsedUpError: No use is left for another key.
        DeviceTakenError: The name belongs to another key, and the token was not made to replace it.
    """
    stored = _NO_SECRET if token is None else token.secret_digest
    is_right = hmac.compare_digest(stored, secret_digest(secret))
    if token is None or not is_right:
        raise TokenUnknownError
    if now_ns >= token.expires_at_ns:
        raise TokenExpiredError(token.token_id)
    if token.device_id is not None and token.device_id != device_id:
        raise TokenBoundError(token.token_id, token.device_id)
    used_for = token.used_by.get(public_key_digest)
    if used_for is not None:
        if used_for != device_id:
            raise TokenBoundError(token.token_id, used_for)
        return Use.REPEAT
    if len(token.used_by) >= token.max_uses:
        raise TokenUsedUpError(token.token_id, token.max_uses)
    is_taken = enrolled is not None and enrolled.public_key_digest != public_key_digest
    if enrolled is not None and is_taken and token.device_id is None:
        raise DeviceTakenError(enrolled.key.site_id, device_id)
    return Use.FIRST
