"""The join token: one line of text that a person carries from the hub to a device.

It holds the hub's CA certificate, so that the first contact is already authenticated and nothing else has to be copied.
"""

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

PREFIX = "tandem1."
MAX_TOKEN_CHARS = 8192


class TokenError(ValueError):
    """The text is no join token; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A token as `cloud-hub tokens create` prints it; `secret` is 32 random bytes in base64url."""

    token_id: str
    secret: str = field(repr=False)
    ca_pem: bytes = field(repr=False)

    def encode(self) -> str:
        """The token as text."""
        ca_der = x509.load_pem_x509_certificate(self.ca_pem).public_bytes(Encoding.DER)
        body = {"id": self.token_id, "secret": self.secret, "ca": base64.b64encode(ca_der).decode()}
        return PREFIX + base64.urlsafe_b64encode(json.dumps(body, separators=(",", ":")).encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a token; white space around it and line breaks inside it are forgiven.

        Raises:
            TokenError: It is not a token, or was cut or changed on the way.
        """
        compact = "".join(text.split())
        if not compact.startswith(PREFIX) or len(compact) > MAX_TOKEN_CHARS:
            raise TokenError(f"this is no join token: it must start with {PREFIX!r}; copy the whole line again")
        body = compact.removeprefix(PREFIX)
        try:
            fields = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
            token_id, secret, ca = fields["id"], fields["secret"], fields["ca"]
            ca_pem = x509.load_der_x509_certificate(base64.b64decode(ca, validate=True)).public_bytes(Encoding.PEM)
        except (binascii.Error, ValueError, KeyError, TypeError) as exc:
            raise TokenError("the join token is damaged: copy the whole line again") from exc
        if not isinstance(token_id, str) or not isinstance(secret, str):
            raise TokenError("the join token is damaged: copy the whole line again")
        return cls(token_id, secret, ca_pem)
