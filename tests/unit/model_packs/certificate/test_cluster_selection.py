"""Clusters as the unit: what counts of them, where the sequence starts, and how often it is wrong."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from model_packs.certificate import cluster_selection
from model_packs.certificate.certify import CLUSTER_BETTING, certify
from model_packs.certificate.cluster_selection import Rows
from model_packs.certificate.errors import CertificateError, TooFewCases
from model_packs.certificate.evidence import Clusters, p_value

TARGET, DELTA = 0.05, 0.05
ROWS_OF_CLUSTER = 10


def recordings(
    rng: np.random.Generator, n_clusters: int, bad_share: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.intp]]:
    """Recordings of ten windows, a share of which is wrong in nearly every window."""
    is_bad = rng.random(n_clusters) < bad_share
    clusters = np.repeat(np.arange(n_clusters), ROWS_OF_CLUSTER)
    wrong = rng.random(len(clusters)) < np.where(is_bad, 0.9, 0.005)[clusters]
    return rng.random(len(clusters)), ~wrong, clusters


def test_only_the_first_rows_of_a_cluster_count() -> None:
    """Each cluster is cut to its first rows, wherever they stand."""
    assert cluster_selection.cut(np.array([0, 1, 0, 0, 1, 2]), 2).tolist() == [True, True, True, False, True, True]


def test_good_recordings_are_certified_and_the_evidence_repeats_the_p_value() -> None:
    """The stored clusters add up to the counts and give the p-value again."""
    score, correct, clusters = recordings(np.random.default_rng(3), 400, 0.0)

    outcome = certify(score, correct, target=TARGET, delta=DELTA, clusters=clusters, unit="cluster")

    assert outcome.threshold is not None
    assert isinstance(outcome.evidence, Clusters)
    assert outcome.evidence.totals == (outcome.n_kept, outcome.k_errors)
    assert outcome.evidence.largest == ROWS_OF_CLUSTER
    assert p_value(outcome.evidence, outcome.k_errors, outcome.n_kept, TARGET) == outcome.p_value <= DELTA
    assert (outcome.n_clusters, outcome.n_tune, outcome.n_units) == (280, 1200, 2800)
    assert (outcome.unit, outcome.method) == ("cluster", CLUSTER_BETTING)
    assert outcome.coverage == pytest.approx(1.0, abs=0.02)


def test_where_recordings_fail_as_a_whole_the_window_wise_test_breaks_and_this_one_does_not() -> None:
    """At a true risk above the target, draws are certified far too often by windows, and within delta by clusters."""
    rng = np.random.default_rng(20261122)
    redraws, by_row, by_cluster = 200, 0, 0
    for _ in range(redraws):
        _, correct, clusters = recordings(rng, 150, 0.055)  # risk 5.4 %; the scores say nothing
        score = np.full(len(correct), 0.9)
        by_row += certify(score, correct, target=TARGET, delta=DELTA, promise="drawn").threshold is not None
        outcome = certify(score, correct, target=TARGET, delta=DELTA, clusters=clusters, unit="cluster")
        by_cluster += outcome.threshold is not None

    assert by_row / redraws > 4 * DELTA
    assert by_cluster / redraws <= DELTA + 2 * (DELTA * (1 - DELTA) / redraws) ** 0.5


def test_the_order_of_clusters_changes_nothing_beyond_the_tuning_part() -> None:
    """With tuning clusters of their own, calibration clusters may come in any order."""
    rng = np.random.default_rng(5)
    score, correct, clusters = recordings(rng, 200, 0.01)
    tuning, _, tune_clusters = recordings(rng, 60, 0.01)
    order = np.argsort(rng.permutation(200)[clusters], kind="stable")

    outcomes = [
        certify(
            score[chosen],
            correct[chosen],
            target=TARGET,
            delta=DELTA,
            tune_scores=tuning,
            clusters=clusters[chosen],
            tune_clusters=tune_clusters + 200,
            unit="cluster",
        )
        for chosen in (np.arange(2000), order)
    ]

    assert outcomes[0].design_effect == pytest.approx(outcomes[1].design_effect)
    assert replace(outcomes[0], design_effect=None) == replace(outcomes[1], design_effect=None)


def test_clusters_larger_than_any_of_tuning_are_cut() -> None:
    """What a cluster has beyond the largest tuning one does not count, so the sums are bounded."""
    outcome = certify(
        [0.9] * 2000,
        [1] * 2000,
        target=TARGET,
        delta=DELTA,
        tune_scores=[0.9] * 40,
        clusters=np.repeat(np.arange(200), 10),
        tune_clusters=np.repeat(np.arange(200, 210), 4),
        unit="cluster",
    )

    assert (outcome.n_units, outcome.n_kept) == (800, 800)
    assert outcome.evidence == Clusters(((4, 0, 200),), 4, outcome.evidence.bets if outcome.evidence else ())  # type: ignore[union-attr] # said by the line itself


def test_too_few_clusters_are_refused_with_the_number_that_would_do() -> None:
    """The refusal names the fewest clusters, tuning ones included; with that many the certification runs."""
    with pytest.raises(TooFewCases, match=r"clusters cannot show .* collect at least") as refusal:
        certify([0.9] * 400, [1] * 400, target=TARGET, delta=DELTA, clusters=np.arange(400) // 10, unit="cluster")

    enough = refusal.value.n_needed * 10
    outcome = certify(
        [0.9] * enough, [1] * enough, target=TARGET, delta=DELTA, clusters=np.arange(enough) // 10, unit="cluster"
    )
    assert outcome.threshold == 0.9
    assert refusal.value.n_cases == 40


def test_no_threshold_says_how_many_more_clusters_would_do() -> None:
    """The forecast is about clusters; where as many fail as the target allows there is none."""
    rng = np.random.default_rng(9)
    few = recordings(rng, 130, 0.02)
    bad = recordings(rng, 400, 0.2)

    short = certify(few[0], few[1], target=TARGET, delta=DELTA, clusters=few[2], unit="cluster")
    hopeless = certify(bad[0], bad[1], target=TARGET, delta=DELTA, clusters=bad[2], unit="cluster")

    assert short.threshold is None
    assert short.more_needed is not None
    assert short.more_needed > 0
    assert (hopeless.threshold, hopeless.more_needed) == (None, None)


def test_the_loosest_threshold_is_tried_where_none_has_evidence_to_spare() -> None:
    """With clusters for one attempt only, the sequence is the one threshold that keeps all."""
    tuning = Rows(np.linspace(0, 1, 80), np.arange(80) // 2, 40)

    (stake,) = cluster_selection.lay_down(tuning, 80, largest=2, target=TARGET, delta=DELTA)

    assert stake.threshold == 0.0


def test_tuning_takes_the_clusters_that_come_first_whatever_their_names() -> None:
    """The first 30 % of the clusters in the order of their rows are set aside, not those with the smallest names."""
    clusters = np.repeat(np.arange(200)[::-1], 10)
    score = np.where(clusters >= 140, 0.5, 0.9)  # what comes first scores low

    outcome = certify(score, np.ones(2000), target=TARGET, delta=DELTA, clusters=clusters, unit="cluster")

    assert (outcome.threshold, outcome.n_units, outcome.n_kept) == (0.5, 1400, 1400)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clusters": None}, "give the clusters of all rows"),
        ({"tune_scores": [0.5]}, "give the clusters of all rows"),
        ({"method": "exact"}, "no exact binomial test of clusters"),
        ({"largest_cluster": 0}, "at least 1 row counts"),
        ({"clusters": [0] * 300}, "clusters cannot show"),
    ],
)
def test_what_clusters_do_not_have_is_refused(change: dict[str, object], message: str) -> None:
    """Each refusal names what is missing."""
    given = {"clusters": np.arange(300) // 2, "unit": "cluster", "target": TARGET, "delta": DELTA} | change

    with pytest.raises(CertificateError, match=message):
        certify([0.9] * 300, [1] * 300, **given)  # type: ignore[arg-type] # a table of changes


def test_a_cluster_on_both_sides_is_refused() -> None:
    """The order of the tests must not come from the clusters that are tested; the message names one of them."""
    clusters = np.repeat(np.arange(200), 10)
    with pytest.raises(CertificateError, match=r"cluster 0 \(and 199 more\) has tuning rows and calibration rows"):
        certify(
            np.full(1000, 0.9),
            np.ones(1000),
            target=TARGET,
            delta=DELTA,
            tune_scores=np.full(1000, 0.9),
            clusters=clusters[::2],
            tune_clusters=clusters[1::2],
            unit="cluster",
        )


@pytest.mark.parametrize("clusters", [[None, "a"], [float("nan"), 1.0]])
def test_a_row_without_a_cluster_is_refused(clusters: list[object]) -> None:
    """A null of a table is no name: rows of unknown recordings are not one recording."""
    with pytest.raises(CertificateError, match="clusters are words or numbers"):
        certify([0.1, 0.2], [1, 1], target=TARGET, delta=DELTA, clusters=np.array(clusters))


def test_three_clusters_are_told_how_many_it_takes() -> None:
    """As many as clusters of one row each would take, and not just one more."""
    with pytest.raises(TooFewCases, match="collect at least 83") as refusal:
        certify([0.9] * 30, [1] * 30, target=TARGET, delta=DELTA, clusters=np.arange(30) // 10, unit="cluster")
    assert refusal.value.n_cases == 3


def test_where_long_recordings_hold_the_errors_the_longest_must_be_named() -> None:
    """Tuning clusters may hold no long one; with the longest given, all rows count and the promise is about all."""
    redraws, wrong = 60, {None: 0, 8: 0}
    for seed in range(redraws):
        is_bad = np.random.default_rng(seed).random(600) < 0.0131  # 5.04 % of the windows
        clusters = np.repeat(np.arange(600), np.where(is_bad, 8, 2))
        for largest in wrong:
            outcome = certify(
                np.full(len(clusters), 0.9),
                ~is_bad[clusters],
                target=TARGET,
                delta=DELTA,
                tune_scores=np.full(200, 0.9),
                clusters=clusters,
                tune_clusters=1000 + np.arange(200) // 2,
                unit="cluster",
                largest_cluster=largest,
            )
            wrong[largest] += outcome.threshold is not None
    assert wrong[8] <= DELTA * redraws < wrong[None]
