"""How little must be asked to be as good as the hub: rules compared on the field rows of the shipped families.

    python -m tests.bench.bench_escalation [--quick] [--svg FILE]

For each shipped student with its hub, on field rows that neither of them nor any rule has learned from:

1. the least share that a rule must escalate so that edge and hub together are right as often as the hub alone, and as
   often less half a point. The threshold is chosen on the rows themselves: an upper limit for every rule, with the
   interval of 1,000 redraws (whole recordings where rows come from recordings), and between two bounds: an oracle that
   sees the outcomes, and drawing lots, which is what Sedna's RandomFilter does.
2. what the rule does when its threshold is set beforehand, as it must be in life: the lowest one that reaches the hub's
   accuracy on tuning and calibration rows; the pack's certificate; Sedna's defaults.

Prints the tables, writes build/bench/escalation.json and the curves as build/bench/escalation.svg.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from model_packs.calibration.cascade import Bounds, CostCurve, bounds, cost_curve
from model_packs.engines.opening import open_session
from model_packs.manifest import PackRef
from model_packs.pack import Pack
from model_packs.report.chart import STYLE, TOKENS, Axis, Chart, percent
from model_packs.shipped.labelled_rows import PartName, labelled_rows, shipped_pack
from tests.bench import harness
from tests.bench.escalation_rules import SEDNA_RATIO, SEDNA_THRESHOLD, SEED, Answers, Rule, Rules, rules

STUDENTS: Final = ("motion-band-edge@1.0.0", "motion-band-edge@2.0.0", "form-digits-edge@1.0.0")
DATA: Final = Path(__file__).parents[2] / "build" / "data"
HALF_POINT: Final = 0.005
REDRAWS: Final = 1000
QUICK_REDRAWS: Final = 100
PLAIN: Final = "max probability, raw"
TABLE_CHARS: Final = 132
PLOT_WIDTH_PX: Final = 760
PLOT_HEIGHT_PX: Final = 300
PLOTTED_SHARE: Final = 0.3

_LOOKS: Final = {
    "Tandem: learned deferral": ("edge", "learned deferral"),
    "Tandem: max probability, calibrated": ("hub", "max probability"),
    "margin, raw": ("human thin", "margin"),
    "Sedna CrossEntropy": ("bad thin", "Sedna CrossEntropy"),
}


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure on the rows, and where it fell in 90 of 100 redraws."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"


@dataclass(frozen=True, slots=True)
class Beforehand:
    """A rule with a threshold that was set before the field rows."""

    name: str
    escalated: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Least:
    """A rule's least shares: for the hub's accuracy, for half a point less; and the first minus the plain rule's."""

    equal: Interval
    less: Interval
    against_plain: Interval


@dataclass(frozen=True, slots=True)
class Compared:
    """One student's rules."""

    pack: Pack
    field: Answers
    limits: Bounds
    ours: Rules
    least: dict[str, Least]
    beforehand: tuple[Beforehand, ...]


def main() -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="make bench-escalation", description="Escalation at zero loss.")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_REDRAWS} redraws instead of {REDRAWS}")
    parser.add_argument(
        "--svg", type=Path, default=harness.RESULTS_FOLDER / "escalation.svg", help="where the plot goes"
    )
    options = parser.parse_args()
    compared = [compare(ref, QUICK_REDRAWS if options.quick else REDRAWS) for ref in STUDENTS]
    console = Console(width=TABLE_CHARS)
    for one in compared:
        _print(console, one)
    options.svg.parent.mkdir(parents=True, exist_ok=True)
    options.svg.write_text(plot(compared))
    harness.RESULTS_FOLDER.mkdir(parents=True, exist_ok=True)
    results = harness.RESULTS_FOLDER / "escalation.json"
    document = {
        "name": "escalation",
        "machine": harness.machine(),
        "rows": [asdict(row) for one in compared for row in _rows(one)],
        "students": [_document(one) for one in compared],
    }
    results.write_text(json.dumps(document, indent=2) + "\n")
    console.print(f"curves: {options.svg}; figures: {results}", markup=False, highlight=False, soft_wrap=True)
    return 0


def compare(ref: str, redraws: int) -> Compared:
    """Compare all rules on one student's field rows.

    Args:
        ref: A shipped edge pack.
        redraws: Bootstrap redraws behind each interval.

    Returns:
        The figures.
    """
    pack = shipped_pack(PackRef.parse(ref))
    if pack is None or pack.manifest.escalates_to is None:
        raise SystemExit(f"error: {ref} is not here\n  mend: run this in the repository")
    hub = shipped_pack(pack.manifest.escalates_to)
    if hub is None:
        raise SystemExit(f"error: {pack.manifest.escalates_to} is not here\n  mend: run this in the repository")
    _say(f"{ref}: running edge and hub on tuning, calibration and field rows")
    tuning, calibration, field = (_answers(pack, hub, part) for part in ("TUNING", "CALIBRATION", "FIELD"))
    found = rules(tuning, calibration, field)
    _say(f"{ref}: {redraws} redraws")
    limits = bounds(field.edge_right, field.hub_right)
    return Compared(
        pack=pack,
        field=field,
        limits=limits,
        ours=found,
        least=_least(found.rules, field, redraws),
        beforehand=_beforehand(pack, found.rules, tuning, calibration, field),
    )


def _answers(pack: Pack, hub: Pack, part: PartName) -> Answers:
    rows = labelled_rows(pack.manifest, part, DATA, _say)
    if rows is None:
        raise AssertionError("a shipped pack has rows")
    edge, teacher = _logits(pack, rows.inputs), _logits(hub, rows.inputs)
    return Answers(
        logits=edge,
        labels=rows.labels,
        edge_right=edge.argmax(axis=1) == rows.labels,
        hub_right=teacher.argmax(axis=1) == rows.labels,
        clusters=rows.clusters,
    )


def _logits(pack: Pack, inputs: NDArray[np.generic]) -> NDArray[np.float64]:
    session = open_session(pack)
    try:
        manifest = pack.manifest
        batches = [
            session.run({manifest.inputs[0].name: inputs[first : first + manifest.max_batch]})[manifest.outputs[0].name]
            for first in range(0, len(inputs), manifest.max_batch)
        ]
    finally:
        session.close()
    return np.concatenate(batches).astype(np.float64)


def _least(found: Sequence[Rule], field: Answers, redraws: int) -> dict[str, Least]:
    """Least escalated shares at the hub's accuracy, and at half a point less, each with its interval."""
    generator = np.random.default_rng(SEED)
    members = [np.flatnonzero(field.clusters == name) for name in np.unique(field.clusters)]
    draws = [np.arange(len(field.labels))] + [
        np.concatenate([members[place] for place in generator.integers(len(members), size=len(members))])
        for _ in range(redraws)
    ]
    equal, less = (
        {rule.name: np.array([_share(rule, field, draw, slack) for draw in draws]) for rule in found}
        for slack in (0.0, HALF_POINT)
    )
    plain = equal[PLAIN]
    return {
        name: Least(_interval(equal[name]), _interval(less[name]), _interval(equal[name] - plain)) for name in equal
    }


def _interval(values: NDArray[np.float64]) -> Interval:
    """The first value is of the rows themselves, the others of redraws."""
    low, high = np.quantile(values[1:], (0.05, 0.95)).tolist()
    return Interval(float(values[0]), low, high)


def _share(rule: Rule, field: Answers, rows: NDArray[np.intp], slack: float) -> float:
    edge, hub = field.edge_right[rows], field.hub_right[rows]
    share = cost_curve(rule.field[rows], edge, hub).least_escalated(float(hub.mean()) - slack)
    return 1.0 if share is None else share  # asking about everything is the hub alone


def _beforehand(
    pack: Pack, found: Sequence[Rule], tuning: Answers, calibration: Answers, field: Answers
) -> tuple[Beforehand, ...]:
    edge = np.concatenate([tuning.edge_right, calibration.edge_right])
    hub = np.concatenate([tuning.hub_right, calibration.hub_right])
    by_name = {rule.name: rule for rule in found}
    rows = []
    for rule in found:
        threshold = cost_curve(rule.known, edge, hub).threshold_for(float(hub.mean()))
        if threshold is not None:
            rows.append(_kept(rule.name, rule.field >= threshold, field))
    certificate = pack.certificate
    if certificate is not None and certificate.threshold is not None:
        confidence = by_name[PLAIN].field  # the shipped packs' temperature is 1
        label = f"Tandem: the pack's certificate ({percent(certificate.target)} error)"
        rows.append(_kept(label, confidence >= certificate.threshold, field))
    sedna = by_name["Sedna CrossEntropy"].field
    rows.append(_kept(f"Sedna CrossEntropy at its {SEDNA_THRESHOLD}", sedna >= SEDNA_THRESHOLD, field))
    limits = bounds(field.edge_right, field.hub_right)
    random = Beforehand(f"Sedna Random at its {SEDNA_RATIO}", SEDNA_RATIO, limits.random_accuracy(SEDNA_RATIO))
    return (*rows, random)


def _kept(name: str, kept: NDArray[np.bool_], field: Answers) -> Beforehand:
    right = np.where(kept, field.edge_right, field.hub_right)
    return Beforehand(name, float((~kept).mean()), float(right.mean()))


def _print(console: Console, one: Compared) -> None:
    limits = one.limits
    title = (
        f"{one.pack.ref}, {limits.n_rows} field rows: edge {percent(limits.edge)}, hub {percent(limits.hub)}; "
        f"hub right and edge wrong in {limits.n_gains}"
    )
    table = Table("rule", title=title, title_justify="left")
    table.add_column("least escalated, accuracy >= hub", justify="right")
    table.add_column(">= hub - 0.5 points", justify="right")
    table.add_column("minus raw max probability", justify="right")
    table.add_column("lots to oracle", justify="right")
    for name, least in one.least.items():
        way = _headroom(limits, least.equal.value)
        table.add_row(name, str(least.equal), str(least.less), str(least.against_plain), way)
    for name, find, way in (
        ("Sedna Random = lots (bound)", limits.random_least, "0 %"),
        ("oracle (bound)", limits.oracle_least, "100 %"),
    ):
        table.add_row(name, *(_bound(find(limits.hub - slack)) for slack in (0.0, HALF_POINT)), "", way)
    console.print(table)
    console.print(_accepted(one.ours), markup=False, highlight=False)
    set_before = Table("threshold set beforehand", title_justify="left")
    for heading in ("escalated", "accuracy", "against the hub"):
        set_before.add_column(heading, justify="right")
    for row in one.beforehand:
        gap = f"{100 * (row.accuracy - limits.hub):+.1f} points"
        set_before.add_row(row.name, percent(row.escalated), percent(row.accuracy), gap)
    console.print(set_before)


def _accepted(ours: Rules) -> str:
    """What the product itself would choose, from tuning and calibration rows."""
    scaling = f"accepted on tuning and calibration rows: scaling {ours.scaling.kind}"
    if ours.deferral is None:
        return f"{scaling}; no deferral score: {ours.without}"
    verdict = "accepted" if ours.deferral.deferral is not None else "not accepted"
    low, gain = 100 * ours.deferral.gain_low, 100 * ours.deferral.gain
    return f"{scaling}; learned deferral {verdict} (gain {gain:+.3f} points, 95 % above {low:+.3f})"


def _bound(share: float | None) -> str:
    return "never" if share is None else percent(share)


def _headroom(limits: Bounds, share: float) -> str:
    """How far a rule is on the way from lots to the oracle."""
    random, oracle = limits.random_least(limits.hub), limits.oracle_least(limits.hub)
    if random is None or oracle is None or random <= oracle:
        return ""
    return percent((random - share) / (random - oracle))


def _document(one: Compared) -> dict[str, object]:
    """One student's part of the JSON file: the figures of the tables."""
    limits = one.limits
    return {
        "pack": str(one.pack.ref),
        "rows": limits.n_rows,
        "edge": limits.edge,
        "hub": limits.hub,
        "hub_right_and_edge_wrong": limits.n_gains,
        "scaling": asdict(one.ours.scaling),
        "deferral": None if one.ours.deferral is None else asdict(one.ours.deferral),
        "least_escalated": {name: asdict(least) for name, least in one.least.items()},
        "bounds": {
            name: {"equal": find(limits.hub), "less": find(limits.hub - HALF_POINT)}
            for name, find in (("oracle", limits.oracle_least), ("random", limits.random_least))
        },
        "set_beforehand": [asdict(row) for row in one.beforehand],
    }


def _rows(one: Compared) -> list[harness.Row]:
    """The rows that every bench writes: each rule against raw max probability, on the same rows."""
    plain = one.least[PLAIN].equal.value
    return [
        harness.row(f"{one.pack.ref}, {name}: least escalated", "share", least.equal.value, baseline=plain)
        for name, least in one.least.items()
    ]


def plot(compared: Sequence[Compared]) -> str:
    """Draw the curves of all students, one below the other.

    Args:
        compared: What `compare` found.

    Returns:
        An SVG file that stands alone, for light and dark pages.
    """
    style = f":root {{ color-scheme: light dark; {TOKENS} }} {STYLE} svg.frame {{ background: var(--panel); }}"
    heading = 'font: 600 15px system-ui, "Noto Sans", sans-serif; fill: var(--ink)'
    height = len(compared) * (PLOT_HEIGHT_PX + 40) + 10
    parts = []
    for number, one in enumerate(compared):
        top = number * (PLOT_HEIGHT_PX + 40)
        drawn = _chart(one).svg().replace("<svg ", f'<svg x="0" y="{top + 34}" width="{PLOT_WIDTH_PX}" ', 1)
        drawn = drawn.replace('width="760" class', f'width="760" height="{PLOT_HEIGHT_PX}" class', 1)
        parts.append(f'<text x="16" y="{top + 24}" style=\'{heading}\'>{one.pack.ref}</text>{drawn}')
    return (
        f'<svg class="frame" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {PLOT_WIDTH_PX} {height}">'
        f"<style>{style}</style>{''.join(parts)}</svg>\n"
    )


def _chart(one: Compared) -> Chart:
    limits, field = one.limits, one.field
    curves = {
        rule.name: cost_curve(rule.field, field.edge_right, field.hub_right)
        for rule in one.ours.rules
        if rule.name in _LOOKS
    }
    best = limits.oracle_accuracy(PLOTTED_SHARE)
    low = min(limits.edge, limits.hub) - 0.005
    chart = Chart(
        f"{one.pack.ref}: accuracy of edge and hub together against the share escalated",
        Axis("share escalated", 0.0, PLOTTED_SHARE, 0.05),
        Axis("right in the end", np.floor(low * 100) / 100, np.ceil(best * 100) / 100, 0.01),
        width_px=PLOT_WIDTH_PX,
        height_px=PLOT_HEIGHT_PX,
        names_px=170,
    )
    shares = np.linspace(0.0, PLOTTED_SHARE, 61)
    chart.line([(share, limits.oracle_accuracy(share)) for share in shares], "good thin dotted", "oracle")
    chart.line([(share, limits.random_accuracy(share)) for share in shares], "faint thin dotted", "lots (Sedna Random)")
    chart.level(limits.hub, "plain", "hub alone")
    for name, curve in reversed(curves.items()):
        look, label = _LOOKS[name]
        chart.line(_points(curve), look, label)
    for line in one.beforehand:
        if "certificate" in line.name and line.escalated <= PLOTTED_SHARE:
            chart.mark(line.escalated, line.accuracy, "hub", "certified", hint=f"{line.name}: {percent(line.accuracy)}")
        if "CrossEntropy at" in line.name and line.escalated <= PLOTTED_SHARE:
            chart.mark(line.escalated, line.accuracy, "bad", "Sedna's 0.5", hint=f"{line.name}")
    return chart


def _points(curve: CostCurve) -> list[tuple[float, float]]:
    return list(zip(curve.escalated.tolist(), curve.accuracy.tolist(), strict=True))


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
