"""Site keys and signatures of pack.json."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from model_packs.errors import SigningError
from model_packs.signing import PublicKey, Signature, SiteKey, check_signed_by_one_of, generate_site_key

PACK_JSON = b'{"schema":"tandem.pack/1"}'


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SiteKey:
    """A site key."""
    return generate_site_key(tmp_path_factory.mktemp("key") / "site.key")


@pytest.fixture
def other_key(tmp_path: Path) -> SiteKey:
    """Another site's key."""
    return generate_site_key(tmp_path / "other.key")


def test_a_signature_holds_under_its_own_key(key: SiteKey) -> None:
    """The public half, read back from PEM, verifies what the private half signed."""
    PublicKey.from_pem(key.public.pem).verify(PACK_JSON, key.sign(PACK_JSON))


@settings(max_examples=50)
@given(st.integers(0, 64 * 8 - 1), st.integers(0, len(PACK_JSON) * 8 - 1))
def test_one_flipped_bit_breaks_it(key: SiteKey, signature_bit: int, message_bit: int) -> None:
    """Neither the signature nor the bytes may change by a single bit."""
    signature = key.sign(PACK_JSON)
    with pytest.raises(SigningError, match="does not hold"):
        key.public.verify(PACK_JSON, Signature(signature.key_id, flip(signature.value, signature_bit)))
    with pytest.raises(SigningError, match="does not hold"):
        key.public.verify(flip(PACK_JSON, message_bit), signature)


def flip(data: bytes, bit: int) -> bytes:
    """Flip one bit."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_another_key_is_refused(key: SiteKey, other_key: SiteKey) -> None:
    """A signature names its key, and a false name does not help."""
    signature = other_key.sign(PACK_JSON)
    with pytest.raises(SigningError, match="signed by key"):
        key.public.verify(PACK_JSON, signature)
    with pytest.raises(SigningError, match="does not hold"):
        key.public.verify(PACK_JSON, Signature(key.public.key_id, signature.value))


def test_bytes_signed_for_another_purpose_are_refused(key: SiteKey) -> None:
    """The domain prefix keeps a raw Ed25519 signature of the same bytes from counting."""
    bare = Signature(key.public.key_id, key._key.sign(PACK_JSON))
    with pytest.raises(SigningError, match="does not hold"):
        key.public.verify(PACK_JSON, bare)


def test_one_trusted_signature_among_others_is_enough(key: SiteKey, other_key: SiteKey) -> None:
    """Unknown signers neither help nor harm."""
    signatures = [other_key.sign(PACK_JSON), key.sign(PACK_JSON)]
    assert check_signed_by_one_of(PACK_JSON, signatures, [key.public]) == key.public.key_id


def test_a_broken_signature_does_not_hide_a_good_one(key: SiteKey) -> None:
    """Every signature that names a trusted key is tried."""
    good = key.sign(PACK_JSON)
    assert check_signed_by_one_of(PACK_JSON, [Signature(good.key_id, bytes(64)), good], [key.public])


@pytest.mark.parametrize("n_trusted", [0, 1])
def test_an_unsigned_pack_is_refused(key: SiteKey, n_trusted: int) -> None:
    """No signature, or nobody to trust, is never good enough."""
    with pytest.raises(SigningError, match="signed by nobody"):
        check_signed_by_one_of(PACK_JSON, [], [key.public] * n_trusted)


def test_the_key_file_is_private_and_never_overwritten(tmp_path: Path) -> None:
    """Mode 0600; a second key at the same place is refused; the loaded key is the same."""
    path = tmp_path / "site.key"
    made = generate_site_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert SiteKey.load(path).public.key_id == made.public.key_id
    with pytest.raises(SigningError, match="exists already"):
        generate_site_key(path)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """The mend is the command that mends it."""
    path = tmp_path / "site.key"
    generate_site_key(path)
    path.chmod(0o640)
    with pytest.raises(SigningError, match="mode 0640") as caught:
        SiteKey.load(path)
    assert caught.value.mend == f"chmod 600 {path}"


def test_files_that_are_no_keys_are_refused(tmp_path: Path) -> None:
    """Rubbish, a missing file, a public key in the private one's place, and another algorithm are each named."""
    path = tmp_path / "key"
    with pytest.raises(SigningError, match="cannot be read"):
        PublicKey.load(path)
    path.write_bytes(b"rubbish")
    path.chmod(0o600)
    with pytest.raises(SigningError, match="not a PEM public key"):
        PublicKey.load(path)
    with pytest.raises(SigningError, match="not an unencrypted PEM private key"):
        SiteKey.load(path)
    curve = ec.generate_private_key(ec.SECP256R1())
    encoding = serialization.Encoding.PEM
    path.write_bytes(curve.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    with pytest.raises(SigningError, match="not Ed25519"):
        SiteKey.load(path)
    with pytest.raises(SigningError, match="not Ed25519"):
        PublicKey.from_pem(curve.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo))
