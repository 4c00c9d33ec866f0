"""`edge-agent init`."""

from pathlib import Path

import pytest

from edge_agent.cli import parser
from edge_agent.config import load, sample_agent, sample_bindings
from model_packs.process.exits import CliError, Exit


def init(*arguments: str) -> int:
    """Run the command."""
    args = parser().parse_args(["init", *arguments])
    return int(args.run(args))


def test_it_writes_both_samples_and_says_what_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The files load as they are."""
    folder = tmp_path / "new" / "device"
    assert init(str(folder)) == Exit.OK
    assert folder.joinpath("agent.toml").read_text() == sample_agent()
    assert folder.joinpath("bindings.toml").read_text() == sample_bindings()
    assert load(folder / "agent.toml").agent.device.id == "press-07"
    assert f"edge-agent check --config {folder / 'agent.toml'}" in capsys.readouterr().out


def test_it_overwrites_nothing_unless_told(tmp_path: Path) -> None:
    """One file that is there is enough to stop it."""
    bindings = tmp_path / "bindings.toml"
    bindings.write_text("mine")
    with pytest.raises(CliError, match=r"bindings.toml would be overwritten") as caught:
        init(str(tmp_path))
    assert caught.value.exit is Exit.USAGE
    assert bindings.read_text() == "mine"
    assert not tmp_path.joinpath("agent.toml").exists()
    init(str(tmp_path), "--force")
    assert bindings.read_text() == sample_bindings()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """With a mend instead of a traceback."""
    tmp_path.joinpath("file").touch()
    with pytest.raises(CliError, match="cannot be written"):
        init(str(tmp_path / "file" / "folder"))
