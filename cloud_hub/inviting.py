"""Owns making join tokens, for the command line and for people at the console. What one lets in is `core.tokens`."""

import secrets
from dataclasses import dataclass

from cloud_hub.core.devices import checked_name
from cloud_hub.core.tokens import Token, secret_digest
from cloud_hub.ports import Clock, JoinTokens
from protos.link.tokens import JoinToken

MAX_TTL_H = 24 * 365
MAX_USES = 100_000

_TOKEN_ID_BYTES = 6
_TOKEN_SECRET_BYTES = 32
_NS_PER_H = 3_600 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Invitation:
    """Whom to let in.

    Attributes:
        site: That devices join.
        uses: How many devices, 1 to `MAX_USES`.
        ttl_h: For how long, above 0, at most `MAX_TTL_H`.
        device: This device only (its key may be replaced); None for any new name.
    """

    site: str
    uses: int
    ttl_h: float
    device: str | None


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A token as it is stored, and the text that a device takes: the only place where its secret stands."""

    token: Token
    encoded: str


class Inviting:
    """Makes join tokens.

    Args:
        tokens: Where they are kept.
        authority_pem: The hub's CA certificate: it travels with a token, so that first contact is authenticated.
        org_id: The organisation that devices join.
        clock: Wall clock.
    """

    def __init__(self, tokens: JoinTokens, authority_pem: bytes, org_id: str, clock: Clock) -> None:
        self._tokens = tokens
        self._authority_pem = authority_pem
        self._org_id = org_id
        self._clock = clock

    async def invite(self, invitation: Invitation) -> MadeToken:
        """Make a token and store it.

        Args:
            invitation: Whom to let in; its numbers are within their bounds.

        Returns:
            The token.

        Raises:
            DeviceNameError: The site or the device cannot be a name.
            StorageError: The database cannot be used.
        """
        secret = secrets.token_urlsafe(_TOKEN_SECRET_BYTES)
        now_ns = self._clock()
        device = invitation.device
        token = Token(
            token_id=secrets.token_hex(_TOKEN_ID_BYTES),
            secret_digest=secret_digest(secret),
            org_id=self._org_id,
            site_id=checked_name("site", invitation.site),
            device_id=None if device is None else checked_name("device", device),
            expires_at_ns=now_ns + int(invitation.ttl_h * _NS_PER_H),
            max_uses=invitation.uses,
            used_by={},
        )
        await self._tokens.add_token(token, now_ns)
        return MadeToken(token, JoinToken(token.token_id, secret, self._authority_pem).encode())
