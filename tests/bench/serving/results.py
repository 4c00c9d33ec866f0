"""Owns how targets become figures: rows beside each other, the table of all, the JSON, the plot, a page's section."""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.table import Table

from model_packs.report.chart import STYLE, TOKENS, Axis, Chart, nice_axis
from tests.bench.harness import RESULTS_FOLDER, Goal, Row, machine, not_run, row, wide_console
from tests.bench.marked_page import PERFORMANCE, put
from tests.bench.serving.load import Load
from tests.bench.serving.target import Target, short

WIDTH_PX: Final = 760
HEIGHT_PX: Final = 300
_ABOVE: Final = 0.02


def beside(
    case: str,
    unit: str,
    ours: Target,
    others: Sequence[tuple[Target, Goal | None]],
    of: Callable[[Target], float | None],
) -> list[Row]:
    """One row for each other target: our figure, theirs, and whether the goal is kept.

    Args:
        case: What is compared.
        unit: Of the figure.
        ours: Our side.
        others: With their goals.
        of: The figure; None where a target did not run.
    """
    rows = []
    for other, goal in others:
        named = f"{case}, beside {other.name}"
        value, baseline = of(ours), of(other)
        if value is None:
            rows.append(not_run(named, unit, f"{ours.name}: {ours.reason}", goal=goal))
        elif baseline is None:
            rows.append(not_run(named, unit, other.reason or "nothing was measured", goal=goal))
        else:
            rows.append(row(named, unit, value, baseline=baseline, goal=goal))
    return rows


def at(clients: int, of: Callable[[Load], float]) -> Callable[[Target], float | None]:
    """A figure of the load with so many clients, as `beside` takes it."""
    return lambda target: target.median(clients, of)


def details(groups: Mapping[str, Sequence[Target]]) -> dict[str, object]:
    """What the JSON file says of each target, by group."""
    return {"servers": {name: [_facts(target) for target in targets] for name, targets in groups.items()}}


def show(title: str, targets: Sequence[Target]) -> None:
    """Print a table of all targets on stdout."""
    heading, *lines = _lines(targets)
    table = Table(*heading, title=title)
    for line in lines:
        table.add_row(*line)
    wide_console().print(table)


def plot(title: str, unit: str, bars: Sequence[tuple[str, float, bool]]) -> str:
    """Draw a bar for each, ours in the colour of the edge.

    Args:
        title: What is shown.
        unit: Of the values.
        bars: Name, value, whether it is ours.

    Returns:
        An SVG file that stands alone, for light and dark pages.
    """
    names = [short(name) for name, _, _ in bars]
    x = Axis("", -0.5, len(bars) - 0.5, 1.0, lambda tick: names[round(tick)])
    y = nice_axis(unit, 0.0, max((value for _, value, _ in bars), default=1.0), write=lambda tick: f"{tick:g}")
    chart = Chart(title, x, y, width_px=WIDTH_PX, height_px=HEIGHT_PX, names_px=20)
    for place, (name, value, is_ours) in enumerate(bars):
        look = "edge" if is_ours else "faint"
        chart.bar((place - 0.35, 0.0), (place + 0.35, value), look, f"{name}: {value:.4g} {unit}")
        chart.note(place - 0.2, value + y.high * _ABOVE, _figure(value))
    style = f":root {{ color-scheme: light dark; {TOKENS} }} {STYLE} svg.chart {{ background: var(--panel); }}"
    return chart.svg(style) + "\n"


def write_page(
    name: str, rows: Sequence[Row], tables: Mapping[str, Sequence[Target]], pictures: Mapping[str, str]
) -> None:
    """Put a bench's section on docs/performance.md, its pictures beside it.

    Args:
        name: Of the bench.
        rows: What it measured.
        tables: Targets by heading.
        pictures: SVG files by what they show.
    """
    about = machine()
    said = f"{about['date']}, {about['cpu']}, {about['cores']} cores, {about['system']}, Python {about['python']}."
    parts = [said, _markdown(["work", "unit", "ours", "beside it", "ratio", "goal", "kept"], map(_cells, rows))]
    for number, (title, svg) in enumerate(pictures.items(), start=1):
        file = Path("images") / f"bench-{name}-{number}.svg"
        (PERFORMANCE.parent / file).write_text(svg)
        parts.append(f"![{title}]({file})")
    for title, targets in tables.items():
        heading, *lines = _lines(targets)
        parts += [f"**{title}**", _markdown(heading, lines)]
    put(PERFORMANCE, f"make bench-{name}", "\n\n".join(parts))


def fresh(name: str) -> Path:
    """An empty folder for a bench's files."""
    folder = RESULTS_FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _facts(target: Target) -> dict[str, object]:
    return {
        "server": target.name,
        "note": target.note,
        "not_run": target.reason,
        "start_s": target.start_s,
        "pss_mib": target.pss_mib,
        "loads": {clients: [asdict(load) for load in loads] for clients, loads in target.loads.items()},
    }


def _lines(targets: Sequence[Target]) -> list[list[str]]:
    """Heading and lines: medians over the rounds."""
    counts = sorted({clients for target in targets for clients in target.loads})
    heading = ["server"]
    for clients in counts:
        who = f"{clients} client{'s' if clients > 1 else ''}"
        heading += [f"{who}: CPU-s for 1,000", "requests/s", "p50 ms", "p99 ms"]
    lines = [[*heading, "PSS MiB", "start s", "note"]]
    for target in targets:
        cells = [target.name]
        for clients in counts:
            figures = (lambda x: x.cpu_s, lambda x: x.per_s, lambda x: x.p50_ms, lambda x: x.p99_ms)
            cells += [_figure(target.median(clients, of)) for of in figures]
        note = target.note if target.reason is None else f"not run: {target.reason}"
        lines.append([*cells, _figure(target.pss_mib), _figure(target.start_s), note])
    return lines


def _cells(one: Row) -> list[str]:
    kept = {None: "", True: "yes", False: "**no**"}[one.ok]
    if one.value is None:
        return [one.case, one.unit, one.note, "", "", one.goal or "", ""]
    case = f"{one.case} ({one.note})" if one.note else one.case
    return [case, one.unit, _figure(one.value), _figure(one.baseline), _figure(one.ratio), one.goal or "", kept]


def _markdown(heading: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    table = [heading, ["---"] * len(heading), *lines]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in table)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
