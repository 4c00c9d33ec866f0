"""`cloud-hub tokens`: what is printed where, and what is refused."""

from pathlib import Path

import pytest

from model_packs.process.exits import CliError, Exit
from protos.link.tokens import JoinToken
from tests.unit.cloud_hub.commands.calls import on


def test_a_token_is_the_only_line_on_stdout(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The token can be piped; who may use it, and how long, stands on stderr; the secret is not in the database."""
    assert on(hub, "tokens", "create", "--site", "hall-1", "--uses", "3", "--ttl-h", "1") == Exit.OK
    printed = capsys.readouterr()
    token = JoinToken.parse(printed.out)
    assert printed.out.count("\n") == 1
    assert token.ca_pem == (hub / "ca" / "ca.crt").read_bytes()
    assert token.token_id in printed.err
    assert "3 devices of site hall-1" in printed.err
    assert token.secret.encode() not in (hub / "hub.db").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--site", "Hall 1"), "Hall 1"),
        (("--site", "hall-1", "--device", "a/b"), "a/b"),
        (("--site", "hall-1", "--uses", "0"), "--uses 0"),
        (("--site", "hall-1", "--ttl-h", "-1"), "--ttl-h -1"),
        (("--site", "hall-1", "--ttl-h", "nan"), "--ttl-h nan"),
    ],
)
def test_a_token_with_wrong_arguments_is_not_made(hub: Path, arguments: tuple[str, ...], word: str) -> None:
    """Wrong names and numbers are usage errors that name the value."""
    with pytest.raises(CliError, match=word) as caught:
        on(hub, "tokens", "create", *arguments)
    assert caught.value.exit is Exit.USAGE
