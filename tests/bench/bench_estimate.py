"""Measures how well the hub knows how wrong the edge is: labels of what was escalated, against the stratified estimate.

Streams are drawn with replacement from the shipped packs' answers to their field data (`field_pools`), clean and
drifted; the hub is the reference, so every escalated window has its outcome, and of the kept ones the audited do. The
truth is the stream's own. `make bench-estimate` runs it and writes build/bench/estimate.json.

    escalated only   share of losses among the escalated: what the labels alone say
    all labels       share of losses among escalated and audited together, as if they were one sample
    stratified       `cloud_hub.core.monitoring.estimate`: escalated exactly, kept by their audits, with its interval
    coverage         how often that interval holds the truth, of everything and of what is kept; a single case may
                     fall short of 0.95 by what so few runs can tell (two standard errors), all together may not
"""

import argparse
import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from cloud_hub.core.monitoring.estimate import CONFIDENCE, Escalated, Estimate, Kept, edge_risk, kept_risk
from model_packs.process.progress import progress
from tests.bench.bench_drift import threshold_of
from tests.bench.field_pools import Answers, Family, Pool, form_digits, motion_band
from tests.bench.harness import Goal, Row, report, row
from tests.bench.monitored_stream import draw

SEED: Final = 20261122
WINDOWS: Final = 2000
AUDIT_RATES: Final = (0.02, 0.05, 0.1, 0.2)
COVERED: Final = ": coverage"
EXACTLY: Final = Goal("value", ">=", CONFIDENCE)
TWO_SIGMA: Final = 2.0


@dataclass(frozen=True, slots=True)
class Run:
    """One stream: the truth, and what each way of reckoning says."""

    truth: float
    kept_truth: float
    escalated_only: float
    all_labels: float
    edge: Estimate
    kept: Estimate


def main() -> None:
    """Measure, print the table, write the JSON file."""
    parser = argparse.ArgumentParser(description="what the hub can know of the edge's errors, and how")
    parser.add_argument("--quick", action="store_true", help="few runs: does it work at all?")
    n_runs = 50 if parser.parse_args().quick else 1000
    with Answers() as answers:
        families = (motion_band(answers), form_digits(answers))
    rows: list[Row] = []
    for family in families:
        for pool in (family.clean, *family.drifted):
            for rate in AUDIT_RATES:
                rows += measured(family, pool, rate, n_runs)
    covered = [one.value for one in rows if one.case.endswith(COVERED) and one.value is not None]
    rows.append(row(f"all {len(covered) * n_runs} runs{COVERED}", "share", _mean(covered), goal=EXACTLY))
    report("estimate", rows)


def measured(family: Family, pool: Pool, rate: float, n_runs: int) -> list[Row]:
    """All figures of one pool at one audit rate."""
    random = np.random.default_rng((SEED, round(rate * 100)))
    case = f"{family.name}, {pool.name}, {rate:.0%} audits"
    runs: list[Run] = []
    with progress(n_runs, case) as bar:
        for _ in range(n_runs):
            runs.append(_run(family, pool, rate, random))
            bar.advance()
    noise = TWO_SIGMA * math.sqrt(CONFIDENCE * (1.0 - CONFIDENCE) / n_runs)
    goal = Goal("value", ">=", round(CONFIDENCE - noise, 4))
    found = [
        row(f"{case}: truth", "share", _mean([one.truth for one in runs])),
        row(f"{case}: off, escalated only", "share", _off([(one.escalated_only, one.truth) for one in runs])),
        row(f"{case}: off, all labels", "share", _off([(one.all_labels, one.truth) for one in runs])),
        row(f"{case}: off, stratified", "share", _off([(one.edge.value, one.truth) for one in runs])),
        row(f"{case}: width of the interval", "share", _mean([one.edge.high - one.edge.low for one in runs])),
        row(f"{case}{COVERED}", "share", _coverage([(one.edge, one.truth) for one in runs]), goal=goal),
        row(f"{case}: coverage, kept", "share", _coverage([(one.kept, one.kept_truth) for one in runs]), goal=goal),
    ]
    return [one for one in found if one.value is not None and not math.isnan(one.value)]


def _run(family: Family, pool: Pool, rate: float, random: np.random.Generator) -> Run:
    stream = draw(pool, WINDOWS, threshold_of(family), rate, random)
    is_loss = (pool.edge != pool.hub)[stream.at]
    is_escalated = ~stream.is_kept
    escalated = Escalated(int(is_escalated.sum()), int(is_escalated.sum()), int(is_loss[is_escalated].sum()))
    kept = Kept(int(stream.is_kept.sum()), int(stream.is_audited.sum()), int(is_loss[stream.is_audited].sum()))
    labelled = is_escalated | stream.is_audited
    return Run(
        truth=float(is_loss.mean()),
        kept_truth=float(is_loss[stream.is_kept].mean()),
        escalated_only=float(is_loss[is_escalated].mean()) if is_escalated.any() else math.nan,
        all_labels=float(is_loss[labelled].mean()) if labelled.any() else math.nan,
        edge=edge_risk(kept, escalated),
        kept=kept_risk(kept),
    )


def _coverage(found: list[tuple[Estimate, float]]) -> float:
    return _mean([float(estimate.low <= truth <= estimate.high) for estimate, truth in found])


def _off(found: list[tuple[float | None, float]]) -> float:
    """Root mean square distance from the truth, over the runs that say anything at all."""
    known = [(said - truth) ** 2 for said, truth in found if said is not None and not math.isnan(said)]
    return math.sqrt(_mean(known)) if known else math.nan


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else math.nan


if __name__ == "__main__":
    main()
