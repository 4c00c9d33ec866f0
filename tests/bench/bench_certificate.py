"""How often a certificate is wrong, and what it costs to be right: rules for a threshold on redrawn calibration rows.

    python -m tests.bench.bench_certificate [--quick] [--redraws N]

For each family (`certificate_families`), n rows are drawn with replacement for calibration, and 3 n / 7 more for tuning
(`certify`'s own split, 30 %). Each rule (`certificate_rules`) chooses a threshold, and
the family says what it really keeps and gets wrong. A threshold whose true risk is above the target is a violation.

Violations are counted twice: among all draws, and among those in which a threshold was issued. Both are judged, cell by
cell, for every family: at most delta and two standard errors, where the standard error is that of the draws counted.
Where fewer than five of those issued may be wrong that formula means nothing, and the binomial distribution itself is
asked: so many wrong or more must have a chance above that of two standard deviations (0.0228) at delta. A cell with
nothing issued has nothing to judge. Coverage counts an abstention as 0.

The clustered families are drawn by whole recordings, and certified by windows and by recordings.

Prints the tables, writes build/bench/certificate.json with every cell.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from model_packs.certificate import binomial
from model_packs.certificate.certify import Unit, certify
from model_packs.certificate.errors import TooFewCases
from model_packs.process.progress import progress
from tests.bench import harness
from tests.bench.certificate_families import Family, clustered_family, shipped_families, simulated_families
from tests.bench.certificate_rules import RULES, Draw, Levels
from tests.bench.harness import Goal, Row

SEED: Final = 20261123
REDRAWS: Final = 1000
TWO_SIGMA: Final = 0.02275  # one tail of the normal distribution
FEW: Final = 5.0
QUICK_REDRAWS: Final = 100
SIZES: Final = (100, 300, 1000)
DELTAS: Final = (0.05, 0.01)
TARGETS: Final = (0.05, 0.02)
CLUSTERS: Final = (100, 300)
TUNE_SHARE: Final = 3.0 / 7.0

EXACT: Final = "Tandem exact"
BETTING: Final = "Tandem betting"
REFERENCE: Final = "exact reference"
BOTH_WRISTS: Final = "motion-band-edge@2.0.0"  # the most recordings
UNITS: Final[dict[str, Unit]] = {"by window": "row", "by recording": "cluster"}
COMPARED_N: Final = 1000
COMPARED: Final = Levels(0.05, 0.05)
GOOD_STUDENT: Final = 0.06
OF_ORACLE: Final = 0.9
BELOW_REFERENCE: Final = 0.01
TABLE_CHARS: Final = 150


@dataclass(frozen=True, slots=True)
class Cell:
    """A rule on a family at one size and level.

    Attributes:
        family: Its name.
        rule: Its name.
        n: Calibration rows (recordings, where those are drawn).
        target: The risk allowed.
        delta: The chance of a wrong statement allowed.
        redraws: How often rows were drawn.
        issued: How often a threshold was chosen.
        violations: How often its true risk was above the target.
        coverage: Mean true share kept; 0 where no threshold was chosen.
    """

    family: str
    rule: str
    n: int
    target: float
    delta: float
    redraws: int
    issued: int
    violations: int
    coverage: float

    @property
    def abstained(self) -> float:
        """Share of draws without a threshold."""
        return 1.0 - self.issued / self.redraws

    @property
    def violated(self) -> float:
        """Share of draws with a wrong threshold: what delta bounds."""
        return self.violations / self.redraws

    @property
    def violated_of_issued(self) -> float:
        """Share of wrong ones among the thresholds that were issued; 0 if none was."""
        return self.violations / self.issued if self.issued else 0.0

    def is_within(self, draws: int) -> bool:
        """Whether at most delta of some draws are wrong, as far as so many draws can tell.

        Args:
            draws: All, or those in which a threshold was issued.
        """
        if self.violations <= _allowed(self.delta, draws) * draws:
            return True
        if self.delta * draws >= FEW:
            return False
        return 1.0 - binomial.lower_tail(self.violations - 1, draws, self.delta) > TWO_SIGMA


@dataclass(frozen=True, slots=True)
class Choices:
    """What one rule chose in all draws; None where it abstained."""

    rule: str
    n: int
    levels: Levels
    thresholds: list[float | None]

    def cell(self, family: Family) -> Cell:
        """Hold the choices against the truth."""
        is_issued = np.array([threshold is not None for threshold in self.thresholds])
        coverages, risks = family.kept(np.array([math.inf if each is None else each for each in self.thresholds]))
        return Cell(
            family=family.name,
            rule=self.rule,
            n=self.n,
            target=self.levels.target,
            delta=self.levels.delta,
            redraws=len(self.thresholds),
            issued=int(is_issued.sum()),
            violations=int((risks > self.levels.target).sum()),
            coverage=float(coverages.mean()),
        )


def main() -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="make bench-certificate", description="How often certificates are wrong.")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_REDRAWS} redraws instead of {REDRAWS}")
    parser.add_argument("--redraws", type=int, default=REDRAWS, help=f"how often rows are drawn (default {REDRAWS})")
    options = parser.parse_args()
    redraws = QUICK_REDRAWS if options.quick else options.redraws
    shipped = shipped_families(_say)
    by_row = (*shipped, *simulated_families())
    by_cluster = (clustered_family(), *(family for family in shipped if family.name == BOTH_WRISTS))
    rows = [cell for family in by_row for n in SIZES for cell in draw_rows(family, n, redraws)]
    clusters = [cell for family in by_cluster for n in CLUSTERS for cell in draw_clusters(family, n, redraws)]
    report({family.name: family for family in (*by_row, *by_cluster)}, rows, clusters)
    return 0


def draw_rows(family: Family, n: int, redraws: int) -> list[Cell]:
    """Draw rows and let the rules choose: ours and the rule as it was at all levels, the others where all are compared.

    Args:
        family: What is drawn from.
        n: Calibration rows.
        redraws: How often.

    Returns:
        A cell for each rule and level.
    """
    every = [Levels(target, delta) for target in TARGETS for delta in DELTAS]
    chosen = [Choices(name, n, levels, []) for name in (EXACT, BETTING, REFERENCE) for levels in every]
    if n == COMPARED_N:
        chosen += [Choices(name, n, COMPARED, []) for name in RULES if name not in {EXACT, BETTING, REFERENCE}]
    rng = np.random.default_rng([SEED, n])
    for _ in progress(range(redraws), f"{family.name}, n = {n}: redraws"):
        rows = rng.integers(len(family.score), size=n)
        tuning = rng.integers(len(family.score), size=round(n * TUNE_SHARE))
        draw = Draw(family.score[rows], family.is_error[rows], family.score[tuning], family.is_error[tuning])
        for choices in chosen:
            choices.thresholds.append(RULES[choices.rule](draw, choices.levels))
    return [choices.cell(family) for choices in chosen]


def draw_clusters(family: Family, n: int, redraws: int) -> list[Cell]:
    """Draw whole recordings and certify by windows and by recordings.

    Args:
        family: What is drawn from.
        n: Calibration recordings.
        redraws: How often.

    Returns:
        A cell for each unit and level.
    """
    order = np.argsort(family.clusters, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(family.clusters[order])) + 1)
    chosen = [Choices(name, n, Levels(COMPARED.target, delta), []) for delta in DELTAS for name in UNITS]
    rng = np.random.default_rng([SEED, n])
    for _ in progress(range(redraws), f"{family.name}, {n} recordings: redraws"):
        drawn = [members[place] for place in rng.integers(len(members), size=n + round(n * TUNE_SHARE))]
        rows = np.concatenate(drawn)
        names = np.repeat(np.arange(len(drawn)), [len(each) for each in drawn])
        for choices in chosen:
            choices.thresholds.append(_certified(family, rows, names, n, choices))
    return [choices.cell(family) for choices in chosen]


def _certified(
    family: Family, rows: NDArray[np.intp], names: NDArray[np.intp], n: int, choices: Choices
) -> float | None:
    """Recordings up to n calibrate, those behind tune."""
    calibration, tuning = rows[names < n], rows[names >= n]
    try:
        return certify(
            family.score[calibration],
            ~family.is_error[calibration],
            target=choices.levels.target,
            delta=choices.levels.delta,
            tune_scores=family.score[tuning],
            clusters=names[names < n],
            tune_clusters=names[names >= n],
            unit=UNITS[choices.rule],
            promise="drawn",
        ).threshold
    except TooFewCases:
        return None


def report(families: dict[str, Family], by_row: Sequence[Cell], by_cluster: Sequence[Cell]) -> None:
    """Print what was counted, judge it, and write it down.

    Args:
        families: By name.
        by_row: Cells of drawn rows.
        by_cluster: Cells of drawn recordings.
    """
    console = Console(width=TABLE_CHARS)
    console.print(_compared(families, by_row))
    for target in TARGETS:
        for rule in (EXACT, BETTING, REFERENCE):
            title = f"{rule}, target {target:g}: wrong among issued / abstained / coverage"
            console.print(_sizes(title, [cell for cell in by_row if (cell.rule, cell.target) == (rule, target)]))
    for rule in UNITS:
        title = (
            f"drawn by recordings, certified {rule}, target {COMPARED.target:g}: wrong among issued / abstained / kept"
        )
        console.print(_sizes(title, [cell for cell in by_cluster if cell.rule == rule]))
    rows = [*_validity_rows(by_row), *_coverage_rows(families, by_row), *_cluster_rows(by_cluster)]
    path = harness.report("certificate", rows)
    document = json.loads(path.read_text())
    document["cells"] = [asdict(cell) for cell in (*by_row, *by_cluster)]
    path.write_text(json.dumps(document, indent=1) + "\n")


def _compared(families: dict[str, Family], cells: Iterable[Cell]) -> Table:
    """All rules side by side: how often wrong among the issued, and what is kept."""
    table = Table(
        "family (error, oracle keeps)",
        title=f"target {COMPARED.target:g}, delta {COMPARED.delta:g}, n = {COMPARED_N}: wrong among issued / kept",
        title_justify="left",
    )
    for name in RULES:
        table.add_column(name.replace(" ", "\n", 1), justify="right")
    found = {(cell.family, cell.rule): cell for cell in cells if _is_compared(cell)}
    for name in dict.fromkeys(family for family, _ in found):
        family = families[name]
        heading = f"{name} ({family.error:.1%}, {family.oracle_coverage(COMPARED.target):.1%})"
        row = (found[name, rule] for rule in RULES)
        table.add_row(heading, *(f"{_wrong(cell)} / {100 * cell.coverage:.1f}" for cell in row))
    return table


def _sizes(title: str, cells: Sequence[Cell]) -> Table:
    """One rule at every size and level."""
    table = Table("family", title=title, title_justify="left")
    keys = list(dict.fromkeys((cell.delta, cell.n) for cell in cells))
    for delta, n in keys:
        table.add_column(f"delta {delta:g}\nn = {n}", justify="right")
    for family in dict.fromkeys(cell.family for cell in cells):
        found = {(cell.delta, cell.n): cell for cell in cells if cell.family == family}
        row = (found[key] for key in keys)
        table.add_row(family, *(f"{_wrong(cell)} / {cell.abstained:.2f} / {100 * cell.coverage:.0f}" for cell in row))
    return table


def _wrong(cell: Cell) -> str:
    return f"{cell.violated_of_issued:.3f}" if cell.issued else "-"


def _validity_rows(cells: Sequence[Cell]) -> list[Row]:
    """Cells that are wrong too often, and the worst of them: of all draws, and of what is issued."""
    rows = []
    for rule in (EXACT, BETTING, REFERENCE):
        for delta in DELTAS:
            found = [cell for cell in cells if (cell.rule, cell.delta) == (rule, delta)]
            issued = [cell for cell in found if cell.issued]
            beyond = {
                "all": [cell for cell in found if not cell.is_within(cell.redraws)],
                "issued": [cell for cell in issued if not cell.is_within(cell.issued)],
            }
            goal = None if rule == REFERENCE else Goal("value", "<=", 0.0)
            rows += [
                harness.row(
                    f"{rule}, {delta:g}: of {len(found)} cells too often wrong, {of}", "cells", len(bad), goal=goal
                )
                for of, bad in beyond.items()
            ]
            rows.append(harness.row(f"{rule}, {delta:g}: worst of all", "share", max(each.violated for each in found)))
            many = [cell.violated_of_issued for cell in issued if cell.issued * delta >= FEW]
            rows.append(
                harness.row(
                    f"{rule}, {delta:g}: worst of issued, where {FEW:g} may be", "share", max(many, default=0.0)
                )
            )
            for cell in beyond["issued"] if rule != REFERENCE else ():
                _say(f"too often wrong: {cell}")
    return rows


def _coverage_rows(families: dict[str, Family], cells: Iterable[Cell]) -> list[Row]:
    """Against the oracle where the student is good, elsewhere the reference; betting against exact everywhere."""
    found = {(cell.family, cell.rule): cell for cell in cells if _is_compared(cell)}
    rows = []
    for name in dict.fromkeys(family for family, _ in found):
        family = families[name]
        oracle = family.oracle_coverage(COMPARED.target)
        if family.error <= GOOD_STUDENT:
            rows += [
                harness.row(
                    f"{name}: kept, {rule}, oracle",
                    "share",
                    found[name, rule].coverage,
                    baseline=oracle,
                    goal=Goal("ratio", ">=", OF_ORACLE),
                )
                for rule in (EXACT, BETTING)
            ]
        else:
            rows += [
                harness.row(
                    f"{name}: kept, {rule} - reference",
                    "share",
                    found[name, rule].coverage - found[name, REFERENCE].coverage,
                    goal=Goal("value", ">=", -BELOW_REFERENCE),
                )
                for rule in (EXACT, BETTING)
            ]
        gained = found[name, BETTING].coverage - found[name, EXACT].coverage
        rows.append(harness.row(f"{name}: betting - exact", "share", gained, goal=Goal("value", ">=", 0.0)))
    return rows


def _cluster_rows(cells: Iterable[Cell]) -> list[Row]:
    """By recording it holds; by window is shown beside it, without a goal."""
    rows = []
    for cell in cells:
        case = f"{cell.family}, n = {cell.n}, {cell.delta:g}, {cell.rule}: wrong of all"
        if UNITS[cell.rule] == "cluster":
            rows.append(_judged(case, cell.violated, cell.delta, cell.redraws))
        else:
            rows.append(harness.row(case, "share", cell.violated))
    return rows


def _judged(case: str, value: float, delta: float, draws: int) -> Row:
    return harness.row(case, "share", value, goal=Goal("value", "<=", _allowed(delta, draws)))


def _allowed(delta: float, draws: int) -> float:
    """Delta and two standard errors of a share that large."""
    return delta + 2.0 * math.sqrt(delta * (1.0 - delta) / draws)


def _is_compared(cell: Cell) -> bool:
    return (cell.n, Levels(cell.target, cell.delta)) == (COMPARED_N, COMPARED)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
