"""Owns what all certificates under this hub's authority have in common: names, times, usages, and a key's digest.

Keys are P-256: gRPC takes no Ed25519 client certificates. Who signs which certificate is said in the modules beside.
"""

import hashlib
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import NameOID

BACKDATED = timedelta(minutes=5)
"""A device whose clock is a little behind must not refuse a fresh certificate."""

_MAX_COMMON_NAME_CHARS = 64  # RFC 5280, appendix A.1: ub-common-name
_NS_PER_S = 1_000_000_000


def leaf(
    key: ec.EllipticCurvePublicKey, authority: x509.Certificate, common_name: str, now: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    """Begin a certificate that signs no others.

    Args:
        key: The key that it is for.
        authority: The certificate of who will sign it.
        common_name: Shown in its subject; who it is for is said in an extension, the caller's to add.
        now: Its validity begins a little earlier.
        not_after: Its validity ends here.

    Returns:
        A builder, to extend and sign.
    """
    return (
        x509.CertificateBuilder()
        .subject_name(subject(common_name))
        .issuer_name(authority.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(_authority_key_id(authority), critical=False)
    )


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """The usages of an authority's key, or of any other."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def subject(common_name: str) -> x509.Name:
    """A name of one part, cut to what the standard allows."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:_MAX_COMMON_NAME_CHARS])])


def key_digest(key: CertificatePublicKeyTypes) -> str:
    """Digest a public key.

    Args:
        key: The key.

    Returns:
        SHA-256 (hex) of its SubjectPublicKeyInfo.
    """
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def peer_key_digest(certificate_pem: bytes) -> str:
    """Digest the key of a peer's certificate.

    Args:
        certificate_pem: The certificate that TLS has checked.

    Returns:
        As `key_digest`.

    Raises:
        ValueError: The bytes are no certificate.
    """
    return key_digest(x509.load_pem_x509_certificate(certificate_pem).public_key())


def to_datetime(at_ns: int) -> datetime:
    """A time of the hub's clock as certificates hold it: whole seconds, UTC."""
    return datetime.fromtimestamp(at_ns // _NS_PER_S, UTC)


def to_ns(at: datetime) -> int:
    """A certificate's time as the hub holds it: nanoseconds since the Unix epoch, UTC."""
    return int(at.timestamp()) * _NS_PER_S


def _authority_key_id(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    subject_id = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_id)
