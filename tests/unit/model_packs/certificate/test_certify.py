"""Certifying rows: what is certified, what is refused, and how often a certificate is wrong."""

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_packs import certificate as package
from model_packs.certificate import binomial
from model_packs.certificate.certify import certify
from model_packs.certificate.errors import CertificateError, TooFewCases

TARGET, DELTA = 0.05, 0.05
drawn = partial(certify, promise="drawn")
"""Delta is of all draws: the outcomes of tuning rows are not used."""


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

    outcome = drawn(score, np.zeros(n_rows), target=TARGET, delta=DELTA)

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

    outcome = drawn(score, correct, target=TARGET, delta=DELTA)

    assert outcome == drawn(score, shuffled, target=TARGET, delta=DELTA)
    assert outcome == drawn(score, inverted, target=TARGET, delta=DELTA)
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
        (["high"], [1], "scores are numbers"),
        ([0.5] * 1_000_001, [1] * 1_000_001, "1000001 scores; at most 1000000"),
        ([0.5, 0.6], [1], "2 scores but outcomes of shape"),
        ([0.5, 0.6], [1, 2], "right .* or wrong"),
        ([0.5] * 80, [1] * 80, "at least 83, of which 30 % are set aside"),
        ([0.5], [1], "0 calibration rows cannot show"),
    ],
)
def test_rows_that_cannot_be_certified_are_refused(score: list[Any], correct: list[int], message: str) -> None:
    """Each refusal names what is wrong with the rows; too few say how many it takes."""
    with pytest.raises(CertificateError, match=message):
        drawn(score, correct, target=TARGET, delta=DELTA)


def test_the_number_of_rows_that_is_named_is_enough() -> None:
    """The refusal names the smallest number that could work: with it and no error a threshold is certified."""
    with pytest.raises(TooFewCases, match="at least 59, or") as refusal:
        drawn([0.9] * 58, [1] * 58, target=TARGET, delta=DELTA, tune_scores=[0.9])

    assert (refusal.value.n_cases, refusal.value.n_needed) == (58, 59)
    assert drawn([0.9] * 59, [1] * 59, target=TARGET, delta=DELTA, tune_scores=[0.9]).threshold == 0.9
    assert drawn([0.9] * 85, [1] * 85, target=TARGET, delta=DELTA).threshold == 0.9


@settings(deadline=None)
@given(st.integers(100, 800), st.floats(0.0, 0.2), st.integers(0, 2**32 - 1))
def test_betting_keeps_what_the_exact_test_keeps(n_rows: int, error: float, seed: int) -> None:
    """On the same rows, the betting threshold is never stricter, whatever the scores, outcomes and order."""
    rng = np.random.default_rng(seed)
    score = rng.random(n_rows).round(rng.integers(1, 4))
    correct = rng.random(n_rows) > error * (1.5 - score)

    exact = drawn(score, correct, target=TARGET, delta=DELTA)
    betting = drawn(score, correct, target=TARGET, delta=DELTA, method="betting")

    assert betting.p_value <= binomial.lower_tail(betting.k_errors, betting.n_kept, TARGET)
    assert (betting.p_value <= DELTA) == (betting.threshold is not None)
    if exact.threshold is not None:
        assert betting.threshold is not None
        assert betting.threshold <= exact.threshold


def test_betting_takes_one_error_more_where_the_level_leaves_room() -> None:
    """Of 150 kept the exact test bears two errors; the bet bears a third if the last came early, and not if late."""
    early, late = np.ones(150), np.ones(150)
    early[[0, 1, 40]] = late[[0, 1, 149]] = 0
    kept = {
        (method, name): certify(
            [0.9] * 150, rows, target=TARGET, delta=DELTA, tune_scores=[0.9], method=method
        ).threshold
        for name, rows in {"early": early, "late": late}.items()
        for method in ("exact", "betting")
    }

    assert kept == {
        ("exact", "early"): None,
        ("exact", "late"): None,
        ("betting", "early"): 0.9,
        ("betting", "late"): None,
    }


def test_no_threshold_says_how_many_more_rows_would_do() -> None:
    """With that many more rows of the same kind the threshold is certified; with as many errors as allowed, none."""
    short = certify([0.9] * 200, [0] * 6 + [1] * 194, target=TARGET, delta=DELTA, tune_scores=[0.9])
    assert short.threshold is None
    assert short.more_needed is not None
    total = 200 + short.more_needed
    wrong = math.ceil(6 / 200 * total)
    again = certify([0.9] * total, [0] * wrong + [1] * (total - wrong), target=TARGET, delta=DELTA, tune_scores=[0.9])

    assert again.threshold == 0.9
    assert again.more_needed is None
    hopeless = certify([0.9] * 200, [0] * 10 + [1] * 190, target=TARGET, delta=DELTA, tune_scores=[0.9])
    assert (hopeless.threshold, hopeless.more_needed) == (None, None)


def test_what_will_be_set_aside_for_tuning_is_asked_for_too() -> None:
    """Without tuning scores of their own, 30 % of the new rows are lost to tuning, and the forecast knows it."""
    correct = [1] * 90 + [0] * 6 + [1] * 204
    aside = drawn([0.9] * 300, correct, target=TARGET, delta=DELTA)
    apart = drawn([0.9] * 210, correct[90:], target=TARGET, delta=DELTA, tune_scores=[0.9])

    assert apart.more_needed is not None
    assert aside.more_needed is not None
    assert (300 + aside.more_needed) - (300 + aside.more_needed) * 30 // 100 == 210 + apart.more_needed


def test_the_refusal_asks_for_no_row_too_many() -> None:
    """83 rows leave 59 when 30 % are set aside; 82 do not, and the message says 83."""
    assert drawn([0.9] * 83, [1] * 83, target=TARGET, delta=DELTA).threshold == 0.9
    with pytest.raises(TooFewCases, match="collect at least 83") as refusal:
        drawn([0.9] * 82, [1] * 82, target=TARGET, delta=DELTA)
    assert (refusal.value.n_cases, refusal.value.n_needed) == (82, 83)


def test_a_forecast_is_seldom_given_where_more_rows_would_not_help() -> None:
    """A student that is wrong in 3 % at every score fails the first test at any size; few of its rows promise more."""
    promised = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        outcome = drawn(rng.random(500), rng.random(500) > 0.03, target=TARGET, delta=DELTA)
        promised += outcome.threshold is None and outcome.more_needed is not None
    assert promised <= 20


def test_a_forecast_comes_true_where_the_surest_are_right() -> None:
    """With as many more rows of the same population as was said, a threshold is found about every second time."""
    rng = np.random.default_rng(3)
    promised, kept = 0, 0
    for _ in range(60):
        score = rng.random(600)
        outcome = drawn(score, rng.random(600) < 0.8 + 0.2 * score, target=TARGET, delta=DELTA)
        if outcome.more_needed is not None:
            score = rng.random(600 + outcome.more_needed)
            promised += 1
            later = drawn(score, rng.random(len(score)) < 0.8 + 0.2 * score, target=TARGET, delta=DELTA)
            kept += later.threshold is not None
    assert promised >= 5
    assert kept >= 0.4 * promised


def test_a_forecast_beyond_what_can_be_certified_is_none() -> None:
    """An outcome can always be written down: a certificate holds a million at most."""
    assert certify([0.9] * 200_000, [0] * 9_900 + [1] * 190_100, target=TARGET, delta=1e-6).more_needed is None


def test_the_package_s_own_name_is_the_way_in() -> None:
    """`from model_packs.certificate import certify` gives the function, for plain arrays without any pack."""
    assert package.certify is certify


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
