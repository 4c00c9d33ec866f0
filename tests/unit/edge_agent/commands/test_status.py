"""`edge-agent status`: what the running agent says, or what its files say when it does not run."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edge_agent import config
from edge_agent.adapters.http import STATUS_PATH
from edge_agent.adapters.sqlite import schema
from edge_agent.cli import parser
from edge_agent.core.accounting import DEVICE, Count, of_reason
from edge_agent.packs.device_slots import Twin
from edge_agent.ports import BindingName, Unit
from edge_agent.reporting.health import Health
from edge_agent.reporting.run_file import FILE_NAME, Running
from edge_agent.reporting.status import Reporter, StoreFacts, loss_problems
from model_packs.process.metrics import Registry
from protos.messages.escalation import ItemClass
from protos.messages.fleet import Desired
from tests.unit.edge_agent.adapters.sqlite.builders import (
    BINDING,
    TestClock,
    audited,
    decided,
    open_store,
    record_unit,
    verdict,
)
from tests.unit.edge_agent.commands.test_check import AGENT, BY_NAME, HUB

SCHEMA = Path(config.__file__).parent / "schemas" / "edge.status.1.json"
BINDINGS = BY_NAME.replace('name = "motion"', 'name = "press"')


def status(folder: Path, capsys: pytest.CaptureFixture[str], bindings: str = BINDINGS) -> tuple[dict[str, Any], str]:
    """Both forms of the command's answer; the document is checked against its schema."""
    folder.joinpath("agent.toml").write_text(AGENT + HUB)
    folder.joinpath("bindings.toml").write_text(bindings)
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


def test_a_binding_that_promises_nothing_is_said_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who reads the status must not take an acknowledged message for a stored one."""
    (binding,) = status(tmp_path, capsys)[0]["bindings"]
    assert (binding["durability"], binding["on_journal_failure"]) == ("power", "answer")
    document, shown = status(tmp_path, capsys, BINDINGS.replace("partition", 'durability = "none"\npartition', 1))
    assert document["bindings"][0]["durability"] == "none"
    assert "durability none: messages are acknowledged before they are written" in shown


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


def test_what_questions_cost_and_what_nobody_answered_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Spend and what it bought in one line, and in another the share without an answer, known or not."""
    opened = open_store(tmp_path / "state")
    use = audited(opened.store, "x").decided_by
    assert use is not None
    short = replace(use, is_kept=False, is_short=True)
    sure = replace(audited(opened.store, "p1"), escalate_class=ItemClass.ESCALATION, decided_by=replace(use))
    held = replace(decided(opened.store, "p2", escalate=False), decided_by=short)
    lot = replace(audited(opened.store, "p3"), escalate_class=ItemClass.ESCALATION, decided_by=short)
    opened.commit(Unit(decided=(sure, held, lot, audited(opened.store, "p4"))))
    document, shown = status(tmp_path, capsys)
    assert document["bindings"][0]["unanswered"]["disagreement"] is None
    assert "unanswered 1 (1 short of budget, 0 asked in vain), no certificate; wrong: unknown (none judged)" in shown
    opened.store.book.answered(verdict("p3", 1)).result()
    opened.store.close()
    document, shown = status(tmp_path, capsys)
    told = document["bindings"][0]["unanswered"]
    assert (told["share"], told["judged"], told["disagreement"], told["certificate"]) == (0.25, 1, 1.0, None)
    assert "no certificate; 1 of 1 judged by lot were otherwise" in shown
    assert "cost       3 calls, 1 of them audits: of 0 answers 0 corrected the edge's" in shown


def test_reasons_of_losses_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Dead letters and evictions are told by reason, the most frequent first; late samples by their number."""
    opened = open_store(tmp_path / "state")
    counts = {
        of_reason(Count.RECORDS_DEAD_LETTERED, "bad_time"): 2,
        of_reason(Count.RECORDS_DEAD_LETTERED, "wrong_type"): 6,
        Count.SAMPLES_LATE: 850,
        of_reason(Count.PREDICTIONS_EVICTED, "drop_oldest"): 7,
        of_reason(Count.REVISIONS_EVICTED, "drop_oldest"): 1,
        of_reason(Count.ESCALATIONS_EVICTED, "drop_newest"): 3,
    }
    opened.commit(Unit(counts={(BINDING, str(name)): value for name, value in counts.items()}))
    opened.store.close()
    document, shown = status(tmp_path, capsys)
    assert list(document["bindings"][0]["dead_lettered_by"].items()) == [("wrong_type", 6), ("bad_time", 2)]
    assert "dead-lettered 8 (wrong_type 6, bad_time 2)" in shown
    assert "late       850 samples" in shown
    assert "evicted    answers 8 (drop_oldest 8), questions 3 (drop_newest 3)" in shown


def test_losses_since_the_start_are_problems_with_a_mend() -> None:
    """A full outbox is told once for all bindings, late samples where they are more than a few."""
    press, pump = BindingName("press"), BindingName("pump")
    figures = {
        (press, of_reason(Count.PREDICTIONS_EVICTED, "drop_oldest")): 788,
        (pump, of_reason(Count.ESCALATIONS_EVICTED, "drop_oldest")): 780,
        (press, of_reason(Count.PREDICTIONS_EVICTED, "journal_unavailable")): 5,
        (press, Count.SAMPLES_LATE): 850,
        (press, Count.SAMPLES_DECODED): 9000,
        (pump, Count.SAMPLES_LATE): 101,
        (pump, Count.SAMPLES_DECODED): 100_000,
    }
    full, late = loss_problems({(name, str(count)): value for (name, count), value in figures.items()})
    assert full.startswith("outbox is full: 788 answers, 780 questions gave way since the start (drop_oldest); raise")
    assert late.startswith("press: 850 of 9000 samples came too late")
    assert loss_problems({}) == []


def test_refused_feedback_and_forgotten_predictions_are_told() -> None:
    """Each once, with what to do."""
    refused, forgotten = loss_problems(
        {
            (BindingName(DEVICE), "feedback_evicted{drop_newest}"): 3,
            (BindingName(DEVICE), "verdicts_forgotten"): 2,
        }
    )
    assert "3 judgements by people were refused" in refused
    assert "2 verdicts came too late" in forgotten


def test_only_losses_since_the_start_are_problems_of_a_running_agent() -> None:
    """What an earlier run lost stands in the totals; it degrades nothing."""
    key = (BINDING, of_reason(Count.ESCALATIONS_EVICTED, "drop_oldest"))
    figures = {key: 5}
    reporter = Reporter(
        "press-07",
        "1.0.0",
        TestClock(),
        health=Health({}, lambda _name, _is_up: None),
        models=dict,
        twin=lambda: Twin(Desired(0, ()), ()),
        p95_ms=lambda _binding: None,
        store=lambda: StoreFacts(dict(figures), (), (), None),
        identity=lambda: None,
        max_bytes=1,
        policies=lambda: (),
        budget=lambda: (),
        drift=lambda: (),
    )
    assert reporter.heartbeat(1).problems == ()
    figures[key] += 2
    assert "0 answers, 2 questions" in reporter.heartbeat(2).problems[0]


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
    """The status names what is broken and the mend, and leaves the files alone: what becomes of them is a start's."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "edge.db").write_bytes(b"no database" * 500)
    document, _ = status(tmp_path, capsys)
    assert any("edge.db" in problem and "restart the agent" in problem for problem in document["problems"])
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["edge.db"]
    assert (tmp_path / "state" / "edge.db").read_bytes() == b"no database" * 500


@pytest.mark.parametrize("steps", range(1, len(schema.MIGRATIONS)))
def test_a_database_that_an_older_agent_left_names_the_upgrade(
    steps: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No SQL is told: the new agent, started once, brings the file up to date."""
    (tmp_path / "state").mkdir()
    schema.open_writer(tmp_path / "state" / "edge.db", schema.MIGRATIONS[:steps]).close()
    document, _ = status(tmp_path, capsys)
    told = [problem for problem in document["problems"] if "edge.db" in problem]
    assert len(told) == 1
    assert "older edge-agent" in told[0]
    assert "start `edge-agent run` of this version once" in told[0]
