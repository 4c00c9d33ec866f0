"""Owns the table in docs/reliability.md: what a run printed, when, on which machine. The words around it stay."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from tests.bench.harness import machine
from tests.bench.marked_page import put

COMMAND = "make chaos"

_KEPT = "result.json"


class Outcome(StrEnum):
    """What came of a scenario."""

    OK = "ok"
    FAILED = "FAILED"
    SKIPPED = "skipped"
    """This machine has not what it takes."""


@dataclass(frozen=True, slots=True)
class Result:
    """One run of one scenario.

    Attributes:
        pass_line: What must be so.
        said: Its figures; what was wrong; what is missing here.
        seed: To have it again.
        date: When.
    """

    name: str
    pass_line: str
    outcome: Outcome
    said: str
    took_s: float
    seed: int
    date: str

    def keep(self, folder: Path) -> None:
        """Write it into the scenario's folder, for the line and for the table."""
        folder.joinpath(_KEPT).write_text(json.dumps(asdict(self)))


def kept(folder: Path) -> Result | None:
    """The result that a scenario left in its folder."""
    path = folder / _KEPT
    if not path.exists():
        return None
    found = Result(**json.loads(path.read_text()))
    return replace(found, outcome=Outcome(found.outcome))


def write_page(path: Path, rows: Sequence[Sequence[Result]]) -> None:
    """Put the table between the page's two marks; the rest of the page stays.

    Args:
        path: The page.
        rows: Results by line of the list; a line may hold two.

    Raises:
        ValueError: The page has no marks.
    """
    put(path, COMMAND, table(rows))


def table(rows: Sequence[Sequence[Result]]) -> str:
    """The table in Markdown, with its dates and the machine."""
    about = machine()
    results = [one for row in rows for one in row]
    dates = sorted({one.date for one in results})
    lines = [
        f"| {number} | `{one.name}` | {one.pass_line} | {one.said} | {one.took_s:.0f} s | {one.seed} |"
        for number, row in enumerate(rows, start=1)
        for one in row
    ]
    said = f"{' and '.join(dates)}, {about['cpu']}, {about['cores']} cores, Python {about['python']}."
    head = ["| # | scenario | passes when | figures | took | seed |", "|---|---|---|---|---|---|"]
    return "\n".join([said, "", *head, *lines])
