"""Owns the pictures of the terminal view: which moment is shown, and its drawing as an SVG that loads nothing."""

import io
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, TextIO

from rich.console import Console, RenderableType
from rich.terminal_theme import DIMMED_MONOKAI

from deploy.demo.fleet import EDGE_PACK, LEFT
from deploy.demo.report import Login, Report
from deploy.demo.view import Frame, Lines, live_screen, report_screen

WIDTH: Final = 112
HEIGHT: Final = 26
_SHOWN_EVENTS: Final = 8
_PLAIN_SHARE: Final = 0.2  # of the left wrists' answers that the hub disagrees with; in calm it is under a tenth
_HIDDEN: Final = "…"
_FONT_FACE: Final = re.compile(r"@font-face \{.*?\}", re.DOTALL)


class Recorder:
    """Tells the story in lines, and keeps the last moment at which the first student's drift was plain. A `View`.

    Args:
        stream: Where the lines go.
    """

    def __init__(self, stream: TextIO) -> None:
        self._lines = Lines(stream)
        self._events: deque[str] = deque(maxlen=_SHOWN_EVENTS)
        self._elapsed_s: float | None = None
        self.moment: RenderableType = live_screen(None, (), width=WIDTH, height=HEIGHT)

    def open(self) -> None:
        """Begin to count the time."""
        self._lines.open()

    def event(self, text: str) -> None:
        """Write a line, and remember it."""
        self._lines.event(text)
        self._events.append(text if self._elapsed_s is None else f"{self._elapsed_s:5.1f} s  {text}")

    def frame(self, frame: Frame) -> None:
        """Keep the screen of this moment, if it shows the drift and everybody is there."""
        self._lines.frame(frame)
        self._elapsed_s = frame.elapsed_s
        recent = frame.tallies[LEFT.name].recent
        is_drift = recent.pack == str(EDGE_PACK) and (recent.figures.disagreed_share or 0.0) > _PLAIN_SHARE
        is_whole = all(pulse is not None and pulse.hub_connected for pulse in frame.pulses.values())
        if is_whole and is_drift:
            hidden = replace(frame, login=without_password(frame.login))
            self.moment = live_screen(hidden, tuple(self._events), width=WIDTH, height=HEIGHT)

    def summary(self, report: Report) -> None:
        """Write the goals."""
        self._lines.summary(report)

    def close(self) -> None:
        """Nothing to leave."""


def drawn(recorder: Recorder, report: Report) -> Mapping[str, str]:
    """Draw that moment and the summary.

    Args:
        recorder: Was there.
        report: The end; its password is not drawn.

    Returns:
        SVG by file name.
    """
    hidden = replace(report, login=without_password(report.login))
    return {
        "terminal.svg": svg(recorder.moment, "make demo"),
        "terminal-summary.svg": svg(report_screen(hidden, is_log=False), "make demo: the summary"),
    }


def without_password(login: Login) -> Login:
    """The same, to be shown to everybody."""
    return replace(login, password=_HIDDEN)


def svg(screen: RenderableType, title: str) -> str:
    """Draw what a terminal shows.

    Args:
        screen: What it shows.
        title: On the window's frame.

    Returns:
        An SVG in the reader's own monospace font: the web font that rich would load is left out.
    """
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(screen)
    return _FONT_FACE.sub("", console.export_svg(title=title, theme=DIMMED_MONOKAI, unique_id="demo"))
