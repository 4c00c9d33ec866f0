"""A device's identity: its SPIFFE name, its key and certificate on disk, and the certificate request that asks for one.

Issuing certificates is the hub's part. Keys are P-256: gRPC does not accept Ed25519 client certificates.
SPIFFE ID: https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md
"""

import re
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from model_packs.process.durable import write_file

KEY_FILE = "device.key"
CHAIN_FILE = "device.pem"
CA_FILE = "hub-ca.pem"
SITE_KEY_FILE = "site.pub"

_NAME = r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?"
_URI = re.compile(
    rf"spiffe://(?P<trust_domain>{_NAME})/org/(?P<org>{_NAME})/site/(?P<site>{_NAME})/device/(?P<device>{_NAME})"
)


class IdentityError(Exception):
    """The identity on disk is absent or cannot be used.

    Attributes:
        mend: What the person at the device can do.
    """

    def __init__(self, message: str, mend: str) -> None:
        super().__init__(message)
        self.mend = mend


def is_name(text: str) -> bool:
    """Whether `text` can name an organisation, a site or a device: 1 to 64 of a-z 0-9 . _ -, ends alphanumeric."""
    return re.fullmatch(_NAME, text) is not None


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """`spiffe://{trust_domain}/org/{org}/site/{site}/device/{device}`.

    Raises:
        ValueError: A part is not a name (see `is_name`).
    """

    trust_domain: str
    org: str
    site: str
    device: str

    def __post_init__(self) -> None:
        for part in (self.trust_domain, self.org, self.site, self.device):
            if not is_name(part):
                raise ValueError(f"{part!r} is not a name: use 1 to 64 of a-z 0-9 . _ - and end in a letter or digit")

    @property
    def uri(self) -> str:
        """The URI that stands in the certificate's subject alternative name."""
        return f"spiffe://{self.trust_domain}/org/{self.org}/site/{self.site}/device/{self.device}"

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read a URI of exactly this shape.

        Raises:
            ValueError: It is another kind of URI.
        """
        found = _URI.fullmatch(uri)
        if found is None:
            raise ValueError(f"{uri!r} is not a device's SPIFFE id")
        return cls(found["trust_domain"], found["org"], found["site"], found["device"])


def new_private_key_pem() -> bytes:
    """A fresh P-256 key, PKCS#8 PEM, not encrypted: the file's mode protects it."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate_request_der(key_pem: bytes, common_name: str) -> bytes:
    """A certificate request (PKCS#10, DER) signed with the key; the hub takes only the public key from it."""
    key = _load_key(key_pem)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """What a device proves itself with, and whom it trusts.

    Attributes:
        chain_pem: Leaf first.
        ca_pem: Authorities that may sign the hub's certificate.
        site_key_pem: Public key that signs packs, pinned at enrolment.
        not_after_ns: End of the leaf's validity, Unix epoch, UTC.
    """

    spiffe: SpiffeId
    key_pem: bytes = field(repr=False)
    chain_pem: bytes = field(repr=False)
    ca_pem: bytes = field(repr=False)
    site_key_pem: bytes = field(repr=False)
    not_after_ns: int

    @classmethod
    def from_parts(cls, *, key_pem: bytes, chain_pem: bytes, ca_pem: bytes, site_key_pem: bytes) -> Self:
        """Put an identity together and check that its parts belong to each other.

        Raises:
            IdentityError: The certificate is unreadable, is for another key, or names no device.
        """
        try:
            leaf = x509.load_pem_x509_certificates(chain_pem)[0]
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            spiffe = SpiffeId.parse(names.get_values_for_type(x509.UniformResourceIdentifier)[0])
            matches = leaf.public_key() == _load_key(key_pem).public_key()
        except (ValueError, IndexError, x509.ExtensionNotFound) as exc:
            raise IdentityError(f"the device certificate cannot be used: {exc}", "enrol the device again") from exc
        if not matches:
            raise IdentityError("the device certificate is for another key", "enrol the device again")
        not_after_ns = int(leaf.not_valid_after_utc.astimezone(UTC).timestamp()) * 1_000_000_000
        return cls(spiffe, key_pem, chain_pem, ca_pem, site_key_pem, not_after_ns)

    def save(self, folder: Path) -> None:
        """Write the files, each durably; the certificate last, since its presence means "enrolled"."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_file(folder / KEY_FILE, self.key_pem, mode=0o600)
        write_file(folder / CA_FILE, self.ca_pem)
        write_file(folder / SITE_KEY_FILE, self.site_key_pem)
        write_file(folder / CHAIN_FILE, self.chain_pem)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the identity that `save` wrote.

        Raises:
            IdentityError: A file is missing or the parts do not fit; the mend says to enrol.
        """
        parts: dict[str, bytes] = {}
        for name in (CHAIN_FILE, KEY_FILE, CA_FILE, SITE_KEY_FILE):
            try:
                parts[name] = (folder / name).read_bytes()
            except OSError as exc:
                raise IdentityError(
                    f"no identity: {folder / name} cannot be read ({exc.strerror})",
                    "run `edge-agent enrol` with a join token from `cloud-hub tokens create`",
                ) from exc
        return cls.from_parts(
            key_pem=parts[KEY_FILE],
            chain_pem=parts[CHAIN_FILE],
            ca_pem=parts[CA_FILE],
            site_key_pem=parts[SITE_KEY_FILE],
        )


def _load_key(key_pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(key_pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the device key is not an elliptic-curve key")  # noqa: TRY004 - the file's content is at fault, not a type
    return key
