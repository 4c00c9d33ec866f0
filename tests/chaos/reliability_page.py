"""Owns the table in docs/reliability.md: what a run printed, when, on which machine. The words around it stay."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.harness import machine

BEGIN = "<!-- begin: make chaos -->"
END = "<!-- end: make chaos -->"

_KEPT = "result.json"


@dataclass(frozen=True, slots=True)
class Result:
    """One scenario's line.

    Attributes:
        pass_line: What must be so.
        figures: What came out.
        seed: To have it again.
        date: When.
    """

    name: str
    pass_line: str
    passed: bool
    figures: str
    took_s: float
    seed: int
    date: str

    def keep(self, folder: Path) -> None:
        """Leave it in the scenario's folder, for the table."""
        folder.joinpath(_KEPT).write_text(json.dumps(asdict(self)))


def kept(folders: Iterable[Path]) -> list[Result]:
    """The latest result of each scenario that left one."""
    files = [folder / _KEPT for folder in folders]
    return [Result(**json.loads(one.read_text())) for one in files if one.exists()]


def write_page(path: Path, results: Sequence[Result]) -> None:
    """Put the table between the page's two marks; the rest of the page stays.

    Raises:
        ValueError: The page has no marks.
    """
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path}: put the lines {BEGIN} and {END} where the table belongs")
    path.write_text(f"{before}{BEGIN}\n\n{table(results)}\n\n{END}{after}", encoding="utf-8")


def table(results: Sequence[Result]) -> str:
    """The table in Markdown, with its dates and the machine."""
    about = machine()
    dates = sorted({one.date for one in results})
    rows = [
        f"| `{one.name}` | {one.pass_line} | {one.figures} | {one.took_s:.0f} s | {one.seed} |"
        for one in results
        if one.passed
    ]
    said = f"{' and '.join(dates)}, {about['cpu']}, {about['cores']} cores, Python {about['python']}."
    head = ["| scenario | passes when | figures | took | seed |", "|---|---|---|---|---|"]
    return "\n".join([said, "", *head, *rows])
