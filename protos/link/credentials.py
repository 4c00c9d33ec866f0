"""Owns keys and certificates as PEM: making a device's key and request, and checking that its parts belong together.

What they are for is `identity.py`, which loads this module where there is an identity to read: a device that works
alone does without the library.
"""

from dataclasses import dataclass
from datetime import UTC

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a device's certificate says.

    Attributes:
        uri: Its first URI name.
        not_after_ns: End of its validity, Unix epoch, UTC.
    """

    uri: str
    not_after_ns: int


def new_private_key_pem() -> bytes:
    """A fresh P-256 key, PKCS#8 PEM, not encrypted: the file's mode protects it."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate_request_der(key_pem: bytes, common_name: str) -> bytes:
    """A certificate request (PKCS#10, DER) signed with the key; the hub takes only the public key from it.

    Raises:
        ValueError: It is no elliptic-curve key.
    """
    key = _load_key(key_pem)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


def holds_certificates(pem: bytes) -> bool:
    """Whether bytes hold certificates in PEM form."""
    try:
        return bool(x509.load_pem_x509_certificates(pem))
    except ValueError:
        return False


def holds_key(pem: bytes) -> bool:
    """Whether bytes hold a device's private key in PEM form."""
    try:
        _load_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def site_key_problem(pem: bytes) -> str:
    """What is wrong with a site's public key; empty: nothing."""
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        return "holds no public key in PEM form"
    return "" if isinstance(key, ed25519.Ed25519PublicKey) else "holds another kind of key than Ed25519"


def is_for_key(chain_pem: bytes, key_pem: bytes) -> bool:
    """Whether the first certificate is for a private key; both hold what they should."""
    return x509.load_pem_x509_certificates(chain_pem)[0].public_key() == _load_key(key_pem).public_key()


def read_leaf(chain_pem: bytes) -> Leaf:
    """Read the first certificate of a chain.

    Raises:
        ValueError: It has no URI name.
    """
    leaf = x509.load_pem_x509_certificates(chain_pem)[0]
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uri = names.get_values_for_type(x509.UniformResourceIdentifier)[0]
    except (IndexError, x509.ExtensionNotFound) as error:
        raise ValueError("the certificate has no URI name") from error
    return Leaf(uri, int(leaf.not_valid_after_utc.astimezone(UTC).timestamp()) * 1_000_000_000)


def _load_key(key_pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(key_pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the device key is not an elliptic-curve key")  # noqa: TRY004 - the file's content is at fault, not a type
    return key
