"""Owns what the hub's listeners present to devices: their key and certificate, signed by the hub's own authority."""

import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from cloud_hub.adapters.x509.certificates import leaf, to_datetime
from cloud_hub.adapters.x509.key_files import load_pair, write_pair


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
    authority_key, authority = load_pair(authority_key_path, authority_certificate_path)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        leaf(key.public_key(), authority, names[0], to_datetime(now_ns), authority.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    write_pair(key_path, certificate_path, key, certificate, authority)


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
    load_pair(key_path, certificate_path)
    return key_path.read_bytes(), certificate_path.read_bytes()


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
