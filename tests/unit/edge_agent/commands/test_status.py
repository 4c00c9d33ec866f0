"""`edge-agent status`: what the running agent says, or what its files say when it does not run."""

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edge_agent import config
from edge_agent.adapters.http import STATUS_PATH
from edge_agent.cli import parser
from edge_agent.run_file import FILE_NAME, Running
from model_packs.process.metrics import Registry
from tests.unit.edge_agent.adapters.sqlite.builders import decided, open_store, record_unit
from tests.unit.edge_agent.commands.test_check import AGENT, BY_NAME, HUB

SCHEMA = Path(config.__file__).parent / "schemas" / "edge.status.1.json"
BINDINGS = BY_NAME.replace('name = "motion"', 'name = "press"')


def status(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """Both forms of the command's answer; the document is checked against its schema."""
    folder.joinpath("agent.toml").write_text(AGENT + HUB)
    folder.joinpath("bindings.toml").write_text(BINDINGS)
    for options in (["--json"], []):
        args = parser().parse_args(["status", "--config", str(folder / "agent.toml"), *options])
        assert args.run(args) == 0
        if options:
            document: dict[str, Any] = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    return document, capsys.readouterr().out


def test_a_device_that_never_ran_is_told_how_to_begin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is stopped, not enrolled, and both problems carry their mend."""
    document, shown = status(tmp_path, capsys)
    assert (document["state"], document["identity"]["state"]) == ("stopped", "missing")
    assert "edge-agent run --config" in shown
    assert "edge-agent enrol" in shown


def test_a_stopped_agent_shows_what_it_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Outbox, totals and the age of the newest answer come from the database."""
    opened = open_store(tmp_path / "state")
    opened.commit(record_unit(opened.store, b"k1", decided(opened.store, "p1")))
    opened.store.close()
    document, shown = status(tmp_path, capsys)
    assert not document["running"]
    assert document["bindings"][0]["decided"] == 1
    assert document["bindings"][0]["last_prediction"]["status"] == "provisional"
    assert {one["class"] for one in document["outbox"]["classes"]} == {"prediction", "escalation"}
    assert "newest     of unknown age" in shown


def test_a_running_agent_answers_for_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it serves is what is shown, whatever the files say."""
    stopped, _ = status(tmp_path, capsys)
    said = {**stopped, "running": True, "state": "ok", "uptime_s": 5.0, "problems": []}
    opened = open_store(tmp_path / "state")
    server = Registry().start_http("127.0.0.1", 0, documents={STATUS_PATH: lambda: json.dumps(said).encode()})
    try:
        Running(os.getpid(), "press-07", "127.0.0.1", server.port).write(tmp_path / "state" / FILE_NAME)
        document, shown = status(tmp_path, capsys)
    finally:
        server.close()
        opened.store.close()
    assert document == said
    assert shown.startswith("press-07: ok")


def test_a_process_that_does_not_answer_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It runs and says nothing: that is told, and the files are read."""
    opened = open_store(tmp_path / "state")
    Running(os.getpid(), "press-07", "127.0.0.1", 1).write(tmp_path / "state" / FILE_NAME)
    document, _ = status(tmp_path, capsys)
    opened.store.close()
    assert "does not answer" in document["problems"][0]


def test_what_a_killed_agent_left_behind_is_not_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its file names a process that may be another's by now; the lock says that nobody runs."""
    open_store(tmp_path / "state").store.close()
    Running(os.getpid(), "press-07", "127.0.0.1", 1).write(tmp_path / "state" / FILE_NAME)
    document, _ = status(tmp_path, capsys)
    assert "does not run" in document["problems"][0]


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff"])
def test_a_broken_run_file_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    """Half a file must not stop the status."""
    path = tmp_path / FILE_NAME
    path.write_bytes(content)
    assert Running.read(path) is None
    assert Running.read(tmp_path / "absent.json") is None


def test_a_damaged_database_is_a_problem_and_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The status is asked when things are broken, so it must not break with them."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "edge.db").write_bytes(b"no database" * 500)
    document, _ = status(tmp_path, capsys)
    assert any("edge.db" in problem and "move" in problem for problem in document["problems"])
