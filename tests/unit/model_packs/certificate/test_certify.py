"""Certifying rows: what is certified, what is refused, and how often a certificate is wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_packs.certificate import binomial
from model_packs.certificate.certify import certify
from model_packs.certificate.errors import CertificateError

TARGET, DELTA = 0.05, 0.05


def test_a_good_model_gets_a_threshold_backed_by_its_counts() -> None:
    """The counts at the threshold support it, and coverage is their share."""
    rng = np.random.default_rng(1)
    score = rng.random(1000)
    correct = rng.random(1000) < 0.7 + 0.3 * score

    outcome = certify(score, correct, target=TARGET, delta=DELTA, tune_scores=rng.random(300))

    assert outcome.threshold is not None
    kept = score >= outcome.threshold
    assert (outcome.n_units, outcome.n_kept, outcome.k_errors) == (1000, kept.sum(), (kept & ~correct).sum())
    assert outcome.coverage == kept.mean()
    assert outcome.p_value == binomial.lower_tail(outcome.k_errors, outcome.n_kept, TARGET) <= DELTA


@settings(deadline=None)
@given(st.integers(180, 1000), st.integers(0, 2**32 - 1))
def test_a_model_that_is_always_wrong_is_never_certified(n_rows: int, seed: int) -> None:
    """No scores make a threshold out of nothing but errors; that none qualifies is an outcome, with its evidence."""
    score = np.random.default_rng(seed).random(n_rows)

    outcome = certify(score, np.zeros(n_rows), target=TARGET, delta=DELTA)

    assert outcome.threshold is None
    assert outcome.coverage is None
    assert outcome.k_errors == outcome.n_kept > 0
    assert outcome.p_value > DELTA


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_tests_does_not_see_the_outcomes(seed: int) -> None:
    """With tuning rows set aside, changing their outcomes changes nothing."""
    rng = np.random.default_rng(seed)
    score, correct = rng.random(400), rng.random(400) < 0.97
    shuffled = np.concatenate([rng.permutation(correct[:120]), correct[120:]])
    inverted = np.concatenate([~correct[:120], correct[120:]])

    outcome = certify(score, correct, target=TARGET, delta=DELTA)

    assert outcome == certify(score, shuffled, target=TARGET, delta=DELTA)
    assert outcome == certify(score, inverted, target=TARGET, delta=DELTA)
    assert (outcome.n_tune, outcome.n_units) == (120, 280)


def test_certificates_are_wrong_no_more_often_than_they_say() -> None:
    """In 400 redraws from a population of known risk, at most delta (and its noise) are wrong."""
    rng = np.random.default_rng(20261121)
    redraws, wrong, certified = 400, 0, 0
    for _ in range(redraws):
        tune, score = rng.random(150), rng.random(400)
        correct = (score >= 0.5) | (rng.random(400) < 0.5)  # below 0.5 every other answer is wrong
        outcome = certify(score, correct, target=TARGET, delta=DELTA, tune_scores=tune)
        if outcome.threshold is not None:
            certified += 1
            true_risk = 0.5 * max(0.0, 0.5 - outcome.threshold) / (1.0 - outcome.threshold)
            wrong += true_risk > TARGET

    assert certified > redraws / 2
    # 0.05 + 3 standard errors of a share over 400 redraws
    assert wrong / redraws <= DELTA + 3 * (DELTA * (1 - DELTA) / redraws) ** 0.5


def test_the_design_effect_of_the_kept_errors_is_measured() -> None:
    """Recordings that are wholly right or wholly wrong have a design effect of about their size."""
    clusters = np.repeat(np.arange(100), 10)
    correct = ~np.isin(clusters, [3, 60])

    outcome = certify(
        np.full(1000, 0.9), correct, target=TARGET, delta=DELTA, tune_scores=[0.9] * 100, clusters=clusters
    )

    assert (outcome.threshold, outcome.k_errors, outcome.n_clusters) == (0.9, 20, 100)
    assert outcome.design_effect == pytest.approx(10, rel=0.02)


def test_without_errors_there_is_no_design_effect() -> None:
    """A model that makes no error leaves the effect unmeasured, not 0."""
    outcome = certify([0.9] * 200, [1] * 200, target=TARGET, delta=DELTA, clusters=[0, 1] * 100)

    assert outcome.threshold == 0.9
    assert outcome.design_effect is None


@pytest.mark.parametrize(
    ("score", "correct", "message"),
    [
        ([], [], "there are no scores"),
        ([[0.5]], [[1]], "one list"),
        ([0.5, float("nan")], [1, 1], "not finite, the first in row 1"),
        ([0.5, 0.6], [1], "2 scores but outcomes of shape"),
        ([0.5, 0.6], [1, 2], "right .* or wrong"),
        ([0.5] * 150, [1] * 150, "at least 178, of which 30 % are set aside"),
    ],
)
def test_rows_that_cannot_be_certified_are_refused(score: list[float], correct: list[int], message: str) -> None:
    """Each refusal names what is wrong with the rows; too few say how many it takes."""
    with pytest.raises(CertificateError, match=message):
        certify(score, correct, target=TARGET, delta=DELTA)


def test_the_number_of_rows_that_is_named_is_enough() -> None:
    """With exactly the rows that the refusal asks for, the certification runs."""
    with pytest.raises(CertificateError, match="at least 124, or"):
        certify([0.9] * 123, [1] * 123, target=TARGET, delta=DELTA, tune_scores=[0.9])

    assert certify([0.9] * 124, [1] * 124, target=TARGET, delta=DELTA, tune_scores=[0.9]).threshold == 0.9
    assert certify([0.9] * 178, [1] * 178, target=TARGET, delta=DELTA).threshold == 0.9


@pytest.mark.parametrize(("target", "delta"), [(0.0, 0.05), (1.0, 0.05), (0.05, 0.0), (0.05, 1.0)])
def test_levels_out_of_range_are_refused(target: float, delta: float) -> None:
    """A target or delta of 0 or 1 says nothing and is refused."""
    with pytest.raises(CertificateError, match="strictly between 0 and 1"):
        certify([0.9], [1], target=target, delta=delta)


def test_a_target_out_of_reach_is_refused() -> None:
    """A target that a million rows could not show says so."""
    with pytest.raises(CertificateError, match="out of reach"):
        certify([0.9], [1], target=1e-8, delta=0.05)


def test_clusters_and_tuning_scores_are_checked_too() -> None:
    """Clusters of another length and empty tuning scores are refused."""
    with pytest.raises(CertificateError, match="clusters of shape"):
        certify([0.9] * 200, [1] * 200, target=TARGET, delta=DELTA, clusters=[1])
    with pytest.raises(CertificateError, match="no tuning scores"):
        certify([0.9] * 200, [1] * 200, target=TARGET, delta=DELTA, tune_scores=[])
