"""Owns what a person sees of the demo: a live screen on a terminal, plain lines on stderr elsewhere.

Both are given the same `Frame`s, events and report by the story; neither asks anyone for anything.
"""

import sys
import textwrap
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Final, Literal, NamedTuple, Protocol, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from deploy.demo.fleet import BRANCH, EDGE_PACK, NEXT_EDGE_PACK, PATCH, AgentName, Member
from deploy.demo.judge import RECENT_S, Figures, Interval, Latency, Part, Scores, Tally
from deploy.demo.questions import wrist_group
from deploy.demo.report import BEFORE_DRIFT, MENDED, OUTSIDE, UNDER_DRIFT, Goal, Login, Report, percent
from model_packs.shipped.motion_band.dataset import Wrist

_SHOWN_EVENTS: Final = 8
_LINE_INTERVAL_S: Final = 10.0
_NOTHING: Final = "-"
_AGENT_DOWN: Final = "no agent"
_TOGETHER: Final = "0/0"  # answer and revision came at once, after an outage: that is no time of the hub
_WIDE_COLUMNS: Final = 110  # of the terminal; below, the columns that others imply are left out
_PANEL_FRAME_CHARS: Final = 4
_PANEL_FRAME_LINES: Final = 2


@dataclass(frozen=True, slots=True)
class Pulse:
    """How one agent is just now, as it says itself.

    Attributes:
        outbox_items: Items that wait for the hub or the broker.
        hub_connected: Whether its escalation stream is open.
        broker_connected: Whether it is connected to the broker and subscribed.
    """

    outbox_items: int
    hub_connected: bool
    broker_connected: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """Everything that a screen shows at one moment.

    Attributes:
        elapsed_s: Since the senders began.
        pulses: What each agent says; None for an agent that does not answer.
        login: Where a person can look at the same, and as whom.
    """

    elapsed_s: float
    members: Sequence[Member]
    tallies: Mapping[AgentName, Tally]
    pulses: Mapping[AgentName, Pulse | None]
    login: Login


class View(Protocol):
    """Where the story is told."""

    def open(self) -> None:
        """Take the terminal."""
        ...

    def event(self, text: str) -> None:
        """Something happened."""
        ...

    def frame(self, frame: Frame) -> None:
        """The state now; called several times a second."""
        ...

    def summary(self, report: Report) -> None:
        """The end."""
        ...

    def close(self) -> None:
        """Leave the screen as it is. May be called twice."""
        ...


class Lines:
    """Plain lines on a stream: each event, and the state now and then.

    Args:
        stream: Where to.
        clock: Monotonic seconds; lines tell the time since `open`.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._opened_s = clock()
        self._shown_at_s = 0.0

    def open(self) -> None:
        """Begin to count the time."""
        self._opened_s = self._clock()

    def event(self, text: str) -> None:
        """Write a line."""
        self._stream.write(f"demo {self._clock() - self._opened_s:4.0f} s: {text}\n")
        self._stream.flush()

    def frame(self, frame: Frame) -> None:
        """Write a line for each agent, at most every ten seconds of the story."""
        if frame.elapsed_s - self._shown_at_s < _LINE_INTERVAL_S:
            return
        self._shown_at_s = frame.elapsed_s
        for member in frame.members:
            cells = row_cells(member, frame.tallies[member.name], frame.pulses.get(member.name))
            named = [
                cell if cell == _AGENT_DOWN else f"{' '.join(column.heading.split())} {cell}"
                for column, cell in zip(_COLUMNS, cells, strict=True)
            ]
            self.event(", ".join(named))
        for text in _reasons(frame):
            self.event(text)

    def summary(self, report: Report) -> None:
        """Write the goals and the figures of each agent."""
        Console(file=self._stream, width=140, highlight=False).print(report_screen(report, is_log=True))

    def close(self) -> None:
        """Nothing to leave."""


class Screen:
    """A live table on a terminal, with the latest events under it.

    Args:
        console: The terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._events: deque[str] = deque(maxlen=_SHOWN_EVENTS)
        self._frame: Frame | None = None
        self._live = Live(console=console, auto_refresh=False, transient=False)

    def open(self) -> None:
        """Start the live part."""
        self._live.start()

    def event(self, text: str) -> None:
        """Add to the events."""
        self._events.append(text if self._frame is None else f"{self._frame.elapsed_s:5.1f} s  {text}")
        self._draw()

    def frame(self, frame: Frame) -> None:
        """Draw the state."""
        self._frame = frame
        self._draw()

    def summary(self, report: Report) -> None:
        """End the live part and print the report below the last state."""
        self.close()
        self._console.print(report_screen(report, is_log=False))

    def close(self) -> None:
        """Leave the last state on the terminal."""
        self._live.stop()

    def _draw(self) -> None:
        size = self._console.size
        screen = live_screen(self._frame, tuple(self._events), width=size.width, height=size.height)
        self._live.update(screen, refresh=True)


def choose_view(*, is_live: bool) -> View:
    """The screen for a terminal, or lines on stderr."""
    return Screen(Console()) if is_live else Lines(sys.stderr)


class _Column(NamedTuple):
    """One column of the live table; its least width is that of its usual texts, so that it does not jump."""

    heading: str
    min_chars: int
    justify: Literal["left", "right"] = "right"
    is_always_shown: bool = True


_COLUMNS: Final = (
    _Column("agent", 7, "left"),
    _Column("pack", 5, "left"),
    _Column("answers\n/s", 7, is_always_shown=False),
    _Column("escalated\n%", 9),
    _Column("disputed\n%", 8),
    _Column("right %\nedge/hybrid", 11),
    _Column("edge ms\np50/p99", 10),
    _Column("hub ms\np50/p99", 10, is_always_shown=False),
    _Column("outbox", 6),
    _Column("hub\nlink", len(_AGENT_DOWN), "left"),
)

_PART_COLUMNS: Final = (
    "answered by",
    "windows",
    "escalated\n%",
    "disputed\n%",
    "edge\nright %",
    "hybrid\nright %",
    "hub\nright %",
)


def row_cells(member: Member, tally: Tally, pulse: Pulse | None) -> tuple[str, ...]:
    """One agent's row, in the order of the columns.

    Args:
        member: The agent.
        tally: What the judge has of it.
        pulse: What it says itself; None when it does not answer.

    Returns:
        One text a column.
    """
    recent = tally.recent
    figures = recent.figures
    return (
        member.name,
        recent.pack.rpartition("@")[2] or _NOTHING,
        f"{recent.per_s:.1f}",
        _percent(figures.escalated_share),
        _percent(figures.disagreed_share),
        f"{_percent(figures.edge_accuracy)}/{_percent(figures.hybrid_accuracy)}",
        _times(recent.edge),
        _NOTHING if (told := _times(recent.hub)) == _TOGETHER else told,
        _NOTHING if pulse is None else str(pulse.outbox_items),
        _AGENT_DOWN if pulse is None else ("up" if pulse.hub_connected else "down"),
    )


def live_screen(frame: Frame | None, events: Sequence[str], *, width: int, height: int) -> RenderableType:
    """The screen while the story runs.

    Args:
        frame: The state; None before the senders begin.
        events: The latest events, oldest first; as many as there is room for are shown.
        width: Of the terminal, in characters.
        height: Of the terminal, in lines.
    """
    parts: list[RenderableType] = []
    if frame is not None:
        outside = ", ".join(member.name for member in frame.members if _is_outside(member, frame))
        legend = (
            console_line(frame.login),
            *_reasons(frame),
            *([f"{outside}: {OUTSIDE}; in no comparison"] if outside else []),
            f"the last {RECENT_S:.0f} s, as the driver sees them; disputed: the hub answered otherwise than the edge",
        )
        wrapped = [line for text in legend for line in textwrap.wrap(text, width)]
        parts += [_live_table(frame, is_wide=width >= _WIDE_COLUMNS), Text("\n".join(wrapped), style="dim")]
        height -= len(frame.members) + _TABLE_HEAD_LINES + len(wrapped)
    lines = [line for text in events or ["starting"] for line in textwrap.wrap(text, width - _PANEL_FRAME_CHARS)]
    shown = lines[-max(1, height - _PANEL_FRAME_LINES - 1) :]  # the last line is the cursor's
    parts.append(Panel(Text("\n".join(shown)), title="what happened", title_align="left"))
    return Group(*parts)


def _is_outside(member: Member, frame: Frame) -> bool:
    """The next pack is certified for both wrists."""
    return not member.is_certified and frame.tallies[member.name].recent.pack != str(NEXT_EDGE_PACK)


_TABLE_HEAD_LINES: Final = 4  # title, two lines of headings, rule


def _live_table(frame: Frame, *, is_wide: bool) -> Table:
    table = _table(f"{frame.elapsed_s:.0f} s")
    is_shown = [is_wide or column.is_always_shown for column in _COLUMNS]
    for column in compress(_COLUMNS, is_shown):
        table.add_column(column.heading, justify=column.justify, min_width=column.min_chars, no_wrap=True)
    for member in frame.members:
        pulse = frame.pulses.get(member.name)
        table.add_row(
            *compress(row_cells(member, frame.tallies[member.name], pulse), is_shown),
            style="red" if pulse is None else ("yellow" if not pulse.hub_connected else ""),
        )
    return table


def console_line(login: Login) -> str:
    """Where the console is, and who may log in."""
    return f"console: {login.url}  name: {login.name}  password: {login.password}"


def _reasons(frame: Frame) -> list[str]:
    """Why windows were escalated: one line, or none before the first; shares only where there is more than one."""
    tallies = {member.name: frame.tallies[member.name] for member in frame.members}
    reasons = sorted({reason for tally in tallies.values() for reason in tally.escalated})
    if len(reasons) <= 1:
        return [f"all escalated for {reason}" for reason in reasons]
    shares = (
        f"{name} " + ", ".join(f"{reason} {100 * count / tally.answered:.1f}" for reason, count in escalated)
        for name, tally in tallies.items()
        if (escalated := sorted(tally.escalated.items()))
    )
    return [f"escalated %, by reason: {'; '.join(shares)}"]


def report_screen(report: Report, *, is_log: bool) -> RenderableType:
    """The summary: what the parts of the story measured, the faults, the goals, and where the console is.

    Args:
        report: The end of the story.
        is_log: Nobody waits at the end: the goals that hold are named, too, and the console, which ends, is not.
            Else it fits on one screen.
    """
    parts = _table("right: the edge's own answers, the answers as they stand, the hub alone")
    for title in _PART_COLUMNS:
        parts.add_column(title, justify="left" if title == _PART_COLUMNS[0] else "right")
    parts.add_row(*_comparison_cells(report.compared))
    read = (part for part in report.parts if part.agent == BRANCH.name)
    for part in (BEFORE_DRIFT, UNDER_DRIFT, MENDED, *read):
        parts.add_row(*_part_cells(part, report.part(part)))
    faults, update = report.faults, report.update
    went_on = f"{faults.answered_without_hub} answers went on"
    outbox = f"the outboxes rose to {faults.outbox_peak} items and ended at {faults.outbox_end}"
    reason = "nothing was heard of it" if update.refusal is None else f"refused, {update.refusal.reason}"
    refused = f"the damaged {PATCH.version}: {reason}"
    equations = sum(audit.equations for audit in report.audits.values())
    broken = sum(len(audit.broken) for audit in report.audits.values())
    lines = (
        f"right wrists: hybrid less edge alone {_interval(report.over_edge)}",
        f"              hybrid less hub alone  {_interval(report.over_hub)}",
        f"hub killed: {went_on}; {outbox}",
        f"agent killed: the others gave {faults.answered_by_others} answers meanwhile",
        f"{_short(NEXT_EDGE_PACK.version)} runs on {', '.join(update.installed) or 'nobody'}; {refused}",
        f"labels given: {update.labels}, came back as revisions: {update.human_revisions}",
        f"equations: {equations - broken} of {equations} hold, on {len(report.audits)} agents",
    )
    kept = sum(goal.ok for goal in report.goals)
    goals = Text(f"{kept} of {len(report.goals)} goals hold", style="green" if report.ok else "bold red")
    login = [] if is_log else [Text(console_line(report.login), style="bold")]
    shown = [goal for goal in report.goals if is_log or not goal.ok]
    return Group(parts, Text("\n".join(lines)), *([_goals(shown)] if shown else []), goals, *login)


def _comparison_cells(compared: Scores) -> tuple[str, ...]:
    """The certified comparison as a row."""
    windows = len(compared.hybrid)
    accuracies = (percent(right) for right in (compared.edge, compared.hybrid, compared.hub))
    return (
        f"{wrist_group(Wrist.RIGHT)}s, {_short(EDGE_PACK.version)}",
        str(windows),
        _percent(compared.escalated / windows if windows else None),
        _NOTHING,
        *(_NOTHING if value is None else f"{value:.1f}" for value in accuracies),
    )


def _part_cells(part: Part, figures: Figures) -> tuple[str, ...]:
    """A part of the story as a row."""
    shares = (
        figures.escalated_share,
        figures.disagreed_share,
        figures.edge_accuracy,
        figures.hybrid_accuracy,
        figures.hub_accuracy,
    )
    return (
        f"{part.agent}: {part.group}, {_short(part.pack.rpartition('@')[2])}",
        str(figures.answered),
        *map(_percent, shares),
    )


def _short(version: str) -> str:
    """A version's first number: 2.0.0 is v2."""
    return f"v{version.partition('.')[0]}"


def _goals(shown: Sequence[Goal]) -> Table:
    goals = _table("")
    for title in ("", "goal", "value", "limit"):
        goals.add_column(title, justify="right" if title in {"value", "limit"} else "left")
    for goal in shown:
        goals.add_row(
            _verdict(goal), goal.name, _NOTHING if goal.value is None else f"{goal.value:g}", f"{goal.limit:g}"
        )
    return goals


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))


def _verdict(goal: Goal) -> Text:
    return Text("ok", style="green") if goal.ok else Text("MISSED", style="bold red")


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return _NOTHING
    spread = f"{interval.low:+.2f} to {interval.high:+.2f}"
    return f"{interval.points:+.2f} points, interval {spread}"


def _times(latency: Latency) -> str:
    if latency.p50_ms is None or latency.p99_ms is None:
        return _NOTHING
    return f"{latency.p50_ms:.0f}/{latency.p99_ms:.0f}"


def _percent(share: float | None) -> str:
    return _NOTHING if share is None else f"{100 * share:.1f}"
