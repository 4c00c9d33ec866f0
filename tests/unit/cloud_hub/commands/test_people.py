"""`cloud-hub people`: letting somebody in, locking somebody out, and secrets that are told once."""

import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from cloud_hub.adapters.passwords.argon2id import Argon2Hasher
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.commands.opened_store import with_store
from cloud_hub.config import CONFIG_NAME, load_config
from cloud_hub.core.events import COMMAND_LINE, EventKind
from model_packs.process.exits import CliError, Exit
from tests.unit.cloud_hub.commands.calls import documented, on

Work = Callable[[SqlStore], Coroutine[Any, Any, Any]]


def _in(hub: Path, work: Work) -> Any:  # noqa: ANN401 - what the work returns
    return with_store(load_config(hub / CONFIG_NAME), work)


def _opens(hub: Path, name: str, password: str) -> bool:
    async def compare(store: SqlStore) -> bool:
        return await Argon2Hasher().verify(await store.password_hash(name), password)

    return bool(_in(hub, compare))


def test_a_generated_password_is_printed_once_and_opens(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The password stands alone on stdout; the database holds its argon2id hash only."""
    assert on(hub, "people", "add", "ada@plant", "--role", "labeler") == Exit.OK
    printed = capsys.readouterr()
    password = printed.out.strip()
    assert "ada@plant may log in as labeler; shown once:" in printed.err
    assert _opens(hub, "ada@plant", password)
    assert not _opens(hub, "ada@plant", password + "x")
    assert not _opens(hub, "bob", password)
    database = sqlite3.connect(hub / "hub.db")
    ((stored,),) = database.execute("SELECT password_hash FROM person")
    database.close()
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_a_password_from_a_file_is_not_printed(hub: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first line of the file is the password, blanks and all; nothing is told but that it is set."""
    path = tmp_path / "password"
    path.write_text(" correct horse \nnot this\n")
    assert on(hub, "people", "add", "ada", "--role", "operator", "--password-file", str(path)) == Exit.OK
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "ada may log in as operator\n"
    assert _opens(hub, "ada", " correct horse ")


def test_people_are_listed_by_name(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The list has a row or an entry a person; an empty one says what to do."""
    assert on(hub, "people", "list") == Exit.OK
    assert "cloud-hub people add NAME" in capsys.readouterr().out
    on(hub, "people", "add", "eva", "--role", "viewer")
    on(hub, "people", "add", "ada", "--role", "operator")
    capsys.readouterr()
    assert on(hub, "people", "list") == Exit.OK
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["ada", "operator"],
        ["eva", "viewer"],
    ]
    on(hub, "people", "list", "--json")
    people = documented(capsys.readouterr().out, "people")["people"]
    assert [person["name"] for person in people] == ["ada", "eva"]


def test_a_token_opens_until_it_is_revoked(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The token stands alone on stdout, names its person to the API, and is worthless once revoked."""
    on(hub, "people", "add", "ada", "--role", "operator")
    capsys.readouterr()
    assert on(hub, "people", "token", "ada") == Exit.OK
    token = capsys.readouterr().out.strip()
    assert _in(hub, lambda store: store.api_token(token)).name == "ada"
    assert on(hub, "people", "token", "ada", "--revoke") == Exit.OK
    assert "revoked 1 API token of ada" in capsys.readouterr().err
    assert _in(hub, lambda store: store.api_token(token)) is None


def test_a_new_password_ends_open_sessions(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever holds a session from before has to log in again, with the new password."""
    on(hub, "people", "add", "ada", "--role", "operator")
    old = capsys.readouterr().out.strip()
    secret = _in(hub, lambda store: store.open_web_session("ada", 1, 60.0))
    assert on(hub, "people", "password", "ada", "--json") == Exit.OK
    new = documented(capsys.readouterr().out, "person")["secret"]
    assert _opens(hub, "ada", new)
    assert not _opens(hub, "ada", old)
    assert _in(hub, lambda store: store.web_session(secret, 2)) is None


def test_a_removed_person_is_locked_out_at_once(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Password, sessions and tokens are gone, and what happened is told in events by whom."""
    on(hub, "people", "add", "ada", "--role", "operator")
    capsys.readouterr()
    on(hub, "people", "token", "ada")
    token = capsys.readouterr().out.strip()
    assert on(hub, "people", "remove", "ada", "--json") == Exit.OK
    assert documented(capsys.readouterr().out, "person")["secret"] is None
    assert _in(hub, lambda store: store.api_token(token)) is None
    assert _in(hub, lambda store: store.password_hash("ada")) is None
    told = _in(hub, lambda store: store.recent_events(5))
    assert [(event.kind, event.actor, event.subject) for event in told] == [
        (EventKind.PERSON_REMOVED, COMMAND_LINE, "ada"),
        (EventKind.TOKEN_MADE, COMMAND_LINE, "ada"),
        (EventKind.PERSON_ADDED, COMMAND_LINE, "ada"),
    ]


@pytest.mark.parametrize(
    ("arguments", "message", "mend"),
    [
        (("add", "Ada Lovelace", "--role", "viewer"), "'Ada Lovelace' cannot be a person's name", "a-z"),
        (("add", "eva", "--role", "viewer"), "eva is a person of this hub already", "people password eva"),
        (("remove", "bob"), "'bob' is no person of this hub", "people list"),
        (("password", "bob"), "'bob' is no person of this hub", "people list"),
        (("token", "bob"), "'bob' is no person of this hub", "people list"),
        (("token", "bob", "--revoke"), "'bob' is no person of this hub", "people list"),
        (("add", "ada", "--role", "viewer", "--password-file", "short"), "cannot be used", "10 to 256 characters"),
        (("add", "ada", "--role", "viewer", "--password-file", "empty"), "cannot be used", "10 to 256 characters"),
        (("add", "ada", "--role", "viewer", "--password-file", "none"), "--password-file none cannot be read", "file"),
        (("add", "ada", "--role", "viewer", "--password-file", "bytes"), "--password-file bytes cannot be", "text"),
    ],
)
def test_what_cannot_be_done_is_named_with_its_mend(  # noqa: PLR0917 - three fixtures and a table's row
    hub: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
    mend: str,
) -> None:
    """A name, a password or a person that will not do ends the command with exit code 64; nothing is changed."""
    monkeypatch.chdir(tmp_path)
    Path("short").write_text("123456789\n")
    Path("empty").write_text("")
    Path("bytes").write_bytes(b"\xff\xfe\xff")
    on(hub, "people", "add", "eva", "--role", "viewer")
    with pytest.raises(CliError) as caught:
        on(hub, "people", *arguments)
    assert caught.value.exit is Exit.USAGE
    assert message in caught.value.message
    assert mend in caught.value.mend
    assert [person.name for person in _in(hub, lambda store: store.people())] == ["eva"]
