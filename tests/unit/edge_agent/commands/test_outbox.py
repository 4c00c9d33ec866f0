"""`edge-agent outbox`: each item's fate, sending again and dropping, beside a running agent and without one."""

import argparse
import io
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edge_agent import config
from edge_agent.adapters.sqlite import schema
from edge_agent.adapters.sqlite.desk import FOLDER_NAME, RequestDesk
from edge_agent.adapters.sqlite.errors import StoreUpgradeError
from edge_agent.adapters.sqlite.store import FILE_NAME
from edge_agent.cli import parser
from edge_agent.errors import StoreError
from model_packs.process.exits import CliError, Exit
from protos.messages.escalation import Ack, ItemClass, Reject
from protos.status import Status
from tests.unit.edge_agent.adapters.sqlite.builders import Opened, decided, open_store, record_unit, verdict
from tests.unit.edge_agent.commands.test_check import AGENT, BY_NAME, HUB

SCHEMAS = Path(config.__file__).parent / "schemas"


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        """They do."""
        return True


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """A running store: p1 is queued, p2 at the hub, p3 was rejected, p4 answered."""
    tmp_path.joinpath("agent.toml").write_text(AGENT + HUB)
    tmp_path.joinpath("bindings.toml").write_text(BY_NAME)
    found = open_store(tmp_path / "state")
    for name in ("p1", "p2", "p3", "p4"):
        found.commit(record_unit(found.store, name.encode(), decided(found.store, name)))
    found.store.book.sent([(ItemClass.ESCALATION, 2), (ItemClass.ESCALATION, 3), (ItemClass.ESCALATION, 4)])
    found.store.book.acked(Ack(ItemClass.ESCALATION, ((2, 2),)))
    found.store.book.rejected(Reject(ItemClass.ESCALATION, 3, Status.INVALID_ARGUMENT, "no such pack"))
    found.store.book.answered(verdict("p4", 1)).result()
    yield found
    found.store.close()


@pytest.fixture
def served(opened: Opened, tmp_path: Path) -> Iterator[Opened]:
    """The same, with a desk that answers as upkeep does."""
    desk = RequestDesk(tmp_path / "state" / FOLDER_NAME, opened.store.handling.handle)
    desk.open()
    is_over = threading.Event()

    def serve() -> None:
        while not is_over.wait(0.01):
            desk.answer_all()

    thread = threading.Thread(target=serve)
    thread.start()
    yield opened
    is_over.set()
    thread.join(30.0)


def outbox(folder: Path, *words: str) -> int:
    """Run the command."""
    args: argparse.Namespace = parser().parse_args(["outbox", *words, "--config", str(folder / "agent.toml")])
    return int(args.run(args))


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `--json` printed, checked against its schema."""
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    name = found["schema"].replace("/", ".")
    jsonschema.validate(found, json.loads((SCHEMAS / f"{name}.json").read_text()))
    return found


@pytest.mark.usefixtures("opened")
def test_list_shows_what_waits_and_how_it_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Messages for the broker and questions for the hub, oldest first; ages that nothing measures are not guessed."""
    outbox(tmp_path, "list", "--json")
    items = document(capsys)["items"]
    assert [one["row"] for one in items] == sorted(one["row"] for one in items)
    assert {(one["prediction"], one["state"]) for one in items if one["class"] == "escalation"} == {
        ("p1", "queued"),
        ("p2", "acked"),
    }
    assert {one["reason"] for one in items if one["class"] == "escalation"} == {"low_confidence"}
    assert [one["prediction"] for one in items if one["subject"] == "revision"] == ["p3", "p4"]
    assert {one["age_s"] for one in items} == {None}
    outbox(tmp_path, "list")
    shown = capsys.readouterr().out
    assert "mqtt:plant" in shown
    assert "p2 (low_confidence)" in shown


@pytest.mark.usefixtures("opened")
def test_list_is_narrowed_and_bounded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Filters have to fit together, and what is beyond the limit is said."""
    outbox(tmp_path, "list", "--state", "queued", "--class", "escalation", "--binding", "press", "--json")
    assert [one["prediction"] for one in document(capsys)["items"]] == ["p1"]
    outbox(tmp_path, "list", "--destination", "mqtt:plant", "--limit", "2", "--json")
    found = document(capsys)
    assert (len(found["items"]), found["more"]) == (2, True)
    outbox(tmp_path, "list", "--limit", "1")
    assert "there are more" in capsys.readouterr().out
    outbox(tmp_path, "list", "--destination", "mqtt:other")
    assert capsys.readouterr().out == "nothing\n"


@pytest.mark.usefixtures("opened")
def test_list_shows_what_ended_newest_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By `--ended`, or by naming an end."""
    outbox(tmp_path, "list", "--ended", "--json")
    ended = [(one["prediction"], one["state"], one["row"]) for one in document(capsys)["items"]]
    assert ended == [("p4", "answered", None), ("p3", "rejected", None)]
    outbox(tmp_path, "list", "--state", "rejected", "--json")
    assert [one["prediction"] for one in document(capsys)["items"]] == ["p3"]


@pytest.mark.usefixtures("opened")
def test_show_tells_the_whole_story(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By prediction, or by a row of it: what was said first, what is the newest, and what of it waits."""
    outbox(tmp_path, "show", "p4", "--json")
    story = document(capsys)
    assert (story["event"]["status"], story["edge_event"]["status"]) == ("revised", "provisional")
    assert (story["escalation"]["state"], story["partition"]) == ("answered", "a")
    rows = [one["row"] for one in story["waiting"]]
    assert len(rows) == 2
    outbox(tmp_path, "show", str(rows[0]))
    shown = capsys.readouterr().out
    assert "p4 of press, partition a" in shown
    assert "revision 1, revised, by the hub" in shown
    assert f"row {rows[0]}: prediction to mqtt:plant" in shown


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("item", ["p9", "999999"])
def test_show_says_that_nothing_is_known(item: str, tmp_path: Path) -> None:
    """The mend says where names are found."""
    with pytest.raises(CliError, match=f"nothing is known of {item}") as caught:
        outbox(tmp_path, "show", item)
    assert caught.value.exit is Exit.DATA


def test_a_running_agent_purges_and_the_books_stay_right(
    served: Opened, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the hub has is left and said; the end is counted."""
    assert outbox(tmp_path, "purge", "--class", "escalation", "--yes", "--json") == 0
    done = document(capsys)
    assert (done["changed"]["escalation"], done["refused"]["at_the_hub"]) == (1, 1)
    assert served.counts()["escalations_purged"] == 1
    assert served.broken_equations() == []


def test_a_running_agent_sends_again(served: Opened, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An acked question waits for the hub once more; messages for brokers are left and said."""
    assert outbox(tmp_path, "retry", "--all") == 0
    shown = capsys.readouterr().out
    assert "2 escalation sent again" in shown
    assert "left: for a broker" in shown
    assert served.counts()["escalations_pending{queued}"] == 2
    assert served.broken_equations() == []


def test_without_an_agent_the_command_does_it_itself(
    opened: Opened, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The caller is told as by a running agent, once the agent is back."""
    opened.store.close()
    assert outbox(tmp_path, "purge", "p1", "--yes", "--json") == 0
    assert document(capsys)["changed"] == {"prediction": 1, "revision": 0, "escalation": 1, "feedback": 0, "alarm": 0}
    again = open_store(tmp_path / "state")
    assert b'"outcome":"purged"' in again.store.publishable("plant", 9, ())[-1].payload
    assert again.broken_equations() == []
    again.store.close()


@pytest.mark.usefixtures("served")
def test_what_is_all_refused_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code says bad data, the screen says why."""
    assert outbox(tmp_path, "purge", "p2", "--class", "escalation", "--yes") == Exit.DATA
    assert "safe at the hub" in capsys.readouterr().out


@pytest.mark.usefixtures("served")
def test_an_escalation_that_ended_cannot_be_sent_again(tmp_path: Path) -> None:
    """Its end was told; the message says which."""
    with pytest.raises(CliError, match="its escalation is rejected") as caught:
        outbox(tmp_path, "retry", "p3", "--class", "escalation")
    assert "outbox show p3" in caught.value.mend


@pytest.mark.usefixtures("opened")
def test_show_says_why_the_hub_rejected_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who reads that an escalation was rejected asks why; of all others there is nothing to say."""
    outbox(tmp_path, "show", "p3", "--json")
    rejection = document(capsys)["escalation"]["rejection"]
    assert rejection == {"status": "INVALID_ARGUMENT", "message": "no such pack"}
    outbox(tmp_path, "show", "p1", "--json")
    assert document(capsys)["escalation"]["rejection"] is None
    outbox(tmp_path, "show", "p3")
    assert "the hub rejected it, INVALID_ARGUMENT: no such pack" in capsys.readouterr().out


@pytest.mark.usefixtures("served")
def test_nothing_that_fits_is_no_error_of_a_filter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script that purges what is old need not know whether there is any."""
    assert outbox(tmp_path, "purge", "--class", "alarm", "--yes") == 0
    assert capsys.readouterr().out == "nothing fits\n"


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("words", [(), ("p1", "--all"), ("--all", "--state", "queued")])
def test_everything_has_to_be_said_and_nothing_beside_it(words: tuple[str, ...], tmp_path: Path) -> None:
    """A forgotten filter purges nothing."""
    with pytest.raises(CliError) as caught:
        outbox(tmp_path, "purge", *words, "--yes")
    assert caught.value.exit is Exit.USAGE


def test_purge_asks_and_takes_no_for_an_answer(
    served: Opened, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what would go; anything but yes leaves it."""
    monkeypatch.setattr("sys.stdin", Terminal("\n"))
    with pytest.raises(CliError, match="nothing was purged"):
        outbox(tmp_path, "purge", "p1")
    assert "purge 1 escalation queued, 1 prediction queued?" in capsys.readouterr().err
    assert "escalations_purged" not in served.counts()
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    outbox(tmp_path, "purge", "p1")
    assert served.counts()["escalations_purged"] == 1


@pytest.mark.usefixtures("served")
def test_purge_without_a_terminal_needs_yes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that forgot it is told what would have gone."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(CliError, match="would purge: 1 escalation queued, 1 prediction queued") as caught:
        outbox(tmp_path, "purge", "p1")
    assert caught.value.exit is Exit.USAGE


@pytest.mark.parametrize("words", [("--limit", "0"), ("--older-than", "-1"), ("--older-than", "nan"), ("--limit", "x")])
def test_senseless_numbers_are_refused(words: tuple[str, str], tmp_path: Path) -> None:
    """Before anything is read."""
    with pytest.raises(SystemExit) as caught:
        outbox(tmp_path, "list", *words)
    assert caught.value.code == Exit.USAGE


def test_a_device_that_never_ran_has_no_outbox(tmp_path: Path) -> None:
    """The mend names the command that makes it."""
    tmp_path.joinpath("agent.toml").write_text(AGENT + HUB)
    tmp_path.joinpath("bindings.toml").write_text(BY_NAME)
    with pytest.raises(StoreError) as caught:
        outbox(tmp_path, "list")
    assert "edge-agent run" in caught.value.mend


@pytest.mark.parametrize("steps", range(1, len(schema.MIGRATIONS)))
def test_what_an_older_agent_left_waiting_is_listed(
    steps: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the new agent has started once, too."""
    left_by_an_older_agent(tmp_path, steps)
    assert outbox(tmp_path, "list") == Exit.OK
    assert "queued" in capsys.readouterr().out
    assert outbox(tmp_path, "list", "--ended") == Exit.OK
    assert capsys.readouterr().out == "nothing\n"


@pytest.mark.parametrize("steps", range(1, 6))
def test_a_story_that_an_older_agent_kept_no_part_of_names_the_upgrade(steps: int, tmp_path: Path) -> None:
    """No SQL is told: the new agent, started once, brings the file up to date."""
    left_by_an_older_agent(tmp_path, steps)
    version = f"{schema.MIGRATIONS[steps - 1][0] / 1000:g}"
    with pytest.raises(StoreUpgradeError, match=f"format {version} of an older edge-agent") as raised:
        outbox(tmp_path, "show", "p1")
    assert "start `edge-agent run` of this version once" in raised.value.mend


def left_by_an_older_agent(folder: Path, steps: int) -> None:
    """A device's folder whose database has seen so many migrations, with one escalated prediction in it."""
    folder.joinpath("agent.toml").write_text(AGENT + HUB)
    folder.joinpath("bindings.toml").write_text(BY_NAME)
    newest = open_store(folder / "newest")
    newest.commit(record_unit(newest.store, b"k1", decided(newest.store, "p1")))
    newest.store.close()
    folder.joinpath("state").mkdir()
    with closing(schema.open_writer(folder / "state" / FILE_NAME, schema.MIGRATIONS[:steps])) as older:
        older.execute("ATTACH ? AS newest", (str(folder / "newest" / FILE_NAME),))
        for table in ("prediction", "escalation", "outbox"):
            older.execute(f"INSERT INTO main.{table} SELECT * FROM newest.{table}")  # noqa: S608 - own names
