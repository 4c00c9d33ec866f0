"""What tuning rows forecast, what it takes to be issued a certificate, and that the document bears it out."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from model_packs.certificate import binomial, certify, issuing
from model_packs.certificate.certify import Certified
from model_packs.certificate.document import SCHEMA_4, Certificate, Circumstances, certificate_of, certificate_of_groups
from model_packs.certificate.errors import CertificateError, TooFewCases
from model_packs.certificate.groups import certify_groups
from model_packs.certificate.issuing import FORMER, Basis
from model_packs.digests import digest_of

TARGET, DELTA = 0.05, 0.05
CIRCUMSTANCES = Circumstances(
    risk="error",
    reference="labels",
    population="tests",
    assumption="windows independent",
    cluster_unit=None,
    graph_digest=digest_of(b"graph"),
    variant="fp32",
    provider="CPUExecutionProvider",
    precision="fp32",
    dataset_digest=digest_of(b"data"),
    temperature=1.0,
    issued_at="2026-01-01T00:00:00Z",
    valid_until=None,
)


def fair(seed: int, n_rows: int = 1500) -> Certified:
    """The outcome for a student that is wrong in 4 %, seldom where it is sure."""
    rng = np.random.default_rng(seed)
    score = rng.random(n_rows)
    return certify(score, rng.random(n_rows) > 0.12 * (1.0 - score) ** 2, target=TARGET, delta=DELTA)


@pytest.mark.parametrize(("n_kept", "wrong", "kept"), [(20, 0, 10), (20, 3, 10), (7, 9, 10), (50, 1, 200)])
def test_the_forecast_is_beta_binomial(n_kept: int, wrong: int, kept: int) -> None:
    """P(j more wrong) = C(wrong + j, j) C(kept - wrong - 1 + n - j, n - j) / C(kept + n, n), summed up to the limit."""
    chances = [
        math.comb(wrong + j, j)
        * math.comb(kept - wrong - 1 + n_kept - j, n_kept - j)
        / math.comb(kept + n_kept, n_kept)
        for j in range(n_kept + 1)
    ]
    found = [issuing.forecast(limit, n_kept, wrong, kept) for limit in range(-1, n_kept + 1)]
    assert found == pytest.approx([0.0, *np.cumsum(chances)], abs=1e-12)
    assert issuing.forecast(3, n_kept, kept, kept) == 0.0


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("level", [1e-6, 0.05, 0.6])
def test_the_most_errors_are_the_last_that_are_rejected(rate: float, level: float) -> None:
    """One more would not be, for any number of rows."""
    for n_kept in (0, 1, 7, 59, 93, 400, 3001):
        most = issuing.most_errors(n_kept, rate, level)
        assert most < 0 or binomial.lower_tail(most, n_kept, rate) <= level
        assert most == n_kept or binomial.lower_tail(most + 1, n_kept, rate) > level


def test_entry_is_as_strict_for_many_rows_as_for_few() -> None:
    """A table of tails and a search give the same limit."""
    few, many = issuing.entry_limit(3000, 0.05, 0.05, 1.0), issuing.entry_limit(9000, 0.05, 0.05, 1.0)
    assert (few, many) == (min(issuing.most_errors(3000, 0.05, 0.05), issuing.most_errors(3000, 0.075, 5e-5)), 415)


def test_bets_on_the_tuning_rows_of_an_unfit_student_win_nothing() -> None:
    """Over many draws they make 1 of 1 on average, so that entry keeps its level."""
    rng = np.random.default_rng(20261122)
    made = [
        issuing.lay_down(rng.random(60), rng.random(60) < 0.3, 100, target=0.2, delta=DELTA).made for _ in range(4000)
    ]
    assert np.mean(made) <= 1.0 + 3.0 * np.std(made) / len(made) ** 0.5
    assert issuing.best_made(60, 0.2) > max(1.0, float(np.mean(made)))


def test_only_rows_above_a_threshold_are_bet_on() -> None:
    """The row that a threshold is taken from is no independent draw: of two, the first is bet on at the second only."""
    start = issuing.lay_down(np.array([0.9, 0.8]), np.array([True, False]), 100, target=0.1, delta=DELTA)
    assert start.made == pytest.approx((1.0 + 0.05 / 0.15) / 2.0)


def test_entry_takes_more_than_delta_where_tuning_rows_are_few() -> None:
    """Two wrong of 130 pass at 0.05, yet one and a half targets are not ruled out; without an error they are."""
    given = {"target": TARGET, "delta": DELTA, "tune_scores": [0.9] * 40, "tune_correct": [1] * 40}
    short = certify([0.9] * 130, [0, 0, *[1] * 128], **given)  # type: ignore[arg-type] # a table of arguments
    assert short.p_value <= DELTA
    assert short.threshold is None
    assert certify([0.9] * 130, [1] * 130, **given).threshold == 0.9  # type: ignore[arg-type] # the same


def test_an_unfit_student_is_issued_nothing() -> None:
    """Wrong in one and a half targets at every score: not once in 200 draws, where delta alone allowed ten."""
    rng = np.random.default_rng(7)
    for _ in range(200):
        outcome = certify(rng.random(430), rng.random(430) > 0.075, target=TARGET, delta=DELTA)
        assert outcome.threshold is None


def test_the_sequence_starts_where_tuning_rows_are_best() -> None:
    """The surest tenth is wrong; a start there would end the sequence, and tuning rows tell."""
    rng = np.random.default_rng(3)
    score = rng.random(2000)
    correct = np.where(score > 0.9, rng.random(2000) > 0.3, rng.random(2000) > 0.005)
    outcome = certify(score, correct, target=TARGET, delta=DELTA)
    assert outcome.threshold is not None
    assert outcome.threshold < 0.5
    assert certify(score, correct, target=TARGET, delta=DELTA, promise="drawn").threshold is None


@pytest.mark.parametrize("seed", [0, 1, 4, 54, 114, 129])
def test_looser_thresholds_are_tested_at_delta_times_the_forecast_squared(seed: int) -> None:
    """What is stated is the start, passed at delta, or a looser threshold at the lower level."""
    outcome = fair(seed, 900)
    said = outcome.issuing
    assert said is not None
    assert (outcome.threshold is not None) == said.is_entered(TARGET, DELTA)
    if outcome.threshold is not None:
        assert outcome.n_kept >= said.start_kept
        assert outcome.p_value <= said.level(outcome.n_kept, DELTA)
        assert said.level(outcome.n_units + 1, DELTA) == pytest.approx(DELTA * said.chance**2)


def test_nothing_is_tried_below_the_least_forecast() -> None:
    """Tuning rows that are all wrong end it, however right the calibration rows are."""
    given = {"target": TARGET, "delta": DELTA, "tune_scores": [0.9] * 100}
    assert certify([0.9] * 400, [1] * 400, tune_correct=[0] * 100, **given).threshold is None  # type: ignore[arg-type]
    assert certify([0.9] * 400, [1] * 400, tune_correct=[1] * 100, **given).threshold == 0.9  # type: ignore[arg-type]


def test_outcomes_of_tuning_rows_decide_of_what_delta_is() -> None:
    """Without them delta is of all draws, as it always was; with them the promise can still be chosen."""
    rows = ([0.9] * 400, [1] * 400)
    tuning = [0.9] * 100
    assert certify(*rows, target=TARGET, delta=DELTA, tune_scores=tuning).issuing is None
    assert certify(*rows, target=TARGET, delta=DELTA, tune_scores=tuning, tune_correct=[1] * 100).issuing is not None
    assert certify(*rows, target=TARGET, delta=DELTA, promise="drawn").issuing is None
    with pytest.raises(CertificateError, match="give their outcomes, tune_correct"):
        certify(*rows, target=TARGET, delta=DELTA, tune_scores=tuning, promise="issued")
    with pytest.raises(CertificateError, match="give tune_scores, too"):
        certify(*rows, target=TARGET, delta=DELTA, tune_correct=[1] * 100)
    with pytest.raises(CertificateError, match="nothing is promised by cluster"):
        certify(*rows, target=TARGET, delta=DELTA, clusters=range(400), unit="cluster", promise="issued")


def test_the_refusal_names_the_fewest_rows_that_are_enough() -> None:
    """With them and no error a certificate is issued; with one row less it cannot be."""
    with pytest.raises(TooFewCases, match="even if none is wrong: collect at least") as refusal:
        certify([0.9] * 80, [1] * 80, target=TARGET, delta=DELTA)
    needed = refusal.value.n_needed
    assert certify([0.9] * needed, [1] * needed, target=TARGET, delta=DELTA).threshold == 0.9
    with pytest.raises(TooFewCases):
        certify([0.9] * (needed - 1), [1] * (needed - 1), target=TARGET, delta=DELTA)


def test_as_many_more_rows_as_said_would_do() -> None:
    """With that many more that fall out as these did, a certificate is issued."""
    score = np.linspace(1.0, 0.0, 500)[np.random.default_rng(1).permutation(500)]
    correct = np.ones(500)
    correct[score < 0.5] = np.arange((score < 0.5).sum()) % 5 > 0
    correct[np.flatnonzero(score > 0.5)[::30]] = 0
    short = certify(score, correct, target=TARGET, delta=DELTA)
    assert short.threshold is None
    assert short.more_needed is not None
    times = -(-(500 + short.more_needed) // 500)
    order = np.random.default_rng(2).permutation(500 * times)
    again = certify(np.tile(score, times)[order], np.tile(correct, times)[order], target=TARGET, delta=DELTA)
    assert again.threshold is not None


@pytest.mark.parametrize("seed", range(4))
def test_the_document_bears_out_what_was_said(seed: int) -> None:
    """The fourth schema comes back whole and holds; it says of what its confidence is."""
    certificate = certificate_of(fair(seed), CIRCUMSTANCES)
    assert Certificate.from_json(certificate.to_json()) == certificate
    assert f'"schema":"{SCHEMA_4}"'.encode() in certificate.to_json()
    assert certificate.recompute().holds
    assert "certificates that are issued" in certificate.statement()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"chance": 0.99999}, "forecast a chance of"),
        ({"tune_wrong": 60}, "forecast a chance of"),
        ({"start_wrong": 2000}, "more are wrong than kept"),
        ({"start_kept": 1040, "start_wrong": 40}, "not those of the first test, nor of a looser threshold"),
        ({"start_kept": 60, "start_wrong": 0, "start_p_value": 0.0}, "the p-value of the first test is"),
        ({"start_kept": 60, "start_wrong": 0, "start_p_value": 1e-6}, "the p-value of the first test is"),
        ({"start_kept": 10, "start_wrong": 400}, "more are wrong than kept"),
        ({"expected_kept": 100_000, "chance": 1.0}, "were expected to be kept of"),
        ({"made": 900.0}, "the bets on the tuning rows made"),
        ({"basis": Basis(450, (3, *(0,) * 99), None)}, "of the tuning rows kept at the start 3 to 3 are wrong"),
        ({"basis": Basis(450, (0,) * 99, None)}, "not how 450 tuning rows lie between thresholds"),
        ({"basis": Basis(450, (-1, *(0,) * 99), None)}, "not how 450 tuning rows lie between thresholds"),
        ({"basis": Basis(450, (40, *(0,) * 99), None)}, "not how 450 tuning rows lie between thresholds"),
        ({"start_p_value": 1e-3}, "the p-value of the first test is"),
        ({"basis": Basis(451, (0,) * 100, None)}, "the forecast is from 451 tuning rows, not 450"),
    ],
)
def test_a_document_that_contradicts_what_was_said_is_found_out(change: dict[str, float], problem: str) -> None:
    """Forecast and first test are computed again from their counts."""
    certificate = certificate_of(fair(0), CIRCUMSTANCES)
    assert certificate.threshold is not None
    assert certificate.issuing is not None
    changed = dataclasses.replace(certificate, issuing=dataclasses.replace(certificate.issuing, **change))  # type: ignore[arg-type]
    assert any(problem in found for found in changed.recompute().problems)


def test_the_first_p_value_of_betting_is_computed_again() -> None:
    """It follows from the place of the last error, which is stated, and cannot stand where no row is."""
    rng = np.random.default_rng(4)
    score = rng.random(1500)
    outcome = certify(score, rng.random(1500) > 0.12 * (1.0 - score) ** 2, target=TARGET, delta=DELTA, method="betting")
    certificate = certificate_of(outcome, CIRCUMSTANCES)
    said = certificate.issuing
    assert said is not None
    assert said.basis is not None
    assert said.basis.last_error is not None
    assert Certificate.from_json(certificate.to_json()) == certificate
    assert certificate.recompute().holds
    for place in (said.basis.last_error - 1, said.start_kept + 1):
        changed = dataclasses.replace(said, basis=dataclasses.replace(said.basis, last_error=place))
        problems = dataclasses.replace(certificate, issuing=changed).recompute().problems
        assert any("the p-value of the first test is" in problem for problem in problems)


@pytest.mark.parametrize("method", ["exact", "betting"])
def test_a_certificate_made_by_the_former_rule_holds_by_that(method: str) -> None:
    """It keeps its bytes; its walk was tested at delta times the forecast, which the present rule would not allow."""
    data = (Path(__file__).parent / f"issued_{method}_3.json").read_bytes()
    certificate = Certificate.from_json(data)
    said = certificate.issuing
    assert said is not None
    assert (said.basis, said.rule, certificate.to_json()) == (None, FORMER, data)
    assert certificate.recompute().holds
    assert DELTA * said.chance**2 < certificate.p_value <= DELTA * said.chance


def test_counts_of_tuning_rows_that_cannot_be_are_refused_when_read() -> None:
    """Numbers from outside are bounded before anything is computed from them."""
    data = certificate_of(fair(0), CIRCUMSTANCES).to_json()
    for wrong in ("1" + "0" * 30, "-1"):
        forged = data.replace(b'"wrong":[', f'"wrong":[{wrong},'.encode())
        with pytest.raises(CertificateError, match="of the tuning rows 0 to"):
            Certificate.from_json(forged)


def test_bets_that_made_nothing_are_refused_when_read() -> None:
    """No bets make less than the least: a level of 0 has no quantile, and checking would end in a traceback."""
    certificate = certificate_of(fair(0), CIRCUMSTANCES)
    said = certificate.issuing
    assert said is not None
    forged = dataclasses.replace(certificate, issuing=dataclasses.replace(said, made=0.0, expected_kept=1_000_000))
    with pytest.raises(CertificateError, match="made"):
        Certificate.from_json(forged.to_json())


def test_groups_are_issued_one_by_one() -> None:
    """Each group has a forecast of its own, and the document holds."""
    rng = np.random.default_rng(5)
    score, names = rng.random(3000), np.tile(["a", "b"], 1500)
    grouped = certify_groups(score, rng.random(3000) > 0.06 * (1.0 - score), names, target=TARGET, delta=DELTA)
    certificate = certificate_of_groups(grouped, dataclasses.replace(CIRCUMSTANCES, group_by="predicted_class"))
    assert all(outcome.issuing is not None for _, outcome in grouped.groups)
    assert Certificate.from_json(certificate.to_json()) == certificate
    assert certificate.recompute().holds
    assert "(by group)" in certificate.statement()
