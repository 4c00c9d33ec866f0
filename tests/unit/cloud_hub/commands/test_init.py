"""`cloud-hub init`: what it makes, and what it refuses."""

import stat
from pathlib import Path

import pytest

from cloud_hub.cli import execute
from cloud_hub.config import CONFIG_NAME, sample_hub
from model_packs.process.exits import CliError, Exit

REPOSITORY = Path(__file__).parents[4]


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


def test_the_committed_sample_is_the_generated_one() -> None:
    """deploy/samples/hub.toml is what `init` writes."""
    assert (REPOSITORY / "deploy" / "samples" / "hub.toml").read_text() == sample_hub()
