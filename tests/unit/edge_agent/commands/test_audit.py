"""`edge-agent audit`: the equations from the database, beside a running agent or after it."""

import json
import sqlite3
from pathlib import Path

import jsonschema
import pytest

from edge_agent import config
from edge_agent.adapters.sqlite.store import FILE_NAME
from edge_agent.cli import parser
from edge_agent.errors import StoreError
from tests.unit.edge_agent.adapters.sqlite.builders import decided, open_store, record_unit
from tests.unit.edge_agent.commands.test_check import AGENT, BY_NAME, HUB

SCHEMA = Path(config.__file__).parent / "schemas" / "edge.audit.1.json"


def audit(folder: Path, *options: str) -> int:
    """Run the command on a device whose state is in `folder / "state"`."""
    folder.joinpath("agent.toml").write_text(AGENT + HUB)
    folder.joinpath("bindings.toml").write_text(BY_NAME)
    args = parser().parse_args(["audit", "--config", str(folder / "agent.toml"), *options])
    return int(args.run(args))


def test_every_equation_of_a_running_agent_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It reads while the writer has the file open, and says 0."""
    opened = open_store(tmp_path / "state")
    opened.commit(record_unit(opened.store, b"k1", decided(opened.store, "p1")))
    assert audit(tmp_path, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    assert document["holds"]
    assert {one["name"] for one in document["equations"]} >= {"records", "samples", "windows", "predictions"}
    opened.store.close()
    assert audit(tmp_path) == 0
    assert "every equation holds" in capsys.readouterr().out


def test_an_equation_that_does_not_hold_is_shown_and_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row that vanished without being counted is found."""
    opened = open_store(tmp_path / "state")
    opened.commit(record_unit(opened.store, b"k1", decided(opened.store, "p1")))
    opened.store.close()
    connection = sqlite3.connect(tmp_path / "state" / FILE_NAME)
    connection.execute("DELETE FROM outbox WHERE subject = 'prediction'")
    connection.commit()
    connection.close()
    assert audit(tmp_path) == 1
    shown = capsys.readouterr().out
    assert "FAIL press  predictions: 1 = 0" in shown
    # Two of the device, and eleven for each of two bindings: one counted, one configured.
    assert "1 of 24 equations do not hold" in shown


def test_a_device_that_never_ran_has_no_database_and_is_told_so(tmp_path: Path) -> None:
    """The mend names the command that makes it."""
    with pytest.raises(StoreError, match=FILE_NAME) as caught:
        audit(tmp_path)
    assert "edge-agent run" in caught.value.mend


def test_the_equations_of_an_agent_that_received_nothing_are_all_zero(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty database is no error, and every configured binding has its equations."""
    open_store(tmp_path / "state").store.close()
    assert audit(tmp_path, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    assert [one["binding"] for one in document["equations"]][:3] == [None, None, document["equations"][2]["binding"]]
    assert len(document["equations"]) == 13
    assert all(term["value"] == 0 for one in document["equations"] for term in (one["left"], *one["terms"]))
    assert audit(tmp_path) == 0
    shown = capsys.readouterr().out
    assert "records: 0 = 0 journaled + 0 duplicate + 0 dead_lettered + 0 shed" in shown
    assert "ok   device  feedback: 0 = 0 delivered + 0 duplicate + 0 dead_lettered + 0 evicted + 0 shed" in shown
