"""The command line: what it makes, prints and refuses, and with which exit code."""

import json
import socket
import stat
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cloud_hub.cli import execute
from cloud_hub.config import CONFIG_NAME, sample_hub
from model_packs.process.exits import CliError, Exit
from model_packs.signing import generate_site_key
from protos.link.tokens import JoinToken
from tests.simulators.packs import build_tiny

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def hub(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A hub's folder."""
    assert execute(["init", str(tmp_path / "hub"), "--name", "hub.example"]) == Exit.OK
    capsys.readouterr()
    return tmp_path / "hub"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """An unsigned hub pack."""
    build_tiny(tmp_path, name="tiny-hub", role="hub", escalates_to=None)
    return tmp_path / "layout"


def on(hub: Path, *arguments: str) -> int:
    """Run a command on this hub."""
    return execute([*arguments, "--config", str(hub / CONFIG_NAME)])


def documented(text: str, name: str) -> Any:  # noqa: ANN401 - JSON
    """A printed document, after it was checked against its shipped schema."""
    document = json.loads(text)
    schema = json.loads((files("cloud_hub") / "schemas" / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    return document


def test_init_makes_a_whole_hub_with_private_keys(hub: Path) -> None:
    """Settings, keys, certificates, pack store and database are there; keys are their owner's alone."""
    assert (hub / CONFIG_NAME).read_text() == sample_hub()
    for name in ("ca/ca.key", "server/server.key", "site.key"):
        assert stat.S_IMODE((hub / name).stat().st_mode) == 0o600
    for name in ("ca/ca.crt", "server/server.crt", "packs/index.json", "hub.db"):
        assert (hub / name).is_file()


def test_init_never_overwrites(hub: Path) -> None:
    """A second init of the same folder is refused and changes nothing."""
    before = {path: path.read_bytes() for path in hub.rglob("*") if path.is_file()}
    with pytest.raises(CliError, match="never overwritten") as caught:
        execute(["init", str(hub)])
    assert caught.value.exit is Exit.USAGE
    assert {path: path.read_bytes() for path in hub.rglob("*") if path.is_file()} == before


def test_init_refuses_what_is_no_name(tmp_path: Path) -> None:
    """A name with a port or a space is named, and nothing is made."""
    with pytest.raises(CliError, match="hub:8443"):
        execute(["init", str(tmp_path / "hub"), "--name", "hub:8443"])
    assert not (tmp_path / "hub").exists()


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


def test_an_empty_registry_is_a_document_and_a_hint(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without devices, JSON is an empty list and the table says what to do."""
    assert on(hub, "devices", "list", "--json") == Exit.OK
    assert documented(capsys.readouterr().out, "devices")["devices"] == []
    assert on(hub, "devices", "list") == Exit.OK
    assert "cloud-hub tokens create" in capsys.readouterr().out


def test_packs_are_published_signed_and_listed(hub: Path, layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Publishing twice changes nothing; the list names the pack, its digest and the site key."""
    for _ in range(2):
        assert on(hub, "packs", "publish", str(layout)) == Exit.OK
    published = capsys.readouterr().out.splitlines()
    assert published[0] == published[1]
    assert on(hub, "packs", "list", "--json") == Exit.OK
    (pack,) = documented(capsys.readouterr().out, "packs")["packs"]
    assert published[0] == f"published {pack['ref']} {pack['digest']}"
    assert len(pack["signed_by"]) == 1
    assert on(hub, "packs", "list") == Exit.OK
    assert "tiny-hub@1.0.0" in capsys.readouterr().out


def test_an_empty_pack_store_says_what_to_do(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without packs, the list is a hint."""
    assert on(hub, "packs", "list") == Exit.OK
    assert "cloud-hub packs publish" in capsys.readouterr().out


def test_a_damaged_layout_is_not_published(hub: Path, layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A flipped byte is bad data; nothing is listed afterwards."""
    blob = max((layout / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    with pytest.raises(CliError) as caught:
        on(hub, "packs", "publish", str(layout))
    assert caught.value.exit is Exit.DATA
    assert caught.value.mend
    capsys.readouterr()
    on(hub, "packs", "list", "--json")
    assert json.loads(capsys.readouterr().out)["packs"] == []


def test_a_healthy_hub_passes_its_examination(hub: Path, layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every check is ok; the document follows its schema."""
    use_free_ports(hub)
    on(hub, "packs", "publish", str(layout))
    capsys.readouterr()
    assert on(hub, "doctor", "--json") == Exit.OK
    document = documented(capsys.readouterr().out, "doctor")
    assert document["ok"]
    states = {check["name"]: check["state"] for check in document["checks"] if check["name"] != "disk"}
    assert set(states.values()) == {"ok"}
    assert {"authority", "server certificate", "site key", "database", "pack tiny-hub@1.0.0", "device port"} <= set(
        states
    )


def use_free_ports(hub: Path) -> None:
    """Let the ports be chosen at start."""
    (hub / CONFIG_NAME).write_text("[grpc]\nport = 0\nenrolment_port = 0\n[http]\nport = 0\n")


def _no_authority(hub: Path) -> None:
    (hub / "ca" / "ca.key").unlink()


def _no_server_key(hub: Path) -> None:
    (hub / "server" / "server.key").unlink()


def _no_site_key(hub: Path) -> None:
    (hub / "site.key").unlink()


def _other_site_key(hub: Path) -> None:
    (hub / "site.key").unlink()
    generate_site_key(hub / "site.key")


def _no_database(hub: Path) -> None:
    for path in hub.glob("hub.db*"):
        path.unlink()


def _broken_database(hub: Path) -> None:
    _no_database(hub)
    (hub / "hub.db").write_text("this is no database at all, but long enough to be looked at as one")


def _broken_index(hub: Path) -> None:
    (hub / "packs" / "index.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "check"),
    [
        (_no_authority, "authority"),
        (_no_server_key, "server certificate"),
        (_no_site_key, "site key"),
        (_other_site_key, "pack tiny-hub@1.0.0"),
        (_no_database, "database"),
        (_broken_database, "database"),
        (_broken_index, "packs"),
    ],
)
def test_an_examination_names_what_is_broken(
    hub: Path, layout: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None], check: str
) -> None:
    """The failed check carries the name of the part and a mend; the exit code tells scripts."""
    use_free_ports(hub)
    on(hub, "packs", "publish", str(layout))
    damage(hub)
    capsys.readouterr()
    assert on(hub, "doctor") == Exit.UNAVAILABLE
    printed = capsys.readouterr().out
    assert f"failed   {check}: " in printed
    assert "mend: " in printed


def test_an_examination_sees_a_port_that_another_program_has(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A listener that is no hub on one of the ports is a failed check that names the port."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        text = f'[grpc]\nhost = "127.0.0.1"\nport = {port}\nenrolment_port = 0\n[http]\nport = 0\n'
        (hub / CONFIG_NAME).write_text(text)
        assert on(hub, "doctor") == Exit.UNAVAILABLE
    assert f"failed   device port: another program listens on {port}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "arguments", "word"),
    [
        ("[grpc]\nprt = 1\n[http]\nhost = 'x'", (), "prt"),
        ("[grpc]\nhost = '0.0.0.0'", ("--insecure",), "loopback"),
    ],
)
def test_serve_does_not_start_with_wrong_settings(hub: Path, text: str, arguments: tuple[str, ...], word: str) -> None:
    """Unknown keys and plain text on a reachable address are configuration errors that name the mend."""
    (hub / CONFIG_NAME).write_text(text)
    with pytest.raises(CliError, match=word) as caught:
        on(hub, "serve", *arguments)
    assert caught.value.exit is Exit.CONFIG
    assert caught.value.mend


def test_a_command_without_a_hub_says_so(tmp_path: Path) -> None:
    """A settings file that is not there is named, with exit code 78."""
    with pytest.raises(CliError, match="no such file") as caught:
        execute(["devices", "list", "--config", str(tmp_path / "hub.toml")])
    assert caught.value.exit is Exit.CONFIG


def test_a_database_that_is_not_made_is_unavailable(hub: Path) -> None:
    """Reading commands do not make tables: the message says how to get them."""
    _no_database(hub)
    with pytest.raises(CliError, match="cloud-hub serve") as caught:
        on(hub, "devices", "list")
    assert caught.value.exit is Exit.UNAVAILABLE


def test_the_committed_sample_is_the_generated_one() -> None:
    """deploy/samples/hub.toml is what `init` writes."""
    assert (REPOSITORY / "deploy" / "samples" / "hub.toml").read_text() == sample_hub()
