"""One threshold for each group, and the report by group."""

import numpy as np
import pytest
from numpy.typing import NDArray

from model_packs.certificate.certify import certify
from model_packs.certificate.errors import CertificateError, TooFewCases
from model_packs.certificate.groups import GroupShare, certify_groups, report_by_group

TARGET, DELTA = 0.05, 0.05


def two_classes(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.str_]]:
    """A frequent class that is nearly always right, and a rare one that is wrong in one case of four below 0.8."""
    names = np.where(rng.random(4000) < 0.2, "rare", "usual")
    score = rng.random(4000)
    error = np.where(names == "usual", 0.005, np.where(score < 0.8, 0.25, 0.0))
    return score, rng.random(4000) >= error, names


def test_a_threshold_for_all_hides_a_bad_class_and_thresholds_by_class_do_not() -> None:
    """In common the rare class's kept are wrong far above the target; apart each class stays below it."""
    score, correct, names = two_classes(np.random.default_rng(2))
    tuning, _, tune_names = two_classes(np.random.default_rng(4))

    common = certify(score, correct, target=TARGET, delta=DELTA, tune_scores=tuning)
    apart = certify_groups(
        score, correct, names, target=TARGET, delta=DELTA, tune_scores=tuning, tune_groups=tune_names
    )

    rare, usual = report_by_group(score, correct, names, common.threshold)
    assert (rare.group, usual.group) == ("rare", "usual")
    assert rare.k_errors / rare.n_kept > 2 * TARGET
    by_name = dict(apart.groups)
    assert by_name["rare"].threshold == pytest.approx(0.78, abs=0.04)
    assert by_name["usual"].threshold == pytest.approx(0.0, abs=0.01)
    assert all(outcome.k_errors / outcome.n_kept < TARGET for outcome in by_name.values())


def test_delta_is_split_over_the_groups() -> None:
    """Each of four groups is tested at a quarter of delta, so that all statements hold together."""
    grouped = certify_groups([0.9] * 800, [1] * 800, np.arange(800) % 4, target=TARGET, delta=DELTA)

    assert [(name, outcome.delta) for name, outcome in grouped.groups] == [(str(n), DELTA / 4) for n in range(4)]
    assert all(outcome.p_value <= DELTA / 4 for _, outcome in grouped.groups)


def test_a_group_with_too_few_rows_keeps_nothing_and_says_how_many_are_missing() -> None:
    """The other groups are certified all the same."""
    groups = ["big"] * 400 + ["small"] * 20
    found = certify_groups([0.9] * 420, [1] * 420, groups, target=TARGET, delta=DELTA, promise="drawn")
    grouped = dict(found.groups)

    assert grouped["big"].threshold == 0.9
    assert (grouped["small"].threshold, grouped["small"].n_kept, grouped["small"].p_value) == (None, 0, 1.0)
    assert grouped["small"].more_needed == 102 - 20  # 72 rows show 5 % at 0.025, and 30 % are set aside


def test_if_all_groups_are_too_small_the_rows_are_refused() -> None:
    """Nothing was tested, so there is no outcome."""
    with pytest.raises(TooFewCases, match="collect at least"):
        certify_groups([0.9] * 40, [1] * 40, [0, 1] * 20, target=TARGET, delta=DELTA)


def test_clusters_may_be_the_unit_within_groups() -> None:
    """Each group sets clusters of its own aside and bets on the others."""
    rows = np.arange(6000)
    grouped = certify_groups(
        [0.9] * 6000, [1] * 6000, rows // 3000, clusters=rows // 10, unit="cluster", target=TARGET, delta=DELTA
    )

    assert [(name, outcome.unit, outcome.n_clusters) for name, outcome in grouped.groups] == [
        ("0", "cluster", 210),
        ("1", "cluster", 210),
    ]


def test_without_a_threshold_the_report_keeps_nothing() -> None:
    """Escalating everything is a row of zeros, not an error."""
    assert report_by_group([0.9, 0.8], [1, 0], ["a", "a"], None) == (GroupShare("a", 2, 0, 0),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": ["a"]}, "groups of shape"),
        ({"correct": [1]}, "outcomes of shape"),
        ({"tune_scores": [0.9]}, "need their groups"),
        ({"tune_scores": ["high"], "tune_groups": ["a"]}, "tuning scores are numbers"),
        ({"tune_scores": [0.9], "tune_groups": ["b"]}, "group a has no tuning scores"),
    ],
)
def test_lists_that_do_not_belong_together_are_refused(change: dict[str, object], message: str) -> None:
    """Each refusal names the list."""
    given = {"correct": [1] * 200, "groups": ["a"] * 200, "target": TARGET, "delta": DELTA} | change

    with pytest.raises(CertificateError, match=message):
        certify_groups([0.9] * 200, **given)  # type: ignore[arg-type] # a table of changes


def test_a_report_of_lists_that_do_not_belong_together_is_refused() -> None:
    """One outcome for each score."""
    with pytest.raises(CertificateError, match="outcomes of shape"):
        report_by_group([0.9, 0.8], [1], ["a", "a"], 0.5)
