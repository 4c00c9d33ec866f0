"""The words of first contact: a join token and a certificate request in, an identity out."""

from dataclasses import dataclass, field

from protos.messages.escalation import WIRE_VERSION


@dataclass(frozen=True, slots=True)
class EnrolRequest:
    """Asks for an identity; the hub takes the public key from the request and nothing else from it."""

    token_id: str
    token_secret: str = field(repr=False)
    csr_der: bytes = field(repr=False)
    requested_device_id: str
    agent_version: str
    wire_version: int = WIRE_VERSION


@dataclass(frozen=True, slots=True)
class EnrolResponse:
    """The identity: names, the device's certificate chain, whom to trust, and the key that signs packs.

    Attributes:
        certificate_chain_pem: Leaf first.
        trust_bundle_pem: Certificate authorities that may sign the hub's certificate.
        site_key_pem: Public Ed25519 key; the device pins it and runs no pack without its signature.
    """

    org_id: str
    site_id: str
    device_id: str
    certificate_chain_pem: bytes
    trust_bundle_pem: bytes
    site_key_pem: bytes
    hub_time_ns: int
