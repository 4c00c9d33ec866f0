"""A hub and a pack to run commands on."""

from pathlib import Path

import pytest

from cloud_hub.cli import execute
from model_packs.process.exits import Exit
from tests.simulators.packs import build_tiny


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
