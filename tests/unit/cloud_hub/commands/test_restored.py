"""`cloud-hub restored`: the database gets a new incarnation, and what happened is told."""

import json
from pathlib import Path

import pytest

from cloud_hub.errors import NoDatabaseError
from model_packs.process.exits import CliError, Exit
from tests.unit.cloud_hub.commands.calls import on, without_database


def incarnation(hub: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """As the commands tell it."""
    capsys.readouterr()
    assert on(hub, "devices", "list", "--json") == Exit.OK
    return str(json.loads(capsys.readouterr().out)["hub_incarnation"])


def test_a_restored_database_is_another_one(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each call mints an incarnation and prints it with what follows."""
    before = incarnation(hub, capsys)
    assert on(hub, "restored") == Exit.OK
    printed = capsys.readouterr().out
    after = incarnation(hub, capsys)
    assert after != before
    assert after in printed
    assert "start the hub" in printed


def test_without_a_database_there_is_nothing_to_tell(hub: Path) -> None:
    """The mend says where a database comes from; none is made."""
    without_database(hub)
    with pytest.raises(CliError, match="nothing in the hub's database") as caught:
        on(hub, "restored")
    assert isinstance(caught.value.__cause__, NoDatabaseError)
    assert caught.value.exit is Exit.UNAVAILABLE
