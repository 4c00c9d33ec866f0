"""Thinning rows of unequal chances to a uniform sample."""

import numpy as np
import pytest

from model_packs.certificate import certify
from model_packs.certificate.errors import CertificateError
from model_packs.certificate.thinning import thin


def test_rows_with_equal_chances_are_all_used() -> None:
    """Audits alone are a uniform sample already."""
    assert thin([0.05] * 100, [f"id{n}" for n in range(100)]).all()


def test_certain_rows_are_kept_as_often_as_audits_were_drawn() -> None:
    """Among escalated rows, a share of about the audit rate is left; every audit is."""
    chances = np.repeat([1.0, 0.1], [20_000, 500])

    chosen = thin(chances, [f"id{n}" for n in range(20_500)])

    assert chosen[20_000:].all()
    assert chosen[:20_000].mean() == pytest.approx(0.1, abs=3 * (0.1 * 0.9 / 20_000) ** 0.5)


def test_the_same_rows_are_chosen_whatever_their_order() -> None:
    """Only a row's id and chance decide."""
    rng = np.random.default_rng(1)
    names, chances = [f"id{n}" for n in range(500)], rng.choice([1.0, 0.2], 500)
    order = rng.permutation(500)

    assert (thin(chances, names)[order] == thin(chances[order], [names[n] for n in order])).all()


def test_no_rows_are_no_rows() -> None:
    """Nothing comes out of nothing."""
    assert thin([], []).tolist() == []


@pytest.mark.parametrize(
    ("chances", "ids", "message"),
    [
        ([0.5], ["a", "b"], "2 ids but chances"),
        ([0.0], ["a"], "above 0"),
        ([1.5], ["a"], "above 0"),
        ([float("nan")], ["a"], "above 0"),
        ([0.5, 0.5], ["a", "a"], "an id comes twice"),
    ],
)
def test_rows_that_prove_nothing_are_refused(chances: list[float], ids: list[str], message: str) -> None:
    """A row without a chance, or one that counts twice, would bias the sample."""
    with pytest.raises(CertificateError, match=message):
        thin(chances, ids)


def test_escalated_rows_alone_are_thinned_to_the_audit_rate() -> None:
    """Where windows were kept and no audit happened to be drawn, the escalated ones are no sample of the traffic."""
    chosen = thin(np.ones(20_000), [f"id{n}" for n in range(20_000)], smallest=0.1)
    assert chosen.mean() == pytest.approx(0.1, abs=3 * (0.1 * 0.9 / 20_000) ** 0.5)


@pytest.mark.parametrize("smallest", [0.0, 1.5, float("nan")])
def test_what_no_audit_could_reach_is_refused(smallest: float) -> None:
    """Kept without any chance of an audit: no sample of it exists."""
    with pytest.raises(CertificateError, match="let audits be drawn"):
        thin([1.0], ["a"], smallest)


def test_a_field_without_an_audit_by_chance_is_not_certified_on_its_escalations() -> None:
    """Nine in ten of the kept windows are wrong and two in a hundred of them audited: seldom is anything certified."""
    wrong = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        score = rng.random(300)
        correct = np.where(score >= 0.9, rng.random(300) > 0.9, rng.random(300) > 0.01)
        inclusion = np.where(score >= 0.9, 0.02, 1.0)
        rows = np.flatnonzero(rng.random(300) < inclusion)
        used = rows[thin(inclusion[rows], [f"{seed}-{row}" for row in rows], smallest=0.02)]
        try:
            outcome = certify(score[used], correct[used], target=0.05, delta=0.05)
        except CertificateError:
            continue
        wrong += outcome.threshold is not None
    assert wrong <= 0.05 * 60
