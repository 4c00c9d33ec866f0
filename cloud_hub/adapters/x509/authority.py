"""Owns the hub's certificate authority: making it, loading it, and signing the certificates of devices.

Who may have a certificate is decided in `core.tokens`. A device's name is the SPIFFE id in its certificate; what the
device wrote into its request is ignored.
"""

from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from cloud_hub.adapters.x509.certificates import BACKDATED, key_digest, key_usage, leaf, subject, to_datetime, to_ns
from cloud_hub.adapters.x509.key_files import load_pair, write_pair
from cloud_hub.core.devices import DeviceKey
from cloud_hub.errors import CertificateRequestError
from cloud_hub.ports import IssuedCertificate
from protos.link.identity import SpiffeId

AUTHORITY_YEARS = 10
_DAYS_A_YEAR = 365


class CertificateAuthority:
    """Signs certificates of devices.

    Args:
        key: The authority's private key.
        certificate: Its own certificate.
        trust_domain: Trust domain of the SPIFFE ids.
        certificate_days: Validity of a device's certificate.
    """

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey,
        certificate: x509.Certificate,
        *,
        trust_domain: str,
        certificate_days: int,
    ) -> None:
        self._key = key
        self._certificate = certificate
        self._trust_domain = trust_domain
        self._validity = timedelta(days=certificate_days)

    @property
    def certificate_pem(self) -> bytes:
        """The authority's own certificate."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def public_key_digest(self, csr_der: bytes) -> str:
        """Check a certificate request and digest its key.

        Args:
            csr_der: PKCS#10, DER.

        Returns:
            SHA-256 (hex) of the SubjectPublicKeyInfo.

        Raises:
            CertificateRequestError: It is no request, its signature does not hold, or its key is not P-256.
        """
        return key_digest(_checked_key(csr_der))

    def issue(self, csr_der: bytes, device: DeviceKey, now_ns: int) -> IssuedCertificate:
        """Sign a request's key for a device.

        Args:
            csr_der: PKCS#10, DER; only its key is used.
            device: Whom the certificate names.
            now_ns: Wall clock, Unix epoch, UTC.

        Returns:
            The certificate and the authority's own, leaf first.

        Raises:
            CertificateRequestError: As for `public_key_digest`.
        """
        key = _checked_key(csr_der)
        now = to_datetime(now_ns)
        not_after = min(now + self._validity, self._certificate.not_valid_after_utc)
        name = SpiffeId(self._trust_domain, device.org_id, device.site_id, device.device_id)
        certificate = (
            leaf(key, self._certificate, device.device_id, now, not_after)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name.uri)]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return IssuedCertificate(
            serial=f"{certificate.serial_number:x}",
            public_key_digest=key_digest(key),
            not_before_ns=to_ns(certificate.not_valid_before_utc),
            not_after_ns=to_ns(certificate.not_valid_after_utc),
            chain_pem=certificate.public_bytes(serialization.Encoding.PEM) + self.certificate_pem,
        )


def create_authority(key_path: Path, certificate_path: Path, *, org_id: str, now_ns: int) -> None:
    """Make a new authority and write it down.

    Args:
        key_path: Where its private key goes (0600).
        certificate_path: Where its certificate goes.
        org_id: Shown in its subject.
        now_ns: Wall clock, Unix epoch, UTC.

    Raises:
        OSError: The files cannot be written.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = subject(f"Tandem hub of {org_id}")
    now = to_datetime(now_ns)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=AUTHORITY_YEARS * _DAYS_A_YEAR))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_pair(key_path, certificate_path, key, certificate)


def load_authority(
    key_path: Path, certificate_path: Path, *, trust_domain: str, certificate_days: int
) -> CertificateAuthority:
    """Read the authority from its files.

    Args:
        key_path: Its private key.
        certificate_path: Its certificate.
        trust_domain: Trust domain of the SPIFFE ids that it will sign.
        certificate_days: Validity of the certificates that it will sign.

    Returns:
        The authority.

    Raises:
        KeyFileError: A file is missing, readable by others, damaged, or the two do not belong together.
    """
    key, certificate = load_pair(key_path, certificate_path)
    return CertificateAuthority(key, certificate, trust_domain=trust_domain, certificate_days=certificate_days)


def _checked_key(csr_der: bytes) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_der_x509_csr(csr_der)
        is_signed = request.is_signature_valid
        key = request.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise CertificateRequestError(f"the certificate request cannot be read: {error}") from error
    if not is_signed:
        raise CertificateRequestError("the certificate request is not signed by its own key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CertificateRequestError("the certificate request's key is not P-256: make a P-256 key")
    return key
