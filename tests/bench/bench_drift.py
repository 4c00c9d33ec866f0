"""Measures how soon the hub's monitoring sees that a field has parted, how often it errs, and whether it says why.

Windows are drawn with replacement from the shipped packs' answers to their field data (`field_pools`): a clean stream,
then at once a drifted one; the hub's own monitoring watches (`monitored_stream`). `make bench-drift` runs it and writes
build/bench/drift.json.

    delay        windows, and audits, from the change to the first alarm of a broken promise, at 2, 5, 10 and 20 %
                 audits; by the hub's answers, and by labels of people on every audit
    false        clean streams: how many alarm at all, and, for one that errs exactly as much as it may, the audits to
                 an alarm of change and the share that is ever called void
    guarantee    drifted windows that are kept while the promise is broken: as it is, and with the automatic
                 tightening, which the device has one heartbeat after the alarm
    name         which of the five names the alarms that stand add up to, against what the drift is by the truth

Streams are independent draws: delays are to be compared with each other, and hold for a field whose windows are as
little alike. Real windows resemble their neighbours.
"""

import argparse
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cloud_hub.core.monitoring.naming import Drift
from cloud_hub.core.monitoring.watch import BROKEN, WHOLE, Alarm, Limits, Tally, counted, level_of
from edge_agent.core.input_statistics import InputMonitor
from model_packs.process.progress import progress
from tests.bench.field_pools import SLIGHT, Answers, Family, Pool, form_digits, motion_band
from tests.bench.harness import Goal, Row, report, row
from tests.bench.monitored_stream import HEARTBEAT_WINDOWS, Station, draw, promise_of, watch

SEED: Final = 20261122
AUDIT_RATES: Final = (0.02, 0.05, 0.1, 0.2)
REFERENCE_RATE: Final = 0.1
REFERENCE_WINDOWS: Final = 100.0
CLEAN_WINDOWS: Final = 500
DRIFTED_WINDOWS: Final = 2000
PEOPLE_SHARE: Final = 0.25
BY_PEOPLE: Final = frozenset({Alarm.VOID, Alarm.CHANGED})
TWO_SIGMA: Final = 2.0

HUB_WRONG_FROM: Final = 0.1
"""As the hub's own default: wrong in more, it cannot be used as the truth."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    delay_runs: int
    clean_streams: int
    clean_audits: int
    named_runs: int


FULL: Final = Sizes(delay_runs=200, clean_streams=500, clean_audits=2000, named_runs=50)
QUICK: Final = Sizes(delay_runs=20, clean_streams=50, clean_audits=500, named_runs=10)


@dataclass(frozen=True, slots=True)
class Delay:
    """When the first alarm of a broken promise came, from the change on; None: not within the drifted windows."""

    windows: int | None
    audits: int | None


def main() -> None:
    """Measure, print the table, write the JSON file."""
    parser = argparse.ArgumentParser(description="how soon drift is seen, how often wrongly, and under which name")
    parser.add_argument("--quick", action="store_true", help="few runs: does it work at all?")
    sizes = QUICK if parser.parse_args().quick else FULL
    with Answers() as answers:
        families = (motion_band(answers), form_digits(answers))
    rows: list[Row] = []
    for family in families:
        rows += facts(family)
        rows += false_alarms(family, sizes)
        for pool in family.drifted:
            if is_broken(family, pool):
                rows += delays(family, pool, sizes)
        for pool in family.drifted:
            rows += names(family, pool, sizes)
    report("drift", rows)


def is_broken(family: Family, pool: Pool) -> bool:
    """Whether the drift really breaks the promise: the truth, which no monitoring knows."""
    is_kept = pool.confidence >= threshold_of(family)
    return bool((pool.edge != pool.truth)[is_kept].mean() > family.certificate.target)


def truth_of(family: Family, pool: Pool) -> Drift:
    """What a drift is, by the truth: what is kept, how much of it is wrong, and whether the hub still answers."""
    escalated = 1.0 - float((pool.confidence >= threshold_of(family)).mean())
    usual = 1.0 - (family.certificate.coverage or 0.0)
    if (pool.hub != pool.truth).mean() > HUB_WRONG_FROM:
        return Drift.HUB_FAILS_TOO
    if is_broken(family, pool):
        is_surer = escalated < usual / Limits().rate_factor
        return Drift.SILENT_FAILURE_SURER if is_surer else Drift.SILENT_FAILURE
    return Drift.ESCALATION_STORM if escalated > usual * Limits().rate_factor else Drift.BENIGN


def facts(family: Family) -> list[Row]:
    """What each pool is: share kept, share of the kept that is wrong, and what the hub makes of it."""
    rows: list[Row] = []
    for pool in (family.clean, *family.drifted):
        is_kept = pool.confidence >= threshold_of(family)
        case = f"{family.name}, {pool.name}"
        rows += [
            row(f"{case}: kept", "share", float(is_kept.mean())),
            row(f"{case}: wrong of the kept", "share", float((pool.edge != pool.truth)[is_kept].mean())),
            row(f"{case}: hub wrong", "share", float((pool.hub != pool.truth).mean())),
        ]
    return rows


def delays(family: Family, pool: Pool, sizes: Sizes) -> list[Row]:
    """Delay to the first alarm by audit rate and by whose word it is; the guarantee with and without tightening."""
    rows: list[Row] = []
    for by, has_people in (("hub", False), ("people", True)):
        for rate in AUDIT_RATES:
            random = np.random.default_rng((SEED, round(rate * 100), has_people))
            found = []
            with progress(sizes.delay_runs, f"{pool.name}, {by}, {rate:.0%}") as bar:
                for _ in range(sizes.delay_runs):
                    found.append(_delay(family, pool, rate, random, has_people=has_people))
                    bar.advance()
            case = f"{family.name}, {pool.name}: alarm by {by}, {rate:.0%} audits"
            rows += _delay_rows(case, found, is_reference=_is_reference(pool, rate, has_people=has_people))
            if rate == REFERENCE_RATE:
                rows += _guarantee_rows(case, family, pool, found)
    return rows


def _is_reference(pool: Pool, rate: float, *, has_people: bool) -> bool:
    return pool.name == "left wrist" and rate == REFERENCE_RATE and not has_people


def _delay(family: Family, pool: Pool, rate: float, random: np.random.Generator, *, has_people: bool) -> Delay:
    station = Station(promise_of(family), Limits())
    threshold = threshold_of(family)
    for _ in watch(station, draw(family.clean, CLEAN_WINDOWS, threshold, rate, random), lambda: has_people):
        pass
    if station.alarms.keys() & BROKEN:
        station = Station(promise_of(family), Limits())  # a false alarm, counted elsewhere: the version starts anew
    audits = 0
    for windows, is_audit in watch(station, draw(pool, DRIFTED_WINDOWS, threshold, rate, random), lambda: has_people):
        audits += is_audit
        if is_audit and station.alarms.keys() & (BY_PEOPLE if has_people else BROKEN):
            return Delay(windows, audits)
    return Delay(None, None)


def _delay_rows(case: str, found: Sequence[Delay], *, is_reference: bool) -> list[Row]:
    windows = [DRIFTED_WINDOWS if one.windows is None else one.windows for one in found]
    audits = [one.audits for one in found if one.audits is not None]
    goal = Goal("value", "<=", REFERENCE_WINDOWS) if is_reference else None
    rows = [
        row(f"{case}, median", "windows", statistics.median(windows), goal=goal),
        row(f"{case}, p90", "windows", float(np.quantile(windows, 0.9))),
        row(f"{case}, missed in {DRIFTED_WINDOWS}", "share", sum(one.windows is None for one in found) / len(found)),
    ]
    return rows if not audits else [*rows, row(f"{case}, median", "audits", statistics.median(audits))]


def _guarantee_rows(case: str, family: Family, pool: Pool, found: Sequence[Delay]) -> list[Row]:
    """Of the drifted windows, how many are kept although the promise is broken."""
    kept = float((pool.confidence >= threshold_of(family)).mean())
    until = [min(DRIFTED_WINDOWS, (one.windows or DRIFTED_WINDOWS) + HEARTBEAT_WINDOWS) for one in found]
    without, tightened = kept * DRIFTED_WINDOWS, kept * statistics.fmean(until)
    return [
        row(f"{case}: kept out of guarantee of {DRIFTED_WINDOWS}, not tightened", "windows", without),
        row(f"{case}: the same, tightened by itself", "windows", tightened, baseline=without),
    ]


def false_alarms(family: Family, sizes: Sizes) -> list[Row]:
    """How often a field that keeps the promise is accused."""
    random = np.random.default_rng((SEED, 1))
    promise, limits = promise_of(family), Limits()
    against = level_of(promise.risk, WHOLE, promise, limits)
    if against is None:
        raise AssertionError("the certificate's own risk is tested")
    is_kept = family.clean.confidence >= threshold_of(family)
    losses = (family.clean.edge != family.clean.truth)[is_kept]
    rows: list[Row] = []
    for name, draws in (
        (f"as the field, wrong {losses.mean():.3f}", lambda: random.choice(losses, sizes.clean_audits)),
        (f"at the target {promise.target:g}", lambda: random.random(sizes.clean_audits) < promise.target),
    ):
        changed_at: list[int] = []
        void = 0
        with progress(sizes.clean_streams, f"clean, {name}") as bar:
            for _ in range(sizes.clean_streams):
                tally = Tally()
                first = sizes.clean_audits
                for place, is_loss in enumerate(draws().tolist(), start=1):
                    tally = counted(tally, is_loss=is_loss, against=against, now_ns=place)
                if tally.changed_at_ns is not None:
                    first = tally.changed_at_ns
                changed_at.append(first)
                void += tally.refuted_at_ns is not None
                bar.advance()
        case = f"{family.name}, clean {name}, {sizes.clean_streams} streams of {sizes.clean_audits} audits"
        noise = TWO_SIGMA * (promise.delta * (1 - promise.delta) / sizes.clean_streams) ** 0.5
        mean_goal = Goal("value", ">=", limits.run_length) if sizes.clean_audits > limits.run_length else None
        rows += [
            row(
                f"{case}: ever called void",
                "share",
                void / sizes.clean_streams,
                goal=Goal("value", "<=", promise.delta + noise),
            ),
            row(
                f"{case}: alarm of change", "share", sum(at < sizes.clean_audits for at in changed_at) / len(changed_at)
            ),
            row(f"{case}: mean audits to one, cut at the end", "audits", statistics.fmean(changed_at), goal=mean_goal),
        ]
    return rows


def names(family: Family, pool: Pool, sizes: Sizes) -> list[Row]:
    """What the alarms that stand add up to at the end of a drifted stream that nothing was done about."""
    random = np.random.default_rng((SEED, 2))
    threshold = threshold_of(family)
    found: Counter[str] = Counter()
    with progress(sizes.named_runs, f"{pool.name}, name") as bar:
        for _ in range(sizes.named_runs):
            station = Station(promise_of(family), Limits(), InputMonitor(pool.channels))
            clean = draw(family.clean, CLEAN_WINDOWS, threshold, REFERENCE_RATE, random)
            drifted = draw(pool, DRIFTED_WINDOWS, threshold, REFERENCE_RATE, random)
            for stream in (clean, drifted):
                for _at in watch(station, stream, lambda: random.random() < PEOPLE_SHARE):
                    pass
            name = station.record.drift
            found["no alarm" if name is None else name.value] += 1
            bar.advance()
    wanted = truth_of(family, pool)
    told = ", ".join(f"{name} {n}" for name, n in found.most_common())
    say(f"{family.name}, {pool.name}: {told}")
    # A drift so slight that no alarm comes up has no name: it is measured, and no goal.
    goal = None if pool.name == SLIGHT else Goal("value", ">=", 0.95)
    case = f"{family.name}, {pool.name}: named {wanted.value}"
    return [row(case, "share", found[wanted.value] / sizes.named_runs, goal=goal)]


def threshold_of(family: Family) -> float:
    """The certified threshold."""
    threshold = family.certificate.threshold
    if threshold is None:
        raise AssertionError("a shipped certificate has a threshold")
    return threshold


def say(text: str) -> None:
    """Tell the person; stdout belongs to the table."""
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
