"""The learned deferral score: what it learns, what it refuses, and that nothing makes it leave 0 to 1."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from model_packs.calibration.cascade import cost_curve
from model_packs.calibration.deferral import (
    FEATURES,
    Deferral,
    DeferralError,
    accept_deferral,
    confidence,
    cross_fitted,
    features,
    fit_deferral,
)
from model_packs.calibration.scores import max_probability
from model_packs.calibration.temperature import softmax

TABLES = npst.arrays(
    np.float64, st.tuples(st.integers(1, 5), st.integers(2, 5)), elements=st.floats(-800.0, 800.0)
).map(softmax)


def specialist(n_rows: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows on which max probability misleads: the hub helps where two classes compete, not where all do.

    Half of the rows are torn between two classes (the hub knows), half are spread over all (the hub does not either).
    """
    generator = np.random.default_rng(seed)
    is_torn = generator.random(n_rows) < 0.5
    top = generator.uniform(0.45, 0.6, n_rows)
    rest = 1.0 - top
    torn = np.stack([top, rest * 0.94, rest * 0.03, rest * 0.03], axis=1)
    spread = np.stack([top, rest / 3, rest / 3, rest / 3], axis=1)
    edge_right = generator.random(n_rows) < 0.6
    hub_right = np.where(is_torn, generator.random(n_rows) < 0.95, edge_right)
    return np.where(is_torn[:, None], torn, spread), edge_right, hub_right


@given(TABLES, st.lists(st.floats(-100.0, 100.0), min_size=5, max_size=5))
def test_features_are_finite_and_the_confidence_is_one(table: NDArray[np.float64], numbers: list[float]) -> None:
    """Zeros and ones among the probabilities, and any weights, give no NaN and nothing outside 0 to 1."""
    deferral = Deferral(dict(zip(FEATURES, numbers, strict=False)), numbers[-1])
    assert np.isfinite(features(table)).all()
    found = confidence(deferral, table)
    assert ((found >= 0.0) & (found <= 1.0)).all()


def test_the_features_are_what_their_names_say() -> None:
    """By hand for (0.7, 0.2, 0.1)."""
    (row,) = features(np.array([[0.1, 0.7, 0.2]]))
    nats = -(0.7 * np.log(0.7) + 0.2 * np.log(0.2) + 0.1 * np.log(0.1))
    assert row == pytest.approx([np.log(0.7 / 0.3), np.log(0.7 / 0.2), np.log(0.2 / 0.1), 1 - nats / np.log(3.0)])


def test_a_second_lead_needs_a_third_class() -> None:
    """With two classes it is 0 and teaches nothing."""
    assert features(np.array([[0.7, 0.3]]))[0, 2] == 0.0


def test_it_learns_where_the_hub_helps() -> None:
    """On new rows it needs little more than half of what max probability needs for the hub's accuracy."""
    deferral = fit_deferral(*specialist(4000, seed=1))
    table, edge_right, hub_right = specialist(4000, seed=2)

    learned = cost_curve(confidence(deferral, table), edge_right, hub_right).least_escalated(hub_right.mean())
    plain = cost_curve(max_probability(table), edge_right, hub_right).least_escalated(hub_right.mean())

    assert learned is not None
    assert plain is not None
    assert learned < 0.55
    assert plain > 0.9


def test_its_confidence_is_honest() -> None:
    """On new rows, the mean of one minus the confidence is the share of rows where asking helps."""
    deferral = fit_deferral(*specialist(4000, seed=1))
    table, edge_right, hub_right = specialist(4000, seed=2)
    claimed = float((1.0 - confidence(deferral, table)).mean())
    assert claimed == pytest.approx(float((hub_right & ~edge_right).mean()), abs=0.03)


def test_the_fit_is_at_the_peak() -> None:
    """Moving any number of the fit a little makes the penalised likelihood of the event no better."""
    table, edge_right, hub_right = specialist(2000, seed=3)
    deferral = fit_deferral(table, edge_right, hub_right)
    event = (hub_right & ~edge_right).astype(float)
    spread = features(table).std(axis=0)
    weights = np.array([deferral.weights[name] for name in FEATURES])

    def loss(weights: NDArray[np.float64], bias: float) -> float:
        logits = features(table) @ weights + bias
        return float((np.logaddexp(0.0, logits) - event * logits).sum() + 0.5 * ((weights * spread) ** 2).sum())

    least = loss(weights, deferral.bias)
    for place in range(len(FEATURES)):
        for step in (-0.01, 0.01):
            moved = weights.copy()
            moved[place] += step
            assert loss(moved, deferral.bias) >= least - 1e-6
    assert min(loss(weights, deferral.bias + step) for step in (-0.01, 0.01)) >= least - 1e-6


def test_too_few_rows_to_learn_from_are_refused_by_name() -> None:
    """Four rows where the hub helps teach nothing: the message counts them."""
    table = np.tile([0.6, 0.4], (100, 1))
    edge = np.ones(100, dtype=bool)
    edge[:4] = False
    with pytest.raises(DeferralError, match=r"in 4 of 100 rows; a deferral score needs 5 rows of either kind"):
        fit_deferral(table, edge, np.ones(100, dtype=bool))


def test_rows_that_do_not_belong_together_are_refused() -> None:
    """Lists of different lengths, one class, one fold."""
    table, edge_right, hub_right = specialist(50, seed=4)
    with pytest.raises(DeferralError, match="50 rows"):
        fit_deferral(table, edge_right[:-1], hub_right)
    with pytest.raises(DeferralError, match="50 rows"):
        cross_fitted(table, edge_right, hub_right, np.arange(49))
    with pytest.raises(DeferralError, match="two folds"):
        cross_fitted(table, edge_right, hub_right, np.zeros(50, dtype=int))
    with pytest.raises(ValueError, match="single class"):
        features(np.ones((3, 1)))


def test_a_row_is_scored_by_a_fit_that_has_not_seen_its_fold() -> None:
    """Turning all outcomes of one fold round changes the other folds' scores and leaves its own as they are."""
    table, edge_right, hub_right = specialist(600, seed=5)
    folds = np.arange(600) % 3
    before = cross_fitted(table, edge_right, hub_right, folds)
    turned = np.where(folds == 0, ~edge_right, edge_right)
    after = cross_fitted(table, turned, hub_right, folds)
    assert (before[folds == 0] == after[folds == 0]).all()
    assert (before[folds != 0] != after[folds != 0]).any()


def test_it_is_accepted_where_it_helps() -> None:
    """Where the hub knows only some of the hard rows, the learned score is better, and surely so."""
    table, edge_right, hub_right = specialist(1500, seed=6)
    accepted = accept_deferral(table, edge_right, hub_right, np.arange(1500), np.random.default_rng(1))
    assert accepted.deferral == fit_deferral(table, edge_right, hub_right)
    assert 0.0 < accepted.gain_low < accepted.gain


def test_it_is_not_accepted_where_max_probability_is_as_good() -> None:
    """Where the hub helps wherever the edge is unsure, there is nothing more to learn: the evidence says so."""
    generator = np.random.default_rng(7)
    table = softmax(generator.normal(0.0, 2.0, (1500, 4)))
    edge_right = generator.random(1500) < max_probability(table)
    hub_right = edge_right | (generator.random(1500) < 0.9)
    accepted = accept_deferral(table, edge_right, hub_right, np.arange(1500) // 10, generator)
    assert accepted.deferral is None
    assert accepted.gain_low <= 0.0
