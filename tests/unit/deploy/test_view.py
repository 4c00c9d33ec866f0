"""The view: the same facts as a live table, as lines, and as a summary."""

import dataclasses
import io

import pytest
from rich.console import Console

from deploy.demo.fleet import FLEET, LEFT, NEXT_EDGE_PACK
from deploy.demo.judge import Judge, Latency
from deploy.demo.view import Frame, Lines, Pulse, Screen, live_screen, report_screen, row_cells
from tests.unit.deploy.test_report import LOGIN, run_of


def frame(elapsed_s: float) -> Frame:
    """Four agents of which one is down and one has lost the hub; the first has answers."""
    tallies = dict(run_of().tallies)
    tallies[FLEET[2].name] = Judge(FLEET, "").tally(FLEET[2].name, 0.0)
    pulses = {
        FLEET[0].name: Pulse(7, hub_connected=False, broker_connected=True),
        FLEET[1].name: None,
        FLEET[2].name: Pulse(0, hub_connected=True, broker_connected=True),
        FLEET[3].name: Pulse(0, hub_connected=True, broker_connected=True),
    }
    return Frame(elapsed_s, FLEET, tallies, pulses, LOGIN)


def printed(renderable: object, width: int = 200) -> str:
    """What a terminal shows, a wide one unless said."""
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_row_shows_rate_shares_latencies_accuracies_and_links() -> None:
    """Each agent has a row; one that does not answer is said to be down, one without its hub as well."""
    lines = printed(live_screen(frame(20.0), ["hub killed"], width=200, height=40)).splitlines()
    rows = {member.name: next(line for line in lines if line.strip().startswith(f"{member.name} ")) for member in FLEET}
    for text in ("1.0.0", "10.0", "90.0/100.0", "100/100", "7", " down"):
        assert text in rows[FLEET[0].name]
    assert "no agent" in rows[FLEET[1].name]
    assert "up" in rows[FLEET[2].name]


def busy(elapsed_s: float) -> Frame:
    """The widest figures that an outage gives, and two reasons."""
    told = frame(elapsed_s)
    slow = Latency(p50_ms=113.0, p99_ms=12345.0)
    tallies = {
        name: dataclasses.replace(
            tally,
            recent=dataclasses.replace(tally.recent, edge=slow, hub=slow),
            escalated={"low_confidence": 1, "unscorable_answer": 1},
        )
        for name, tally in told.tallies.items()
        if tally.answered
    }
    return dataclasses.replace(told, tallies={**told.tallies, **tallies})


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("told", [frame(20.0), busy(20.0)], ids=["calm", "busy"])
def test_agents_and_headings_stand_whole_on_common_terminals(told: Frame, width: int) -> None:
    """Nothing is cut or folded inside a word; the short table leaves out only what other columns imply."""
    lines = printed(live_screen(told, ["hub killed"], width=width, height=24), width).splitlines()
    assert [line.split()[0] for line in lines[4:8]] == [member.name for member in FLEET]
    heads = sorted(" ".join(lines[1:3]).split())
    short = ["agent", "pack", "escalated", "%", "disputed", "%", "right", "%", "edge/hybrid", "edge", "ms", "p50/p99"]
    short += ["outbox", "hub", "link"]
    assert heads == sorted(short if width < 110 else [*short, "answers", "/s", "hub", "ms", "p50/p99"])
    assert lines[5].rstrip().endswith("no agent")
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)


def test_the_columns_do_not_jump_with_the_figures() -> None:
    """An outage's latencies move no heading."""
    calm, outage = (printed(live_screen(told, [], width=80, height=24), 80) for told in (frame(20.0), busy(20.0)))
    assert calm.splitlines()[1:4] == outage.splitlines()[1:4]


def test_reasons_are_told_under_the_table() -> None:
    """One reason is named; of several each agent's shares are given."""
    one, two = (printed(live_screen(told, [], width=200, height=24)) for told in (frame(20.0), busy(20.0)))
    assert "all escalated for low_confidence" in one
    assert "escalated %, by reason: right-a low_confidence" in two


def test_the_live_screen_fits_the_terminal() -> None:
    """Of many long events the latest are shown, as many as there is room for."""
    events = [f"{number} {'something long happened to this agent ' * 3}" for number in range(8)]
    lines = printed(live_screen(busy(20.0), events, width=80, height=24), 80).splitlines()
    assert len(lines) <= 23
    assert any("7 something long" in line for line in lines)


def test_the_summary_is_one_screen() -> None:
    """At 80 columns and 24 lines it shows the parts of the story, the faults, the goals in one line, and the login."""
    text = printed(report_screen(run_of(), is_log=False), 80)
    lines = text.splitlines()
    assert len(lines) <= 23, text
    assert max(map(len, lines)) <= 80
    assert "…" not in text
    for word in (
        "right wrists, v1",
        "branch: boxes",
        "left: left wrist, v1",
        "left: left wrist, v2",
        "disputed",
        "bad_digest",
    ):
        assert word in text
    goals = len(run_of().goals)
    assert f"{goals} of {goals} goals hold" in text
    assert "http://127.0.0.1:20003/" in text
    assert "a secret word" in text


def test_the_listed_summary_names_every_goal() -> None:
    """Lines are for a log: there each goal is named with its value."""
    text = printed(report_screen(run_of(), is_log=True), 140)
    assert [goal.name for goal in run_of().goals if goal.name not in text] == []
    assert LOGIN.url not in text


def test_the_left_wrist_is_named_outside_the_population() -> None:
    """The live table does not let the left wrist pass for certified."""
    text = printed(live_screen(frame(1.0), [], width=200, height=40))
    assert f"{LEFT.name}, branch: outside the certificate's population" in text


def test_the_left_wrist_is_inside_once_the_next_pack_runs() -> None:
    """That one is certified for both wrists; the pictures of the branch stay outside."""
    told = frame(1.0)
    tally = told.tallies[LEFT.name]
    recent = dataclasses.replace(tally.recent, pack=str(NEXT_EDGE_PACK))
    mended = dataclasses.replace(told, tallies={**told.tallies, LEFT.name: dataclasses.replace(tally, recent=recent)})
    text = printed(live_screen(mended, [], width=200, height=40))
    assert "branch: outside the certificate's population" in text
    assert f"{LEFT.name}, branch" not in text


def test_an_answer_that_came_with_its_revision_tells_no_time_of_the_hub() -> None:
    """After an outage both come at once; 0 ms would be a lie."""
    told = frame(1.0)
    tally = told.tallies[FLEET[0].name]
    tally = dataclasses.replace(tally, recent=dataclasses.replace(tally.recent, hub=Latency(0.1, 0.2)))
    cells = row_cells(FLEET[0], tally, None)
    assert "0/0" not in cells
    assert cells[7] == "-"


def test_the_console_is_named_while_the_story_runs() -> None:
    """Who wants to see the same there does not have to wait for the end."""
    text = printed(live_screen(frame(1.0), [], width=80, height=24), 80)
    assert f"console: {LOGIN.url}  name: {LOGIN.name}  password: {LOGIN.password}" in text


def test_the_screen_starts_before_there_is_anything_to_show() -> None:
    """Before the watches begin there are events only."""
    assert "fetching" in printed(live_screen(None, ["fetching"], width=80, height=24))


def test_the_summary_names_missed_goals_and_both_intervals() -> None:
    """A goal that does not hold stands out on the one screen, and the paired intervals are printed."""
    text = printed(report_screen(run_of(revised=False), is_log=False))
    assert text.count("MISSED") == 3
    assert "hybrid less edge alone +0.00 points, interval" in text
    assert "hybrid less hub alone " in text


def test_lines_come_now_and_then() -> None:
    """Frames that follow each other fast give one line an agent; events give one each."""
    stream = io.StringIO()
    lines = Lines(stream, clock=lambda: 100.0)
    lines.event("hub killed")
    for elapsed_s in (1.0, 10.5, 10.75, 11.0):
        lines.frame(frame(elapsed_s))
    lines.close()
    text = stream.getvalue().splitlines()
    assert text[0] == "demo    0 s: hub killed"
    assert len(text) == 1 + len(FLEET) + 1
    assert "outbox 7" in text[1]
    assert text[1].endswith("hub link down")
    assert text[2].endswith("outbox -, no agent")
    assert text[-1].endswith("all escalated for low_confidence")


def test_the_live_screen_keeps_its_last_state_and_adds_the_summary() -> None:
    """After the end the terminal shows the events, then the goals; closing twice is fine."""
    console = Console(file=io.StringIO(), width=200, force_terminal=True)
    screen = Screen(console)
    screen.open()
    screen.frame(frame(30.0))
    screen.event("hub back")
    screen.summary(run_of())
    screen.close()
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert text.index("hub back") < text.rindex("goals")
