"""Owns the hub's keys and certificates as files: written privately, and read with a mend for each thing wrong."""

import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cloud_hub.adapters.x509.certificates import to_ns
from cloud_hub.errors import KeyFileError
from model_packs.process.durable import make_folder, private_file, write_file


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What an operator wants to know about a certificate file."""

    subject: str
    names: tuple[str, ...]
    not_after_ns: int


def write_pair(
    key_path: Path, certificate_path: Path, key: ec.EllipticCurvePrivateKey, *chain: x509.Certificate
) -> None:
    """Write down a key and its certificate.

    Args:
        key_path: Where the private key goes (0600).
        certificate_path: Where the certificate goes.
        key: The private key.
        *chain: Its certificate, and those of its issuers behind it.

    Raises:
        OSError: The files cannot be written.
    """
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    make_folder(key_path.parent)
    private_file(key_path, key_pem)
    write_file(certificate_path, b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain))


def load_pair(key_path: Path, certificate_path: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """Read a key and its certificate.

    Args:
        key_path: The private key.
        certificate_path: Its certificate; the first in the file counts.

    Returns:
        Both.

    Raises:
        KeyFileError: A file is missing, readable by others, damaged, or the two do not belong together.
    """
    key = _load_key(key_path)
    certificate = _load_certificate(certificate_path)
    if certificate.public_key() != key.public_key():
        raise KeyFileError(
            f"{certificate_path} is not the certificate of {key_path}", "restore both files from one backup"
        )
    return key, certificate


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
    return CertificateFacts(certificate.subject.rfc4514_string(), shown, to_ns(certificate.not_valid_after_utc))


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
