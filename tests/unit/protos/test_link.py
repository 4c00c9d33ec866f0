"""Identity, join token, backoff and trace behave as both apps rely on."""

import datetime as dt
import re
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from protos.link.backoff import Backoff
from protos.link.credentials import certificate_request_der, new_private_key_pem
from protos.link.identity import (
    CA_FILE,
    CHAIN_FILE,
    KEY_FILE,
    SITE_KEY_FILE,
    DeviceIdentity,
    IdentityError,
    SpiffeId,
)
from protos.link.tls import insecure_channel, is_loopback
from protos.link.tokens import JoinToken, TokenError
from protos.link.trace import traceparent

SPIFFE = SpiffeId("tandem.example", "acme", "lyon", "press-07")


def _self_signed(key_pem: bytes, uri: str) -> bytes:
    key = load_pem_private_key(key_pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _identity() -> DeviceIdentity:
    key_pem = new_private_key_pem()
    chain_pem = _self_signed(key_pem, SPIFFE.uri)
    site_key = ed25519.Ed25519PrivateKey.generate().public_key()
    site_key_pem = site_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return DeviceIdentity.from_parts(key_pem=key_pem, chain_pem=chain_pem, ca_pem=chain_pem, site_key_pem=site_key_pem)


def test_a_spiffe_id_reads_back() -> None:
    """The URI and the parts say the same."""
    assert SpiffeId.parse(SPIFFE.uri) == SPIFFE


@pytest.mark.parametrize(
    "uri",
    ["spiffe://t/org/o/site/s", "https://t/org/o/site/s/device/d", "spiffe://t/org/o/site/s/device/../d", "", "x\n"],
)
def test_other_uris_are_no_device(uri: str) -> None:
    """Only the exact shape is an identity."""
    with pytest.raises(ValueError, match="not a device"):
        SpiffeId.parse(uri)


def test_an_identity_survives_the_disk(tmp_path: Path) -> None:
    """What was saved loads, and the key is readable by its owner alone."""
    identity = _identity()
    identity.save(tmp_path)
    assert DeviceIdentity.load(tmp_path) == identity
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert identity.not_after_ns == 1_767_312_000 * 10**9


def test_an_absent_identity_says_how_to_get_one(tmp_path: Path) -> None:
    """The mend names the command."""
    with pytest.raises(IdentityError) as caught:
        DeviceIdentity.load(tmp_path)
    assert "edge-agent enrol" in caught.value.mend


def test_a_certificate_for_another_key_is_refused(tmp_path: Path) -> None:
    """A mixed-up identity is noticed before it is used."""
    _identity().save(tmp_path)
    (tmp_path / KEY_FILE).write_bytes(new_private_key_pem())
    with pytest.raises(IdentityError, match="another key"):
        DeviceIdentity.load(tmp_path)


@pytest.mark.parametrize("name", [CHAIN_FILE, KEY_FILE, CA_FILE, SITE_KEY_FILE])
def test_a_damaged_file_is_named_in_our_own_words(name: str, tmp_path: Path) -> None:
    """Garbage on disk is an identity error that names the file and both commands, not a PEM library's text."""
    _identity().save(tmp_path)
    (tmp_path / name).write_bytes(b"garbage")
    with pytest.raises(IdentityError, match=rf"{name} holds no .* in PEM form$") as caught:
        DeviceIdentity.load(tmp_path)
    assert "`cloud-hub tokens create --site S --device NAME`" in caught.value.mend
    assert "`edge-agent enrol --force --token-file F`" in caught.value.mend


def test_a_file_that_is_gone_from_an_identity_is_named(tmp_path: Path) -> None:
    """The device was enrolled: the mend is the way to enrol it again under its name."""
    _identity().save(tmp_path)
    (tmp_path / CA_FILE).unlink()
    with pytest.raises(IdentityError, match=rf"{CA_FILE} cannot be read") as caught:
        DeviceIdentity.load(tmp_path)
    assert "--device NAME" in caught.value.mend
    assert "edge-agent enrol --force" in caught.value.mend


def test_a_certificate_request_is_signed_by_the_key() -> None:
    """The hub can check that the device holds the key."""
    request = x509.load_der_x509_csr(certificate_request_der(new_private_key_pem(), "press-07"))
    assert request.is_signature_valid


def test_a_join_token_survives_a_careless_copy() -> None:
    """Line breaks and spaces do not matter."""
    token = JoinToken("t1", "secret", _self_signed(new_private_key_pem(), SPIFFE.uri))
    text = token.encode()
    assert JoinToken.parse(f"  {text[:40]}\n{text[40:]} \n") == token
    assert "secret" not in repr(token)


@pytest.mark.parametrize("text", ["", "hello", "tandem1.", "tandem1.!!!!", "tandem1.e30", "tandem1." + "A" * 9000])
def test_other_texts_are_no_token(text: str) -> None:
    """Every kind of damage is a TokenError that says what to do."""
    with pytest.raises(TokenError, match="copy the whole line"):
        JoinToken.parse(text)


def test_a_cut_token_is_damaged() -> None:
    """A token that lost its end does not parse."""
    text = JoinToken("t1", "secret", _self_signed(new_private_key_pem(), SPIFFE.uri)).encode()
    with pytest.raises(TokenError):
        JoinToken.parse(text[:-10])


def test_backoff_grows_to_its_cap_and_forgets() -> None:
    """No wait exceeds the cap; the first after a reset is within the initial bound."""
    backoff = Backoff(initial_s=0.5, cap_s=4.0)
    waits = [backoff.next_s() for _ in range(50)]
    assert all(0.0 <= wait_s <= 4.0 for wait_s in waits)
    assert max(waits[5:]) > 0.5
    first_waits = []
    for _ in range(20):
        backoff.reset()
        first_waits.append(backoff.next_s())
    assert max(first_waits) <= 0.5


def test_a_repeat_carries_the_same_trace() -> None:
    """The trace follows from the prediction id, in W3C form."""
    assert traceparent("abc") == traceparent("abc") != traceparent("abd")
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", traceparent("abc"))


def test_plain_text_stays_on_loopback() -> None:
    """A plain channel to another machine is refused with the mend."""
    assert is_loopback("127.0.0.1:1")
    assert is_loopback("[::1]:1")
    assert is_loopback("localhost:1")
    assert not is_loopback("192.0.2.1:1")
    assert not is_loopback("hub.example:1")
    with pytest.raises(ValueError, match="enrol"):
        insecure_channel("192.0.2.1:1", "press-07")
