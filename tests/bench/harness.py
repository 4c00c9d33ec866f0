"""Owns what all benches share: fair rounds, a host that disturbs, rows, machine facts, the table and the JSON file.

What is measured belongs to the bench. A bench judges its rows but never fails: it exits 0 whatever it measured.
"""

import datetime as dt
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path
from typing import Final, TypeVar

from rich.console import Console
from rich.table import Table

_WIDTH = 180
_STEAL = 7  # its place among the times of /proc/stat

RESULTS_FOLDER = Path(__file__).parents[2] / "build" / "bench"

MeasuredT = TypeVar("MeasuredT")


@dataclass(frozen=True, slots=True)
class Goal:
    """What a row should keep: ``Goal("ratio", "<=", 1.5)`` or ``Goal("value", ">=", 0.95)``."""

    of: str
    relation: str
    limit: float

    def __post_init__(self) -> None:
        """Refuse what ``holds`` could not judge."""
        if self.of not in {"value", "ratio"} or self.relation not in {"<=", ">="}:
            raise ValueError(f"a goal is on value or ratio, <= or >=: {self}")

    def __str__(self) -> str:
        return f"{self.of} {self.relation} {self.limit:g}"

    def holds(self, measured: float) -> bool:
        """True when ``measured`` keeps the limit."""
        return measured <= self.limit if self.relation == "<=" else measured >= self.limit


@dataclass(frozen=True, slots=True)
class Row:
    """One measured case, as it stands in the JSON file.

    ``baseline`` was measured in the same run, in the same unit; ``ratio`` is value / baseline; ``goal`` is words
    such as ``"ratio <= 1.5"`` and ``ok`` says whether it was kept (null without a goal). ``note`` says what a reader
    must know; a row that could not be measured has no ``value``, and its note says why.
    """

    case: str
    unit: str
    value: float | None
    baseline: float | None
    ratio: float | None
    goal: str | None
    ok: bool | None
    note: str = ""


def row(
    case: str, unit: str, value: float, *, baseline: float | None = None, goal: Goal | None = None, note: str = ""
) -> Row:
    """Judge one measured value.

    Raises:
        ValueError: The goal is on the ratio, and there is no baseline to divide by.
    """
    ratio = value / baseline if baseline else None
    ok = None
    if goal is not None:
        measured = value if goal.of == "value" else ratio
        if measured is None:
            raise ValueError(f"{case}: a goal on the ratio needs a baseline above zero")
        ok = goal.holds(measured)
    return Row(case, unit, value, baseline, ratio, None if goal is None else str(goal), ok, note)


def not_run(case: str, unit: str, reason: str, *, goal: Goal | None = None) -> Row:
    """The row of what could not be measured, with the reason."""
    return Row(case, unit, None, None, None, None if goal is None else str(goal), None, f"not run: {reason}")


def interleave(sides: Mapping[str, Callable[[], float]], *, rounds: int, warm_up_rounds: int = 1) -> dict[str, float]:
    """Run every side once a round, the order turned round each time; return each side's median.

    What slows the machine for a while so slows all sides alike. Warm-up rounds are thrown away.
    """
    values: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(warm_up_rounds + rounds):
        for name in names if number % 2 == 0 else reversed(names):
            measured = sides[name]()
            if number >= warm_up_rounds:
                values[name].append(measured)
    return {name: statistics.median(measured) for name, measured in values.items()}


class Host:
    """Whoever runs this machine beside others, and takes its processors away for a while.

    A 99th percentile is made by the slowest hundredth, so a hundredth of the time taken away can be all that it shows.
    A measurement that was disturbed so is done again; what it measured plays no part in that. What cannot be measured
    undisturbed counts with its least disturbed try. A machine that tells no such time counts as undisturbed.

    Attributes:
        repeated: Tries that were thrown away.
        most: The largest share of the processors' time that was taken during a try that counts.
    """

    LIMIT: Final = 0.01
    TRIES: Final = 4

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self._stat = stat
        self.repeated = 0
        self.most = 0.0

    def undisturbed(self, measure: Callable[[], MeasuredT]) -> MeasuredT:
        """Measure until nothing was taken away, a few times at most."""
        tries: list[tuple[float, MeasuredT]] = []
        while not tries or (tries[-1][0] > self.LIMIT and len(tries) < self.TRIES):
            taken, all_of_it = self._ticks()
            value = measure()
            taken_then, all_then = self._ticks()
            tries.append(((taken_then - taken) / max(1, all_then - all_of_it), value))
        share, value = min(tries, key=itemgetter(0))
        self.repeated += len(tries) - 1
        self.most = max(self.most, share)
        return value

    def _ticks(self) -> tuple[int, int]:
        """Time taken away and all time, of all processors since boot; see proc(5), /proc/stat."""
        if not self._stat.is_file():
            return 0, 0
        ticks = [int(word) for word in self._stat.read_text().split("\n", 1)[0].split()[1:]]
        return ticks[_STEAL], sum(ticks[: _STEAL + 1])


def machine() -> dict[str, str | int | None]:
    """What a figure must be read with: the processor, its cores, Python, the day."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
    }


def report(
    name: str, rows: Sequence[Row], *, details: Mapping[str, object] | None = None, folder: Path = RESULTS_FOLDER
) -> Path:
    """Print the table on stdout and write ``build/bench/<name>.json``; return that path.

    Args:
        name: Of the bench.
        rows: What it measured.
        details: More keys for the file.
        folder: Where the file goes.
    """
    document = {"name": name, "machine": machine(), "rows": [asdict(each) for each in rows], **(details or {})}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")

    table = Table("case", "unit", title=f"bench {name}")
    for heading in ("value", "baseline", "ratio"):
        table.add_column(heading, justify="right")
    table.add_column("goal")
    table.add_column("ok")
    table.add_column("note")
    for each in rows:
        verdict = {None: "", True: "yes", False: "NO"}[each.ok]
        table.add_row(
            each.case,
            each.unit,
            _figure(each.value),
            _figure(each.baseline),
            _figure(each.ratio),
            each.goal or "",
            verdict,
            each.note,
        )
    console = wide_console()
    console.print(table)
    console.print(f"{machine()['cpu']}, {machine()['cores']} cores; written to {path}", markup=False, highlight=False)
    return path


def wide_console() -> Console:
    """Stdout for tables: as wide as the terminal; wide enough where there is none."""
    return Console(soft_wrap=True, width=None if sys.stdout.isatty() else _WIDTH)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
