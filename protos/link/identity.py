"""A device's identity: its SPIFFE name, and its key and certificate on disk.

Reading keys and certificates is `credentials.py`, loaded where there is an identity to read. Issuing certificates is
the hub's part. Keys are P-256: gRPC does not accept Ed25519 client certificates.
SPIFFE ID: https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from model_packs.process.durable import write_file

KEY_FILE = "device.key"
CHAIN_FILE = "device.pem"
CA_FILE = "hub-ca.pem"
SITE_KEY_FILE = "site.pub"

REENROL_COMMANDS = (
    "on the hub `cloud-hub tokens create --site S --device NAME`, "
    "then here `edge-agent enrol --force --token-file F` with the token in F"
)
"""How a device gets a new identity under its old name, for the end of a mend."""

_REENROL = f"enrol the device again: {REENROL_COMMANDS}"
_ENROL = "run `edge-agent enrol --token-file F` with a join token from `cloud-hub tokens create --site S` in F"
_NOWHERE = Path()

_NAME = r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?"
_URI = re.compile(
    rf"spiffe://(?P<trust_domain>{_NAME})/org/(?P<org>{_NAME})/site/(?P<site>{_NAME})/device/(?P<device>{_NAME})"
)


class IdentityError(Exception):
    """The identity on disk is absent or cannot be used.

    Attributes:
        mend: What the person at the device can do.
    """

    def __init__(self, message: str, mend: str) -> None:
        super().__init__(message)
        self.mend = mend


def is_name(text: str) -> bool:
    """Whether `text` can name an organisation, a site or a device: 1 to 64 of a-z 0-9 . _ -, ends alphanumeric."""
    return re.fullmatch(_NAME, text) is not None


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """`spiffe://{trust_domain}/org/{org}/site/{site}/device/{device}`.

    Raises:
        ValueError: A part is not a name (see `is_name`).
    """

    trust_domain: str
    org: str
    site: str
    device: str

    def __post_init__(self) -> None:
        for part in (self.trust_domain, self.org, self.site, self.device):
            if not is_name(part):
                raise ValueError(f"{part!r} is not a name: use 1 to 64 of a-z 0-9 . _ - and end in a letter or digit")

    @property
    def uri(self) -> str:
        """The URI that stands in the certificate's subject alternative name."""
        return f"spiffe://{self.trust_domain}/org/{self.org}/site/{self.site}/device/{self.device}"

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read a URI of exactly this shape.

        Raises:
            ValueError: It is another kind of URI.
        """
        found = _URI.fullmatch(uri)
        if found is None:
            raise ValueError(f"{uri!r} is not a device's SPIFFE id")
        return cls(found["trust_domain"], found["org"], found["site"], found["device"])


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """What a device proves itself with, and whom it trusts.

    Attributes:
        chain_pem: Leaf first.
        ca_pem: Authorities that may sign the hub's certificate.
        site_key_pem: Public key that signs packs, pinned at enrolment.
        not_after_ns: End of the leaf's validity, Unix epoch, UTC.
    """

    spiffe: SpiffeId
    key_pem: bytes = field(repr=False)
    chain_pem: bytes = field(repr=False)
    ca_pem: bytes = field(repr=False)
    site_key_pem: bytes = field(repr=False)
    not_after_ns: int

    @classmethod
    def from_parts(
        cls, *, key_pem: bytes, chain_pem: bytes, ca_pem: bytes, site_key_pem: bytes, folder: Path = _NOWHERE
    ) -> Self:
        """Put an identity together and check that its parts can be read and belong to each other.

        Args:
            key_pem: The device's private key.
            chain_pem: Its certificate, and those between it and an authority.
            ca_pem: Authorities that may sign the hub's certificate.
            site_key_pem: Public key that signs packs.
            folder: Where the parts lie, for messages.

        Raises:
            IdentityError: A part is unreadable, or the certificate is for another key or names no device.
        """
        from protos.link import credentials  # noqa: PLC0415 - a device that works alone does without the library

        for pem, name in ((chain_pem, CHAIN_FILE), (ca_pem, CA_FILE)):
            if not credentials.holds_certificates(pem):
                raise IdentityError(f"{folder / name} holds no certificate in PEM form", _REENROL)
        if problem := credentials.site_key_problem(site_key_pem):
            raise IdentityError(f"{folder / SITE_KEY_FILE} {problem}", _REENROL)
        if not credentials.holds_key(key_pem):
            raise IdentityError(f"{folder / KEY_FILE} holds no elliptic-curve key in PEM form", _REENROL)
        try:
            leaf = credentials.read_leaf(chain_pem)
            spiffe = SpiffeId.parse(leaf.uri)
        except ValueError as exc:
            raise IdentityError(f"the certificate in {folder / CHAIN_FILE} names no device", _REENROL) from exc
        if not credentials.is_for_key(chain_pem, key_pem):
            what = f"the certificate in {folder / CHAIN_FILE} is for another key than {folder / KEY_FILE}"
            raise IdentityError(what, _REENROL)
        return cls(spiffe, key_pem, chain_pem, ca_pem, site_key_pem, leaf.not_after_ns)

    def save(self, folder: Path) -> None:
        """Write the files, each durably; the certificate last, since its presence means "enrolled"."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_file(folder / KEY_FILE, self.key_pem, mode=0o600)
        write_file(folder / CA_FILE, self.ca_pem)
        write_file(folder / SITE_KEY_FILE, self.site_key_pem)
        write_file(folder / CHAIN_FILE, self.chain_pem)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the identity that `save` wrote.

        Raises:
            IdentityError: A file is missing or unreadable, or they do not fit; the mend says to enrol.
        """
        parts: dict[str, bytes] = {}
        for name in (CHAIN_FILE, KEY_FILE, CA_FILE, SITE_KEY_FILE):
            try:
                parts[name] = (folder / name).read_bytes()
            except OSError as exc:
                is_enrolled = (folder / CHAIN_FILE).exists()
                raise IdentityError(
                    f"no {'whole ' if is_enrolled else ''}identity: {folder / name} cannot be read ({exc.strerror})",
                    _REENROL if is_enrolled else _ENROL,
                ) from exc
        return cls.from_parts(
            key_pem=parts[KEY_FILE],
            chain_pem=parts[CHAIN_FILE],
            ca_pem=parts[CA_FILE],
            site_key_pem=parts[SITE_KEY_FILE],
            folder=folder,
        )
