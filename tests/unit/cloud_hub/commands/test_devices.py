"""`cloud-hub devices`: the registry on a screen and as a document."""

from pathlib import Path

import pytest

from cloud_hub.cli import execute
from model_packs.process.exits import CliError, Exit
from tests.unit.cloud_hub.commands.calls import documented, on, without_database


def test_an_empty_registry_is_a_document_and_a_hint(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without devices, JSON is an empty list and the table says what to do."""
    assert on(hub, "devices", "list", "--json") == Exit.OK
    assert documented(capsys.readouterr().out, "devices")["devices"] == []
    assert on(hub, "devices", "list") == Exit.OK
    assert "cloud-hub tokens create" in capsys.readouterr().out


def test_a_command_without_a_hub_says_so(tmp_path: Path) -> None:
    """A settings file that is not there is named, with exit code 78."""
    with pytest.raises(CliError, match="no such file") as caught:
        execute(["devices", "list", "--config", str(tmp_path / "hub.toml")])
    assert caught.value.exit is Exit.CONFIG


def test_a_database_that_is_not_made_is_unavailable(hub: Path) -> None:
    """Reading commands do not make tables: the message says how to get them."""
    without_database(hub)
    with pytest.raises(CliError, match="cloud-hub serve") as caught:
        on(hub, "devices", "list")
    assert caught.value.exit is Exit.UNAVAILABLE
