"""A join token lets in whom it was made for; its secret stands nowhere but in what is handed out."""

from pathlib import Path

import pytest

from cloud_hub.core.tokens import Token, secret_digest
from cloud_hub.errors import DeviceNameError
from cloud_hub.inviting import Invitation, Inviting
from protos.link.tokens import JoinToken
from tests.simulators.hubs import HubSite
from tests.simulators.loops import in_loop

NOW_NS = 1_800_000_000_000_000_000
HOUR_NS = 3600 * 1_000_000_000


class Shelf:
    """Keeps what is stored."""

    def __init__(self) -> None:
        self.tokens: list[Token] = []

    async def add_token(self, token: Token, now_ns: int) -> None:
        """Store it."""
        assert now_ns == NOW_NS
        self.tokens.append(token)


@pytest.fixture
def authority_pem(tmp_path: Path) -> bytes:
    """A hub's own certificate."""
    return HubSite.found(tmp_path / "hub").config.folder.ca_certificate.read_bytes()


@pytest.mark.parametrize("device", [None, "press-07"])
@in_loop
async def test_a_token_holds_what_was_asked_for(authority_pem: bytes, device: str | None) -> None:
    """Site, uses, end and device are stored, of the secret a digest; the text holds id, secret and certificate."""
    shelf = Shelf()
    made = await Inviting(shelf, authority_pem, "default", lambda: NOW_NS).invite(Invitation("hall-1", 3, 1.5, device))
    (stored,) = shelf.tokens
    assert made.token == stored
    assert (stored.org_id, stored.site_id, stored.device_id, stored.max_uses) == ("default", "hall-1", device, 3)
    assert stored.expires_at_ns == NOW_NS + int(1.5 * HOUR_NS)
    carried = JoinToken.parse(made.encoded)
    assert (carried.token_id, secret_digest(carried.secret)) == (stored.token_id, stored.secret_digest)
    assert carried.ca_pem == authority_pem


@pytest.mark.parametrize("invitation", [Invitation("Hall 1", 1, 1.0, None), Invitation("hall-1", 1, 1.0, "a/b")])
@in_loop
async def test_a_name_that_is_none_is_refused_before_anything_is_stored(invitation: Invitation) -> None:
    """Site and device must fit a certificate and a topic."""
    shelf = Shelf()
    with pytest.raises(DeviceNameError):
        await Inviting(shelf, b"", "default", lambda: NOW_NS).invite(invitation)
    assert shelf.tokens == []
