"""What the bench of certificates holds rules against, and the rules of others."""

import math

import numpy as np
import pytest

from model_packs.certificate import binomial
from tests.bench.bench_certificate import Choices, draw_clusters, draw_rows
from tests.bench.certificate_families import Family, clustered_family, simulated_families
from tests.bench.certificate_rules import RULES, Draw, Levels

LEVELS = Levels(0.05, 0.05)
SMALL = Family("small", np.array([0.9, 0.8, 0.8, 0.3]), np.array([False, True, False, False]), np.arange(4))


def draw(n_rows: int, wrong: int) -> Draw:
    """Rows whose errors all stand at the lowest scores."""
    score = np.linspace(0.0, 1.0, n_rows)
    is_error = np.arange(n_rows) < wrong
    return Draw(score, is_error, score, is_error)


def test_the_truth_of_a_threshold_is_counted_with_its_ties() -> None:
    """Rows with exactly the threshold's score are kept; infinity keeps nothing."""
    coverage, risk = SMALL.kept(np.array([0.8, 0.9, math.inf]))

    assert coverage.tolist() == [0.75, 0.25, 0.0]
    assert risk.tolist() == [pytest.approx(1 / 3), 0.0, 0.0]


@pytest.mark.parametrize(("target", "coverage"), [(0.2, 0.25), (0.25, 1.0), (0.34, 1.0)])
def test_the_oracle_keeps_the_most_that_some_threshold_may(target: float, coverage: float) -> None:
    """A threshold in the middle of ties does not exist, and a looser one may be allowed where a stricter is not."""
    assert SMALL.oracle_coverage(target) == coverage


def test_the_oracle_does_not_stop_amid_ties() -> None:
    """Two rows with one score are kept or not kept together, however they are ordered."""
    ties = Family("ties", np.array([0.9, 0.8, 0.8]), np.array([False, False, True]), np.arange(3))

    assert ties.oracle_coverage(0.1) == pytest.approx(1 / 3)


def test_choices_count_violations_and_abstentions_apart() -> None:
    """Of four draws one abstained and one was wrong: a quarter of all, a third of the issued."""
    cell = Choices("any", 100, Levels(0.3, 0.05), [None, 0.8, 0.9, 0.3]).cell(SMALL)

    assert (cell.issued, cell.violations, cell.abstained) == (3, 1, 0.25)
    assert cell.violated == 0.25
    assert cell.violated_of_issued == pytest.approx(1 / 3)
    assert cell.coverage == pytest.approx((0.75 + 0.25 + 1.0) / 4)


@pytest.mark.parametrize("name", [name for name in RULES if name != "max prob 0.8"])
def test_a_clean_sample_is_kept_and_a_bad_one_is_not(name: str) -> None:
    """With 2,000 clean rows each rule keeps nearly all; with every row wrong none does, except what CRC allows."""
    kept, nothing = RULES[name](draw(2000, 0), LEVELS), RULES[name](draw(2000, 2000), LEVELS)

    assert kept is not None
    assert kept < 0.02
    assert nothing is None if name != "CRC" else nothing == pytest.approx(0.96, abs=0.01)


@pytest.mark.parametrize(
    ("name", "kept"), [("empirical risk", 0.842), ("normal (CLT)", 0.831), ("Hoeffding", 0.816), ("CRC", 0.849)]
)
def test_the_others_stop_where_their_formulas_say(name: str, kept: float) -> None:
    """Of 2,000 rows the 400 lowest are wrong: each rule's bound crosses the target at a share known by hand."""
    threshold = RULES[name](draw(2000, 400), LEVELS)

    assert threshold is not None
    assert 1.0 - threshold == pytest.approx(kept, abs=0.012)


def test_sgr_halves_its_way_to_a_threshold_that_its_bound_supports() -> None:
    """Binary search ends close to where the exact bound at delta over its eleven steps crosses."""
    threshold = RULES["SGR"](draw(2000, 400), LEVELS)

    assert threshold is not None
    n_kept = round((1.0 - threshold) * 1999) + 1
    assert binomial.lower_tail(n_kept - 1600, n_kept, 0.05) <= 0.05 / 11
    assert n_kept >= 1620


def test_a_fixed_threshold_looks_at_nothing() -> None:
    """0.8 is 0.8 whatever the rows."""
    assert RULES["max prob 0.8"](draw(100, 100), LEVELS) == 0.8


def test_the_simulated_families_hold_what_they_say() -> None:
    """Their errors are where their descriptions put them, and draws repeat."""
    families = {family.name: family for family in simulated_families()}

    assert families["calibrated"].error == pytest.approx(0.04, abs=0.005)
    assert len(np.unique(families["heavy ties"].score)) <= 6
    assert families["no signal"].error == pytest.approx(0.07, abs=0.005)
    assert [family.error for family in simulated_families()] == [family.error for family in families.values()]
    assert clustered_family().error > LEVELS.target


def test_every_rule_is_drawn_where_all_are_compared_and_ours_elsewhere() -> None:
    """At n = 1,000 there are cells of all rules, at 100 of ours, and of the rule as it was, at all levels."""
    family = simulated_families()[0]

    assert {cell.rule for cell in draw_rows(family, 1000, 2)} == set(RULES)
    assert {cell.rule for cell in draw_rows(family, 100, 2)} == {"Tandem exact", "Tandem betting", "exact reference"}


def test_recordings_are_drawn_whole() -> None:
    """Both units see the same draws, and each level has a cell of each."""
    cells = draw_clusters(clustered_family(), 100, 2)

    assert [(cell.rule, cell.delta) for cell in cells] == [
        ("by window", 0.05),
        ("by recording", 0.05),
        ("by window", 0.01),
        ("by recording", 0.01),
    ]
