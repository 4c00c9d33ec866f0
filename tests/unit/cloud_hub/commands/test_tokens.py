"""`cloud-hub tokens`: what is printed where, and what is refused."""

import time
from pathlib import Path

import pytest

from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.commands.opened_store import with_store
from cloud_hub.config import CONFIG_NAME, load_config
from cloud_hub.errors import TokenExpiredError
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


def test_a_revoked_token_lets_nobody_in_any_more(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At once, whatever uses were left; the device that came with it stays, and the other token goes on."""
    on(hub, "tokens", "create", "--site", "hall-1", "--uses", "2")
    leaked = JoinToken.parse(capsys.readouterr().out)
    on(hub, "tokens", "create", "--site", "hall-1")
    other = JoinToken.parse(capsys.readouterr().out)

    async def enrol(store: SqlStore, token: JoinToken, name: str) -> None:
        enrolment = Enrolment(token.token_id, token.secret, name, name, "1")
        certificate = IssuedCertificate(f"serial-{name}", name, 1, 2, b"pem")
        await store.enrol(enrolment, lambda _: certificate, time.time_ns())

    config = load_config(hub / CONFIG_NAME)
    with_store(config, lambda store: enrol(store, leaked, "press-07"))
    assert on(hub, "tokens", "revoke", leaked.token_id) == Exit.OK
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"token {leaked.token_id} lets nobody in since 20" in printed.err
    assert "press-07 stays enrolled, `cloud-hub devices remove`" in printed.err
    with pytest.raises(TokenExpiredError):
        with_store(config, lambda store: enrol(store, leaked, "press-08"))
    with_store(config, lambda store: enrol(store, other, "press-08"))
    facts = with_store(config, lambda store: store.devices())
    assert [(one.key.device_id, one.is_removed) for one in facts] == [("press-07", False), ("press-08", False)]


def test_revoking_prints_the_token_as_a_document_and_may_be_repeated(
    hub: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second time it changes nothing: its end stays where it was."""
    on(hub, "tokens", "create", "--site", "hall-1")
    token = JoinToken.parse(capsys.readouterr().out)
    documents = []
    for _ in range(2):
        assert on(hub, "tokens", "revoke", token.token_id, "--json") == Exit.OK
        documents.append(documented(capsys.readouterr().out, "tokens"))
    assert documents[0] == documents[1]
    (entry,) = documents[0]["tokens"]
    assert (entry["token"], entry["state"], entry["used_by"]) == (token.token_id, "expired", [])


def test_an_unknown_token_is_not_revoked(hub: Path) -> None:
    """It is said, with where the ids stand."""
    with pytest.raises(CliError, match="no join token 'gone'") as caught:
        on(hub, "tokens", "revoke", "gone")
    assert caught.value.exit is Exit.USAGE
    assert "cloud-hub tokens list" in caught.value.mend
