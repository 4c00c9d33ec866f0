"""The view: the same facts as a live table, as lines, and as a summary."""

import io

from rich.console import Console

from deploy.demo.fleet import FLEET
from deploy.demo.judge import Judge
from deploy.demo.view import Frame, Lines, Pulse, Screen, live_screen, report_screen
from tests.unit.deploy.test_report import run_of


def frame(elapsed_s: float) -> Frame:
    """Three agents of which one is down and one has lost the hub; the first has answers."""
    tallies = dict(run_of().tallies)
    tallies[FLEET[2].name] = Judge({}, FLEET).tally(FLEET[2].name, 0.0)
    pulses = {
        FLEET[0].name: Pulse(7, hub_connected=False, broker_connected=True),
        FLEET[1].name: None,
        FLEET[2].name: Pulse(0, hub_connected=True, broker_connected=True),
    }
    return Frame(elapsed_s, 70.0, FLEET, tallies, pulses)


def printed(renderable: object) -> str:
    """What a wide terminal shows."""
    console = Console(file=io.StringIO(), width=200)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_row_shows_rate_shares_latencies_accuracies_and_links() -> None:
    """Each agent has a row; one that does not answer is said to be down, one without its hub as well."""
    lines = printed(live_screen(frame(20.0), ["hub killed"])).splitlines()
    rows = {member.name: next(line for line in lines if line.strip().startswith(f"{member.name} ")) for member in FLEET}
    for text in ("90.0", "low_confidence 10.0", "100 / 100", "100.0", "7", "hub down"):
        assert text in rows[FLEET[0].name]
    assert "agent down" in rows[FLEET[1].name]
    assert "up" in rows[FLEET[2].name]


def test_the_left_wrist_is_named_outside_the_population() -> None:
    """Neither the live table nor the summary lets the left wrist pass for certified."""
    assert "left: outside the certificate's population" in printed(live_screen(frame(1.0), []))
    assert "left*: outside the certificate's population" in printed(report_screen(run_of()))


def test_the_screen_starts_before_there_is_anything_to_show() -> None:
    """Before the watches begin there are events only."""
    assert "fetching" in printed(live_screen(None, ["fetching"]))


def test_the_summary_names_missed_goals_and_both_intervals() -> None:
    """A goal that does not hold stands out, and the paired intervals are printed."""
    text = printed(report_screen(run_of(revised=False)))
    assert "MISSED" in text
    assert "hybrid less edge alone: +0.00 points, interval" in text
    assert "hybrid less hub alone:" in text


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
    assert len(text) == 1 + len(FLEET)
    assert "outbox 7" in text[1]


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
