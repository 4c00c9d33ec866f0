"""Owns the hub's certificates: the authority, the listeners' certificate, and the certificates of devices (X.509).

Who may have a certificate is decided in `core.tokens`. Keys are P-256: gRPC takes no Ed25519 client certificates.
A device's name is the SPIFFE id in its certificate; what the device wrote into its request is ignored.
"""

import hashlib
import ipaddress
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud_hub.core.devices import DeviceKey
from cloud_hub.errors import CertificateRequestError, KeyFileError
from cloud_hub.ports import IssuedCertificate
from model_packs.process.durable import make_folder, private_file, write_file
from protos.link.identity import SpiffeId

AUTHORITY_YEARS = 10
_DAYS_A_YEAR = 365
_BACKDATED = timedelta(minutes=5)  # a device whose clock is a little behind must not refuse a fresh certificate
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What an operator wants to know about a certificate file."""

    subject: str
    names: tuple[str, ...]
    not_after_ns: int


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
        now = _time(now_ns)
        not_after = min(now + self._validity, self._certificate.not_valid_after_utc)
        name = SpiffeId(self._trust_domain, device.org_id, device.site_id, device.device_id)
        leaf = (
            _leaf(key, self._certificate, device.device_id, now, not_after)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name.uri)]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return IssuedCertificate(
            serial=f"{leaf.serial_number:x}",
            public_key_digest=key_digest(key),
            not_before_ns=_ns(leaf.not_valid_before_utc),
            not_after_ns=_ns(leaf.not_valid_after_utc),
            chain_pem=leaf.public_bytes(serialization.Encoding.PEM) + self.certificate_pem,
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
    name = _name(f"Tandem hub of {org_id}")
    now = _time(now_ns)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=AUTHORITY_YEARS * _DAYS_A_YEAR))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    make_folder(key_path.parent)
    private_file(key_path, _private_pem(key))
    write_file(certificate_path, certificate.public_bytes(serialization.Encoding.PEM))


def create_server_certificate(
    authority_key_path: Path,
    authority_certificate_path: Path,
    *,
    key_path: Path,
    certificate_path: Path,
    names: Sequence[str],
    now_ns: int,
) -> None:
    """Make the listeners' key and certificate, as long-lived as the authority, and write them down.

    Args:
        authority_key_path: The authority's key.
        authority_certificate_path: The authority's certificate.
        key_path: Where the private key goes (0600).
        certificate_path: Where the certificate goes, the authority's behind it.
        names: DNS names and IP addresses under which devices reach the hub; at least one.
        now_ns: Wall clock, Unix epoch, UTC.

    Raises:
        KeyFileError: The authority's files cannot be used.
        OSError: The files cannot be written.
    """
    authority_key = _load_key(authority_key_path)
    authority = _load_certificate(authority_certificate_path)
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = (
        _leaf(key.public_key(), authority, names[0], _time(now_ns), authority.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    make_folder(key_path.parent)
    private_file(key_path, _private_pem(key))
    write_file(certificate_path, leaf.public_bytes(encoding) + authority.public_bytes(encoding))


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
    key = _load_key(key_path)
    certificate = _load_certificate(certificate_path)
    if certificate.public_key() != key.public_key():
        raise KeyFileError(
            f"{certificate_path} is not the certificate of {key_path}", "restore both files from one backup"
        )
    return CertificateAuthority(key, certificate, trust_domain=trust_domain, certificate_days=certificate_days)


def load_server_files(key_path: Path, certificate_path: Path) -> tuple[bytes, bytes]:
    """Read what the listeners present.

    Args:
        key_path: Their private key.
        certificate_path: Their certificate, with its chain.

    Returns:
        Key and chain, PEM.

    Raises:
        KeyFileError: A file is missing, readable by others, damaged, or the two do not belong together.
    """
    key = _load_key(key_path)
    if _load_certificate(certificate_path).public_key() != key.public_key():
        raise KeyFileError(
            f"{certificate_path} is not the certificate of {key_path}", "restore both files from one backup"
        )
    return key_path.read_bytes(), certificate_path.read_bytes()


def certificate_facts(path: Path) -> CertificateFacts:
    """Read what an operator wants to know about a certificate.

    Args:
        path: PEM; the first certificate counts.

    Returns:
        Subject, names and end of validity.

    Raises:
        KeyFileError: The file is missing or damaged.
    """
    certificate = _load_certificate(path)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        shown = tuple(str(name.value) for name in names)
    except x509.ExtensionNotFound:
        shown = ()
    return CertificateFacts(certificate.subject.rfc4514_string(), shown, _ns(certificate.not_valid_after_utc))


def peer_key_digest(certificate_pem: bytes) -> str:
    """Digest the key of a peer's certificate, as `public_key_digest` does for a request.

    Args:
        certificate_pem: The certificate that TLS has checked.

    Returns:
        SHA-256 (hex) of its SubjectPublicKeyInfo.

    Raises:
        ValueError: The bytes are no certificate.
    """
    key = x509.load_pem_x509_certificate(certificate_pem).public_key()
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def key_digest(key: ec.EllipticCurvePublicKey) -> str:
    """Digest a public key.

    Args:
        key: The key.

    Returns:
        SHA-256 (hex) of its SubjectPublicKeyInfo.
    """
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


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


def _leaf(
    key: ec.EllipticCurvePublicKey, authority: x509.Certificate, common_name: str, now: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(authority.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(_authority_key_id(authority), critical=False)
    )


def _authority_key_id(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    subject_id = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_id)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
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


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        data = path.read_bytes()
    except OSError as error:
        raise KeyFileError(
            f"{path} cannot be read: {error.strerror}", "check state_dir, or make a hub with `cloud-hub init DIR`"
        ) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyFileError(f"{path} is readable by others (mode {mode:04o})", f"chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path} is no private key: {error}", "restore it from a backup") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyFileError(f"{path} is not an elliptic-curve key", "restore it from a backup")
    return key


def _load_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())[0]
    except OSError as error:
        raise KeyFileError(
            f"{path} cannot be read: {error.strerror}", "check state_dir, or make a hub with `cloud-hub init DIR`"
        ) from error
    except (ValueError, IndexError) as error:
        raise KeyFileError(f"{path} is no certificate: {error}", "restore it from a backup") from error


def _time(at_ns: int) -> datetime:
    return datetime.fromtimestamp(at_ns // _NS_PER_S, UTC)


def _ns(at: datetime) -> int:
    return int(at.timestamp()) * _NS_PER_S
