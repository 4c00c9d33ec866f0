"""The learned deferral score: would the hub have done better here?

Owns a small logistic model of the event "the hub is right and the edge is wrong" (Jitkrittum et al. 2023, "When Does
Confidence-Based Cascade Deferral Suffice?", arXiv:2307.02764: a confidence alone does not know when asking helps), its
features, its fit, and applying it. Four features of the edge's probabilities, plain weights, no library: a pack carries
five numbers. Fit it on rows that trained neither network, and certify on others again.

    confidence = 1 - sigmoid(bias + sum of weight x feature)
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model_packs.calibration.cascade import cost_curve
from model_packs.calibration.scores import certainty, checked_probabilities, max_probability

FEATURES: Final = ("log_odds", "lead", "second_lead", "certainty")
"""By name: log(p1 / (1 - p1)); log(p1 / p2); log(p2 / p3), 0 for two classes; 1 - entropy / log(classes). Here p1, p2
and p3 are a row's largest probabilities, falling; logarithms are held between -15 and 15."""

MIN_EVENTS: Final = 5
_LARGEST_LOG: Final = 15.0
_PENALTY: Final = 1.0
_NEWTON_STEPS: Final = 100
_TOLERANCE: Final = 1e-9
_FOLDS: Final = 5
_REDRAWS: Final = 500
_ACCEPTED_CHANCE: Final = 0.05


class DeferralError(ValueError):
    """The rows cannot teach a deferral score; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Deferral:
    """A fitted deferral score.

    Attributes:
        weights: Weight by feature, one for each of `FEATURES`; positive: asking the hub pays more.
        bias: What is added.
    """

    weights: Mapping[str, float] = field(hash=False)
    bias: float


@dataclass(frozen=True, slots=True)
class AcceptedDeferral:
    """A deferral score, if it helps, and the evidence.

    Attributes:
        deferral: Fitted on all rows; None when max probability is as good.
        gain: Mean accuracy over all shares escalated, minus that of max probability, on rows not used for the fit.
        gain_low: What the gain exceeds in 95 % of the redraws.
    """

    deferral: Deferral | None
    gain: float
    gain_low: float


def features(probabilities: ArrayLike) -> NDArray[np.float64]:
    """What the score looks at.

    Args:
        probabilities: [rows, classes], each row sums to 1; at least two classes.

    Returns:
        float64 [rows, features], columns as in `FEATURES`.

    Raises:
        ValueError: They are no table of probabilities, or of a single class.
    """
    table = checked_probabilities(probabilities)
    if table.shape[1] == 1:
        raise ValueError("with a single class there is nothing to defer")
    with np.errstate(divide="ignore"):
        logs = np.log(np.sort(table, axis=1)[:, ::-1])
        rest = np.log(np.maximum(1.0 - np.exp(logs[:, 0]), 0.0))
    first, second = logs[:, 0], logs[:, 1]
    columns = [
        first - rest,
        first - second,
        _difference(second, logs[:, 2]) if logs.shape[1] > 2 else np.zeros(len(table)),  # noqa: PLR2004 - a third class
        certainty(table),
    ]
    held: NDArray[np.float64] = np.clip(np.stack(columns, axis=1), -_LARGEST_LOG, _LARGEST_LOG)
    return held


def confidence(deferral: Deferral, probabilities: ArrayLike) -> NDArray[np.float64]:
    """One minus the probability that the hub is right and the edge is wrong.

    Args:
        deferral: The fitted score.
        probabilities: [rows, classes], after the pack's scaling.

    Returns:
        float64 [rows], from 0 to 1: higher is safer, as all scores.

    Raises:
        ValueError: They are no table of probabilities.
    """
    weights = np.array([deferral.weights[name] for name in FEATURES])
    return 1.0 - _sigmoid(features(probabilities) @ weights + deferral.bias)


def fit_deferral(probabilities: ArrayLike, edge_right: ArrayLike, hub_right: ArrayLike) -> Deferral:
    """Fit the score by penalised maximum likelihood.

    Features are centred and scaled before the penalty (ridge, 1 for each) and folded back after, so that the weights
    apply to plain features. The likelihood has one peak: Newton's steps with halving find it from zero.

    Args:
        probabilities: [rows, classes], the edge's, after its scaling.
        edge_right: bool [rows].
        hub_right: bool [rows].

    Returns:
        The score.

    Raises:
        DeferralError: Rows that do not belong together, or fewer than five with the event or five without it: so few
            teach nothing.
    """
    table = features(probabilities)
    edge, hub = np.asarray(edge_right, dtype=np.bool_), np.asarray(hub_right, dtype=np.bool_)
    if edge.shape != (len(table),) or hub.shape != (len(table),):
        raise DeferralError(f"{len(table)} rows of probabilities, but outcomes of shapes {edge.shape} and {hub.shape}")
    event = (hub & ~edge).astype(np.float64)
    n_events = int(event.sum())
    if min(n_events, len(event) - n_events) < MIN_EVENTS:
        raise DeferralError(
            f"the hub is right and the edge is wrong in {n_events} of {len(event)} rows; a deferral score needs "
            f"{MIN_EVENTS} rows of either kind: collect more, or keep max_probability"
        )
    centre, spread = table.mean(axis=0), table.std(axis=0)
    spread[spread == 0.0] = 1.0
    fitted = _newton((table - centre) / spread, event)
    weights = fitted[1:] / spread
    return Deferral(dict(zip(FEATURES, weights.tolist(), strict=True)), float(fitted[0] - weights @ centre))


def cross_fitted(
    probabilities: ArrayLike, edge_right: ArrayLike, hub_right: ArrayLike, folds: ArrayLike
) -> NDArray[np.float64]:
    """Score every row by a fit that has not seen its fold: how the score fares on new rows, without new rows.

    Args:
        probabilities: [rows, classes], the edge's, after its scaling.
        edge_right: bool [rows].
        hub_right: bool [rows].
        folds: int [rows], at least two different; rows that are alike (of one recording) belong into one fold.

    Returns:
        float64 [rows], from 0 to 1, as `confidence`.

    Raises:
        DeferralError: Rows that do not belong together, one fold only, or a fit that has too few rows to learn from.
    """
    table = checked_probabilities(probabilities)
    edge, hub = np.asarray(edge_right, dtype=np.bool_), np.asarray(hub_right, dtype=np.bool_)
    places = np.asarray(folds)
    if not len(table) == len(edge) == len(hub) == len(places):
        raise DeferralError(f"{len(table)} rows of probabilities, but {len(edge)}, {len(hub)} and {len(places)} others")
    names = np.unique(places)
    if len(names) < 2:  # noqa: PLR2004 - one fold to fit on, one to score
        raise DeferralError("cross-fitting takes at least two folds")
    found = np.empty(len(table))
    for name in names:
        held = places == name
        found[held] = confidence(fit_deferral(table[~held], edge[~held], hub[~held]), table[held])
    return found


def accept_deferral(
    probabilities: ArrayLike,
    edge_right: ArrayLike,
    hub_right: ArrayLike,
    clusters: ArrayLike,
    generator: "np.random.Generator",  # in quotes: NumPy loads its generators when they are named
) -> AcceptedDeferral:
    """Fit a deferral score and accept it only when it ranks better than max probability on rows that it has not seen.

    1. Score every row by a fit without its fold (five folds of whole clusters).
    2. Gain: mean accuracy over all shares escalated, minus that of max probability.
    3. Redraw whole clusters 500 times; accept when the gain is above 0 in at least 95 % of the redraws.

    Args:
        probabilities: [rows, classes], the edge's, after its scaling.
        edge_right: bool [rows].
        hub_right: bool [rows].
        clusters: int [rows], rows of one succeed and fail together; the row's number where rows are independent.
        generator: Draws the redraws.

    Returns:
        The fit on all rows, if it was accepted, and the evidence.

    Raises:
        DeferralError: Rows that do not belong together, or too few to learn from.
    """
    table = checked_probabilities(probabilities)
    edge, hub = np.asarray(edge_right, dtype=np.bool_), np.asarray(hub_right, dtype=np.bool_)
    names, place = np.unique(np.asarray(clusters), return_inverse=True)
    learned = cross_fitted(table, edge, hub, place % _FOLDS)
    plain = max_probability(table)
    members = [np.flatnonzero(place == number) for number in range(len(names))]

    def gain(rows: NDArray[np.intp]) -> float:
        curves = (cost_curve(score[rows], edge[rows], hub[rows]) for score in (learned, plain))
        ours, theirs = (curve.mean_accuracy for curve in curves)
        return ours - theirs

    redrawn = [
        gain(np.concatenate([members[number] for number in generator.integers(len(names), size=len(names))]))
        for _ in range(_REDRAWS)
    ]
    low = float(np.quantile(redrawn, _ACCEPTED_CHANCE))
    fitted = fit_deferral(table, edge, hub)
    return AcceptedDeferral(fitted if low > 0.0 else None, gain(np.arange(len(table))), low)


def _difference(high: NDArray[np.float64], low: NDArray[np.float64]) -> NDArray[np.float64]:
    """Difference of falling logarithms; two that are both minus infinity are alike."""
    return np.where(np.isneginf(high), 0.0, np.where(np.isneginf(low), _LARGEST_LOG, high - np.maximum(low, -1e308)))


def _newton(scaled: NDArray[np.float64], event: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intercept and weights of ridge-penalised logistic regression; the intercept is free."""
    design = np.column_stack([np.ones(len(scaled)), scaled])
    penalty = np.array([0.0, *[_PENALTY] * scaled.shape[1]])
    weights = np.zeros(design.shape[1])
    weights[0] = math.log(event.mean() / (1.0 - event.mean()))
    loss = _penalised_loss(design, event, weights, penalty)
    for _ in range(_NEWTON_STEPS):
        chance = _sigmoid(design @ weights)
        gradient = design.T @ (chance - event) + penalty * weights
        curvature = (design * (chance * (1.0 - chance))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        share = 1.0
        while (tried := _penalised_loss(design, event, weights - share * step, penalty)) > loss and share > _TOLERANCE:
            share /= 2.0
        weights, gained, loss = weights - share * step, loss - tried, tried
        if gained <= _TOLERANCE:
            break
    return weights


def _penalised_loss(
    design: NDArray[np.float64], event: NDArray[np.float64], weights: NDArray[np.float64], penalty: NDArray[np.float64]
) -> float:
    """Negative log likelihood, in nats, plus half the ridge penalty."""
    logits = design @ weights
    return float((np.logaddexp(0.0, logits) - event * logits).sum() + 0.5 * (penalty * weights**2).sum())


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logistic function without overflow."""
    found: NDArray[np.float64] = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return found
