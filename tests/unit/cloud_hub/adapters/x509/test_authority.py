"""Certificates: who signs, for whom, for how long, and what damaged files say."""

import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from cloud_hub.adapters.x509.authority import CertificateAuthority, create_authority, load_authority
from cloud_hub.adapters.x509.certificates import peer_key_digest
from cloud_hub.adapters.x509.key_files import certificate_facts
from cloud_hub.adapters.x509.server_certificate import create_server_certificate, load_server_files
from cloud_hub.core.devices import DeviceKey
from cloud_hub.errors import KeyFileError
from model_packs.signing import generate_site_key
from protos.link.credentials import certificate_request_der, new_private_key_pem
from protos.link.identity import DeviceIdentity

PRESS = DeviceKey("o", "hall-1", "press-07")
DAY_NS = 86_400 * 1_000_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An authority and a server certificate."""
    now_ns = time.time_ns()
    create_authority(tmp_path / "ca.key", tmp_path / "ca.crt", org_id="o", now_ns=now_ns)
    create_server_certificate(
        tmp_path / "ca.key",
        tmp_path / "ca.crt",
        key_path=tmp_path / "server.key",
        certificate_path=tmp_path / "server.crt",
        names=["hub.example", "10.0.0.7"],
        now_ns=now_ns,
    )
    return tmp_path


def authority(folder: Path, certificate_days: int = 365) -> CertificateAuthority:
    """The authority in the folder."""
    return load_authority(
        folder / "ca.key", folder / "ca.crt", trust_domain="tandem", certificate_days=certificate_days
    )


def test_keys_are_private_and_certificates_say_for_whom(folder: Path) -> None:
    """Key files are 0600; the server certificate carries its names and lives as long as the authority."""
    for name in ("ca.key", "server.key"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    server, own = certificate_facts(folder / "server.crt"), certificate_facts(folder / "ca.crt")
    assert server.names == ("hub.example", "10.0.0.7")
    assert server.not_after_ns == own.not_after_ns
    assert load_server_files(folder / "server.key", folder / "server.crt")[1].count(b"BEGIN CERTIFICATE") == 2


def test_a_device_certificate_is_a_device_identity(folder: Path) -> None:
    """The certificate that is issued loads as the identity that the device will use, whatever its request claimed."""
    key_pem = new_private_key_pem()
    request = certificate_request_der(key_pem, "i-am-the-admin")
    signer, now_ns = authority(folder), time.time_ns()
    issued = signer.issue(request, PRESS, now_ns)
    site_key = generate_site_key(folder / "site.key")
    identity = DeviceIdentity.from_parts(
        key_pem=key_pem,
        chain_pem=issued.chain_pem,
        ca_pem=signer.certificate_pem,
        site_key_pem=site_key.public.pem.encode(),
    )
    assert identity.spiffe.uri == "spiffe://tandem/org/o/site/hall-1/device/press-07"
    leaf, above = x509.load_pem_x509_certificates(issued.chain_pem)
    leaf.verify_directly_issued_by(above)
    assert b"admin" not in issued.chain_pem
    assert signer.public_key_digest(request) == issued.public_key_digest == peer_key_digest(issued.chain_pem)
    assert abs(issued.not_after_ns - (now_ns + 365 * DAY_NS)) < DAY_NS


def test_no_certificate_outlives_its_authority(folder: Path) -> None:
    """A validity beyond the authority's is cut to it."""
    issued = authority(folder, certificate_days=36_500).issue(
        certificate_request_der(new_private_key_pem(), "x"), PRESS, time.time_ns()
    )
    assert issued.not_after_ns == certificate_facts(folder / "ca.crt").not_after_ns


def _remove(folder: Path) -> None:
    (folder / "ca.key").unlink()


def _publish(folder: Path) -> None:
    (folder / "ca.key").chmod(0o644)


def _damage_key(folder: Path) -> None:
    (folder / "ca.key").write_text("nonsense")


def _damage_certificate(folder: Path) -> None:
    (folder / "ca.crt").write_text("nonsense")


def _swap(folder: Path) -> None:
    (folder / "ca.crt").write_bytes((folder / "server.crt").read_bytes())


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (_remove, "No such file"),
        (_publish, "readable by others"),
        (_damage_key, "no private key"),
        (_damage_certificate, "no certificate"),
        (_swap, "is not the certificate of"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(folder: Path, damage: Callable[[Path], None], word: str) -> None:
    """Each damage names the file and a mend."""
    damage(folder)
    with pytest.raises(KeyFileError, match=word) as caught:
        authority(folder)
    assert str(folder) in str(caught.value)
    assert caught.value.mend
