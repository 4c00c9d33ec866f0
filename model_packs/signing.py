"""Owns Ed25519 site keys and signatures over pack.json.

Which keys are trusted is decided by whoever loads a pack. A signature covers a domain prefix and the exact bytes of
pack.json, which names every other byte of the pack by digest.

Signing, in steps: 1. take the canonical pack.json; 2. put `DOMAIN` before it; 3. sign with Ed25519 (RFC 8032).
Verifying repeats 1 and 2 on the received bytes and checks 3 against each trusted key whose id the signature names.
"""

import base64
import binascii
import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NewType

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from model_packs.errors import SigningError
from model_packs.process.durable import private_file
from model_packs.strict_json import JsonValue, Table

DOMAIN: Final = b"tandem-pack-v1\0"

KeyId = NewType("KeyId", str)
"""SHA-256 of the public key's DER form, as 64 hex digits."""

_SIGNATURE_BYTES = 64
_MAX_KEY_FILE_BYTES = 1 << 14


@dataclass(frozen=True, slots=True)
class Signature:
    """One key's signature of one pack.json.

    Attributes:
        key_id: The key that made it.
        value: The 64 bytes.
    """

    key_id: KeyId
    value: bytes

    def to_json(self) -> dict[str, JsonValue]:
        """Write the signature as it rides in a manifest's annotation.

        Returns:
            An object with `keyid` and `sig` (base64).
        """
        return {"keyid": self.key_id, "sig": base64.b64encode(self.value).decode()}


def read_signature(table: Table) -> Signature:
    """Read a signature strictly.

    Args:
        table: The JSON object under inspection; problems are noted there.

    Returns:
        The signature (empty after a problem).
    """
    key_id = KeyId(table.text("keyid", r"[0-9a-f]{64}"))
    text = table.text("sig")
    table.finish()
    try:
        value = base64.b64decode(text, validate=True)
    except binascii.Error:
        value = b""
    if len(value) != _SIGNATURE_BYTES:
        table.note("sig", f"must be {_SIGNATURE_BYTES} bytes in base64")
    return Signature(key_id, value)


class PublicKey:
    """A key that signatures are checked with.

    Args:
        key: The Ed25519 public key.
    """

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key

    @classmethod
    def from_pem(cls, pem: bytes | str) -> "PublicKey":
        """Read a public key.

        Args:
            pem: PEM text (SubjectPublicKeyInfo).

        Returns:
            The key.

        Raises:
            SigningError: It is no Ed25519 public key.
        """
        data = pem.encode() if isinstance(pem, str) else pem
        try:
            key = serialization.load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise SigningError(f"not a PEM public key: {error}", "give the site's public key (site.pub)") from error
        if not isinstance(key, Ed25519PublicKey):
            raise SigningError("the public key is not Ed25519", "give the site's public key (site.pub)")
        return cls(key)

    @classmethod
    def load(cls, path: Path) -> "PublicKey":
        """Read a public key file.

        Args:
            path: The PEM file.

        Returns:
            The key.

        Raises:
            SigningError: It cannot be read or is no Ed25519 public key.
        """
        try:
            return cls.from_pem(_read_key_file(path))
        except SigningError as error:
            raise SigningError(f"{path}: {error.reason}", error.mend) from error

    @property
    def pem(self) -> str:
        """The key as PEM text."""
        encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_bytes(encoding, form).decode()

    @property
    def key_id(self) -> KeyId:
        """The key's id."""
        encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        return KeyId(hashlib.sha256(self._key.public_bytes(encoding, form)).hexdigest())

    def verify(self, pack_json: bytes, signature: Signature, *, domain: bytes = DOMAIN) -> None:
        """Check a signature.

        Args:
            pack_json: The bytes as received.
            signature: What should be this key's signature of them.
            domain: What kind of statement the bytes are: a signature of one kind is none of another.

        Raises:
            SigningError: It is another key's, or the bytes are not those that were signed.
        """
        mend = "fetch the pack again from a source that you trust, or have it signed anew"
        if signature.key_id != self.key_id:
            raise SigningError(f"signed by key {signature.key_id[:12]}, not by {self.key_id[:12]}", mend)
        try:
            self._key.verify(signature.value, domain + pack_json)
        except InvalidSignature as error:
            raise SigningError(f"the signature by key {self.key_id[:12]} does not hold", mend) from error


class SiteKey:
    """The private key that signs packs at publish.

    Args:
        key: The Ed25519 private key.
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def load(cls, path: Path) -> "SiteKey":
        """Read the key from its file.

        Args:
            path: PEM file (PKCS#8, unencrypted), readable by its owner only.

        Returns:
            The key.

        Raises:
            SigningError: The file is missing, readable by others, or no Ed25519 private key.
        """
        data = _read_key_file(path)
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise SigningError(f"{path}: the private key is readable by others (mode {mode:04o})", f"chmod 600 {path}")
        try:
            key = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SigningError(f"{path}: not an unencrypted PEM private key", _KEY_MEND) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise SigningError(f"{path}: the private key is not Ed25519", _KEY_MEND)
        return cls(key)

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return PublicKey(self._key.public_key())

    def sign(self, pack_json: bytes, *, domain: bytes = DOMAIN) -> Signature:
        """Sign a pack.json, or another kind of statement.

        Args:
            pack_json: Its canonical bytes.
            domain: What kind of statement the bytes are.

        Returns:
            The signature; the same key and bytes always give the same one.
        """
        return Signature(self.public.key_id, self._key.sign(domain + pack_json))


_KEY_MEND = "give the site key that cloud-hub init made"


def generate_site_key(path: Path) -> SiteKey:
    """Make a new site key and write it as an unencrypted PEM file that only its owner can read.

    Args:
        path: The file; must not exist, its folder must.

    Returns:
        The key.

    Raises:
        SigningError: The file exists already.
        OSError: It cannot be written.
    """
    if os.path.lexists(path):
        raise SigningError(f"{path} exists already", "move the old key away first; packs signed with it need it")
    key = Ed25519PrivateKey.generate()
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private_file(path, key.private_bytes(encoding, form, serialization.NoEncryption()))
    return SiteKey(key)


def check_signed_by_one_of(pack_json: bytes, signatures: Iterable[Signature], trusted: Sequence[PublicKey]) -> KeyId:
    """Require that at least one trusted key signed.

    Args:
        pack_json: The bytes as received.
        signatures: The signatures that came along.
        trusted: The keys that count.

    Returns:
        The id of a trusted key whose signature holds.

    Raises:
        SigningError: No trusted key signed, or every signature that claims to be one's does not hold.
    """
    keys = {key.key_id: key for key in trusted}
    given = tuple(signatures)
    failure: SigningError | None = None
    for signature in given:
        key = keys.get(signature.key_id)
        if key is None:
            continue
        try:
            key.verify(pack_json, signature)
        except SigningError as error:
            failure = error
        else:
            return signature.key_id
    if failure is not None:
        raise failure
    named = ", ".join(signature.key_id[:12] for signature in given) or "nobody"
    wanted = ", ".join(key_id[:12] for key_id in keys) or "none"
    raise SigningError(
        f"signed by {named}; trusted here: {wanted}",
        "sign the pack with a key that this machine trusts (cloud-hub packs publish)",
    )


def _read_key_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_KEY_FILE_BYTES)
    except OSError as error:
        raise SigningError(f"{path}: cannot be read: {error.strerror}", "check the path of the key") from error
