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
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from model_packs.process.durable import write_file

KEY_FILE = "device.key"
CHAIN_FILE = "device.pem"
CA_FILE = "hub-ca.pem"
SITE_KEY_FILE = "site.pub"

REENROL_COMMANDS = (
    "on the hub `cloud-hub tokens create --site S --device NAME`, "
    "then here `edge-agent enrol --force --token-file F` with the token in F"
)
"""How a device gets a new identity under its old name, for the end of a mend."""

_REENROL = f"enrol the device again: {REENROL_COMMANDS}"
_ENROL = "run `edge-agent enrol --token-file F` with a join token from `cloud-hub tokens create --site S` in F"
_NOWHERE = Path()

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
    def from_parts(
        cls, *, key_pem: bytes, chain_pem: bytes, ca_pem: bytes, site_key_pem: bytes, folder: Path = _NOWHERE
    ) -> Self:
        """Put an identity together and check that its parts can be read and belong to each other.

        Args:
            key_pem: The device's private key.
            chain_pem: Its certificate, and those between it and an authority.
            ca_pem: Authorities that may sign the hub's certificate.
            site_key_pem: Public key that signs packs.
            folder: Where the parts lie, for messages.

        Raises:
            IdentityError: A part is unreadable, or the certificate is for another key or names no device.
        """
        leaf = _read_certificates(chain_pem, folder / CHAIN_FILE)[0]
        _read_certificates(ca_pem, folder / CA_FILE)
        _require_site_key(site_key_pem, folder / SITE_KEY_FILE)
        try:
            key = _load_key(key_pem)
        except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise IdentityError(f"{folder / KEY_FILE} holds no elliptic-curve key in PEM form", _REENROL) from exc
        try:
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            spiffe = SpiffeId.parse(names.get_values_for_type(x509.UniformResourceIdentifier)[0])
        except (ValueError, IndexError, x509.ExtensionNotFound) as exc:
            raise IdentityError(f"the certificate in {folder / CHAIN_FILE} names no device", _REENROL) from exc
        if leaf.public_key() != key.public_key():
            what = f"the certificate in {folder / CHAIN_FILE} is for another key than {folder / KEY_FILE}"
            raise IdentityError(what, _REENROL)
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
            IdentityError: A file is missing or unreadable, or they do not fit; the mend says to enrol.
        """
        parts: dict[str, bytes] = {}
        for name in (CHAIN_FILE, KEY_FILE, CA_FILE, SITE_KEY_FILE):
            try:
                parts[name] = (folder / name).read_bytes()
            except OSError as exc:
                is_enrolled = (folder / CHAIN_FILE).exists()
                raise IdentityError(
                    f"no {'whole ' if is_enrolled else ''}identity: {folder / name} cannot be read ({exc.strerror})",
                    _REENROL if is_enrolled else _ENROL,
                ) from exc
        return cls.from_parts(
            key_pem=parts[KEY_FILE],
            chain_pem=parts[CHAIN_FILE],
            ca_pem=parts[CA_FILE],
            site_key_pem=parts[SITE_KEY_FILE],
            folder=folder,
        )


def _read_certificates(pem: bytes, path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as exc:
        raise IdentityError(f"{path} holds no certificate in PEM form", _REENROL) from exc


def _require_site_key(pem: bytes, path: Path) -> None:
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise IdentityError(f"{path} holds no public key in PEM form", _REENROL) from exc
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise IdentityError(f"{path} holds another kind of key than Ed25519", _REENROL)


def _load_key(key_pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(key_pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the device key is not an elliptic-curve key")  # noqa: TRY004 - the file's content is at fault, not a type
    return key
