"""`cloud-hub tokens`: what is printed where, and what is refused."""

from pathlib import Path

import pytest

from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.commands.opened_store import with_store
from cloud_hub.config import CONFIG_NAME, load_config
from cloud_hub.ports import Enrolment, IssuedCertificate
from model_packs.process.exits import CliError, Exit
from protos.link.tokens import JoinToken
from tests.unit.cloud_hub.commands.calls import documented, on


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


def test_tokens_are_listed_with_who_used_them(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Site, device, state and uses, the newest first; nothing of the secret. Without tokens it says how to make one."""
    assert on(hub, "tokens", "list") == Exit.OK
    assert "cloud-hub tokens create" in capsys.readouterr().out
    on(hub, "tokens", "create", "--site", "hall-1", "--uses", "2")
    used = JoinToken.parse(capsys.readouterr().out)
    on(hub, "tokens", "create", "--site", "hall-2", "--device", "press-09")
    bound = JoinToken.parse(capsys.readouterr().out)

    async def enrol(store: SqlStore) -> None:
        enrolment = Enrolment(used.token_id, used.secret, "press-07", "digest", "1")
        await store.enrol(enrolment, lambda _: IssuedCertificate("serial", "digest", 1, 2, b"pem"), 3)

    with_store(load_config(hub / CONFIG_NAME), enrol)
    assert on(hub, "tokens", "list") == Exit.OK
    _, *lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:5] for line in lines] == [
        [bound.token_id, "hall-2", "press-09", "open", "0/1"],
        [used.token_id, "hall-1", "any", "open", "1/2"],
    ]
    assert lines[1].endswith("press-07")
    assert on(hub, "tokens", "list", "--json") == Exit.OK
    printed = capsys.readouterr().out
    assert used.secret not in printed
    assert [one["used_by"] for one in documented(printed, "tokens")["tokens"]] == [[], ["press-07"]]
