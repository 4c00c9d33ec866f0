"""`edge-agent check`: problems of files and packs, or each binding's way."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edge_agent import config
from edge_agent.cli import parser
from model_packs.errors import PackError
from model_packs.process.exits import CliError, Exit
from model_packs.signing import SiteKey, generate_site_key
from model_packs.store import PackStore
from protos.link.identity import CHAIN_FILE, SITE_KEY_FILE
from tests.simulators.packs import build_tiny, build_tiny_image

SCHEMA = Path(config.__file__).parent / "schemas" / "edge.check.1.json"

AGENT = '[device]\nid = "press-07"\n'
HUB = '[hub]\naddress = "localhost:8443"\n'
KEYS = '[packs]\ntrusted_keys = ["site.pub"]\n'
BINDINGS = """\
[mqtt.site]
url = "mqtt://localhost"
[[binding]]
name = "motion"
broker = "site"
pack = "layout"
topic = "demo/{person}/imu"
partition = ["person"]
payload = { rate_hz = 5 }
window = { size_s = 1, hop_s = 0.2 }
result = { topic = "demo/{person}/motion" }
"""
IMAGES = """\
[[binding]]
name = "branch"
broker = "site"
pack = "./images/layout"
topic = "branch/{form}/crop"
partition = []
payload = { codec = "image", key = ["form"] }
result = { topic = "branch/{form}/digit" }
"""
BY_PATH = BINDINGS.replace('"layout"', '"./layout"')
BY_NAME = BINDINGS.replace('"layout"', '"tiny-edge@1.0.0"')


@pytest.fixture
def site_key(tmp_path: Path) -> SiteKey:
    """A site's key; its public part lies beside the configuration."""
    key = generate_site_key(tmp_path / "site.key")
    tmp_path.joinpath("site.pub").write_text(key.public.pem)
    return key


def write(folder: Path, agent: str, bindings: str) -> list[str]:
    """Write both files; return the command's arguments."""
    folder.joinpath("agent.toml").write_text(agent)
    folder.joinpath("bindings.toml").write_text(bindings)
    return ["check", "--config", str(folder / "agent.toml")]


def check(arguments: list[str]) -> int:
    """Run the command."""
    args = parser().parse_args(arguments)
    return int(args.run(args))


def document(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    """Run it with --json; the document fits its schema."""
    code = check([*arguments, "--json"])
    found = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(found)
    assert isinstance(found, dict)
    return code, found


def test_a_good_configuration_is_shown_on_a_screen(
    tmp_path: Path, site_key: SiteKey, capsys: pytest.CaptureFixture[str]
) -> None:
    """Topic, window, pack, result; who is asked."""
    build_tiny(tmp_path, sign=site_key)
    assert check(write(tmp_path, AGENT + HUB + KEYS, BY_PATH)) == Exit.OK
    shown = capsys.readouterr().out
    for words in (
        "device press-07, hub localhost:8443, not enrolled",
        "from   demo/{person}/imu on site (mqtt://localhost)",
        "window 1 s every 0.2 s at 5 Hz, one stream per person",
        "pack   tiny-edge@1.0.0 (sha256:",
        "asks tiny-hub@1.0.0",
        "to     demo/{person}/motion",
    ):
        assert words in shown


def test_the_same_as_a_document(tmp_path: Path, site_key: SiteKey, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a hub, nobody is asked."""
    pack = build_tiny(tmp_path, sign=site_key)
    code, found = document(write(tmp_path, AGENT + KEYS, BY_PATH), capsys)
    assert (code, found["ok"], found["problems"], found["bad_packs"]) == (Exit.OK, True, [], [])
    (binding,) = found["bindings"]
    assert binding["barrier"] == "no_hub"
    assert binding["pack"] == {
        "ref": "tiny-edge@1.0.0",
        "digest": pack.digest,
        "threshold": None,
        "signature_checked": True,
    }


def test_bindings_of_samples_and_of_images_stand_side_by_side(
    tmp_path: Path, site_key: SiteKey, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with its own way in; the image's size is the pack's."""
    tmp_path.joinpath("images").mkdir()
    build_tiny(tmp_path, sign=site_key)
    build_tiny_image(tmp_path / "images", sign=site_key)
    arguments = write(tmp_path, AGENT + HUB + KEYS, BY_PATH + IMAGES)
    assert check(arguments) == Exit.OK
    shown = capsys.readouterr().out
    assert "window 1 s every 0.2 s at 5 Hz, one stream per person" in shown
    assert "image  one JPEG or PNG a message, 6 x 4, L\n" in shown
    _, found = document(arguments, capsys)
    assert [(one["codec"], one["window"]) for one in found["bindings"]] == [
        ("json_vectors", {"size_s": 1.0, "hop_s": 0.2, "rate_hz": 5.0}),
        ("image", None),
    ]


def test_a_pack_that_is_not_here_yet_is_no_problem_with_a_hub(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Enrolment fetches it."""
    assert check(write(tmp_path, AGENT + HUB, BY_NAME)) == Exit.OK
    assert "not on this device; `edge-agent enrol` fetches it" in capsys.readouterr().out
    assert document(write(tmp_path, AGENT + HUB, BY_NAME), capsys)[1]["bindings"][0]["pack"] is None


def test_an_enrolled_device_fetches_its_pack_at_the_first_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another enrolment is not what it needs."""
    arguments = write(tmp_path, AGENT + HUB, BY_NAME)
    (tmp_path / "state" / "identity").mkdir(parents=True)
    (tmp_path / "state" / "identity" / CHAIN_FILE).touch()
    assert check(arguments) == Exit.OK
    assert "not on this device; the first run fetches it if the hub has it" in capsys.readouterr().out


def test_without_a_hub_it_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody can bring it."""
    code, found = document(write(tmp_path, AGENT, BY_NAME), capsys)
    assert code == Exit.CONFIG
    assert [(problem["key"], problem["line"]) for problem in found["problems"]] == [
        ("packs.trusted_keys", None),
        ("binding[0].pack", 6),
    ]


def test_before_enrolment_only_digests_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The screen says so: a start will need a signature."""
    build_tiny(tmp_path)
    assert check(write(tmp_path, AGENT + HUB, BY_PATH)) == Exit.OK
    assert "signature not checked, no key is trusted before enrolment" in capsys.readouterr().out


def test_a_pack_in_the_devices_store_is_found(
    tmp_path: Path, site_key: SiteKey, capsys: pytest.CaptureFixture[str]
) -> None:
    """Signed by the key that enrolment pinned."""
    build_tiny(tmp_path, sign=site_key)
    store = PackStore(tmp_path / "state" / "packs")
    store.open()
    store.import_layout(tmp_path / "layout")
    identity = tmp_path / "state" / "identity"
    identity.mkdir()
    identity.joinpath(SITE_KEY_FILE).write_text(site_key.public.pem)
    identity.joinpath(CHAIN_FILE).touch()
    assert check(write(tmp_path, AGENT + HUB, BY_NAME)) == Exit.OK
    assert ", enrolled," in capsys.readouterr().out


def test_a_binding_that_contradicts_its_pack(tmp_path: Path, site_key: SiteKey) -> None:
    """Told with file, line and key, as a problem of the file."""
    build_tiny(tmp_path, sign=site_key)
    with pytest.raises(CliError) as caught:
        check(write(tmp_path, AGENT + KEYS, BY_PATH.replace("size_s = 1", "size_s = 2")))
    assert caught.value.exit is Exit.CONFIG
    assert "bindings.toml:10: binding[0].window.size_s: 2 s are 10 samples; tiny-edge@1.0.0 takes 5" in str(
        caught.value
    )


def test_a_pack_signed_by_a_stranger_must_not_run(tmp_path: Path, site_key: SiteKey) -> None:
    """Bad data: the files are right."""
    stranger = generate_site_key(tmp_path / "other.key")
    build_tiny(tmp_path, sign=stranger)
    assert stranger.public.key_id != site_key.public.key_id
    with pytest.raises(CliError, match="packs that must not run") as caught:
        check(write(tmp_path, AGENT + KEYS, BY_PATH))
    assert caught.value.exit is Exit.DATA
    assert caught.value.mend


def test_a_damaged_pack_is_named(tmp_path: Path, site_key: SiteKey, capsys: pytest.CaptureFixture[str]) -> None:
    """Every byte is checked."""
    pack = build_tiny(tmp_path, sign=site_key)
    blob = pack.path("model.onnx")
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b"\0")
    code, found = document(write(tmp_path, AGENT + KEYS, BY_PATH), capsys)
    assert code == Exit.DATA
    assert [bad["pack"] for bad in found["bad_packs"]] == ["./layout"]
    with pytest.raises(PackError):
        PackStore(tmp_path / "layout").load(pack.ref, None)


def test_a_folder_that_holds_no_pack(tmp_path: Path) -> None:
    """The message says what it holds."""
    tmp_path.joinpath("layout").mkdir()
    with pytest.raises(CliError, match="layout") as caught:
        check(write(tmp_path, AGENT + HUB, BY_PATH))
    assert caught.value.exit is Exit.DATA


def test_a_folder_that_holds_two_packs(tmp_path: Path) -> None:
    """Which one is meant cannot be told."""
    for version in ("1.0.0", "2.0.0"):
        folder = tmp_path / version
        folder.mkdir()
        build_tiny(folder, version=version)
    store = PackStore(tmp_path / "layout")
    store.open()
    for version in ("1.0.0", "2.0.0"):
        store.import_layout(tmp_path / version / "layout")
    with pytest.raises(CliError, match=r"must hold one pack; it holds tiny-edge@1.0.0, tiny-edge@2.0.0"):
        check(write(tmp_path, AGENT + HUB, BY_PATH))


def test_a_key_file_that_is_no_key(tmp_path: Path) -> None:
    """Named with its path, beside the other problems."""
    tmp_path.joinpath("site.pub").write_text("no key")
    build_tiny(tmp_path)
    with pytest.raises(CliError, match=r"site.pub: not a PEM public key") as caught:
        check(write(tmp_path, AGENT + KEYS, BY_PATH))
    assert caught.value.exit is Exit.DATA


def test_bad_files_as_a_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Problems of both files, and nothing about bindings."""
    code, found = document(write(tmp_path, AGENT + "[htp]\n", BY_NAME.replace('"site"\n', '"plant"\n')), capsys)
    assert code == Exit.CONFIG
    assert [(problem["key"], problem["nearest"]) for problem in found["problems"]] == [
        ("htp", "http"),
        ("binding[0].broker", None),
    ]
    assert (found["device"], found["bindings"]) == (None, [])


def test_bad_files_for_a_person(tmp_path: Path) -> None:
    """The error lists them; the exit code says configuration."""
    with pytest.raises(CliError, match="1 problem in the configuration") as caught:
        check(write(tmp_path, AGENT + "[htp]\n", BY_NAME))
    assert caught.value.exit is Exit.CONFIG


def test_a_binding_of_local_calls_is_shown(
    tmp_path: Path, site_key: SiteKey, capsys: pytest.CaptureFixture[str]
) -> None:
    """It comes from callers and goes back to them; the pack says what they give."""
    build_tiny(tmp_path, sign=site_key)
    local = '[[binding]]\nname = "motion"\npack = "./layout"\n'
    arguments = write(tmp_path, f"{AGENT}{KEYS}[oip]\n", local)
    assert check(arguments) == Exit.OK
    screen = capsys.readouterr().out
    assert "  from   local calls on 127.0.0.1:8001 (gRPC, model 'motion')\n" in screen
    assert "  input  window FP32 [-1, 5, 2]\n" in screen
    assert "  to     the caller\n" in screen
    _, found = document(arguments, capsys)
    (binding,) = found["bindings"]
    assert binding["local_calls"] is True
    assert [binding[key] for key in ("broker", "topic", "codec", "window", "result")] == [None] * 5
