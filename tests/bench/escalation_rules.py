"""Owns the rules that decide whom to ask, as scores: ours, the plain ones, and the filters of Sedna.

Sedna's filters (KubeEdge, `hard_example_mining.py`) are written here from their published rule. A rule gives one number
a row, lowest asked first; what is made of it is the bench's business.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_packs.calibration.deferral import (
    AcceptedDeferral,
    DeferralError,
    accept_deferral,
    confidence,
    cross_fitted,
    fit_deferral,
)
from model_packs.calibration.scaling import AcceptedScaling, accept_scaling
from model_packs.calibration.scores import certainty, margin, max_probability
from model_packs.calibration.temperature import softmax

FOLDS: Final = 5
SEDNA_THRESHOLD: Final = 0.5  # CrossEntropyFilter's default
SEDNA_RATIO: Final = 0.3  # RandomFilter's default
SEED: Final = 20261122


@dataclass(frozen=True, slots=True)
class Answers:
    """What edge and hub say to rows whose truth is known.

    Attributes:
        logits: float64 [rows, classes], the edge's, raw.
        labels: int64 [rows], the truth.
        edge_right: bool [rows].
        hub_right: bool [rows].
        clusters: int64 [rows].
    """

    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    edge_right: NDArray[np.bool_]
    hub_right: NDArray[np.bool_]
    clusters: NDArray[np.int64]


def together(first: Answers, second: Answers) -> Answers:
    """The rows of both."""
    return Answers(
        np.concatenate([first.logits, second.logits]),
        np.concatenate([first.labels, second.labels]),
        np.concatenate([first.edge_right, second.edge_right]),
        np.concatenate([first.hub_right, second.hub_right]),
        np.concatenate([first.clusters, second.clusters]),
    )


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule with its scores.

    Attributes:
        name: As the table says it.
        known: float64 [rows], scores of the rows that taught it; a learned rule's are cross-fitted.
        field: float64 [rows], scores of the field rows, which taught nothing.
    """

    name: str
    known: NDArray[np.float64]
    field: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules of a student, and what ours accepted for it before the field rows.

    Attributes:
        rules: Ours first.
        scaling: What was accepted for the logits.
        deferral: Whether the learned score was accepted, with its evidence; None when it could not be learned.
        without: Why it could not; empty otherwise.
    """

    rules: tuple[Rule, ...]
    scaling: AcceptedScaling
    deferral: AcceptedDeferral | None
    without: str


def rules(tuning: Answers, calibration: Answers, field: Answers) -> Rules:
    """Make every rule's scores; nothing of the field but the edge's logits is looked at.

    Args:
        tuning: Fits the scaling.
        calibration: Judges the scaling; teaches the deferral score together with tuning.
        field: The rows to compare on.

    Returns:
        The rules.
    """
    scaling = accept_scaling((tuning.logits, tuning.labels), (calibration.logits, calibration.labels))
    known = together(tuning, calibration)
    scaled = [_scaled(scaling, rows.logits) for rows in (known, field)]
    plain = [softmax(rows.logits) for rows in (known, field)]
    found = [_both("Tandem: max probability, calibrated", max_probability, scaled)]
    deferral, without = None, ""
    try:
        folds = np.unique(known.clusters, return_inverse=True)[1] % FOLDS
        learned = fit_deferral(scaled[0], known.edge_right, known.hub_right)
        crossed = cross_fitted(scaled[0], known.edge_right, known.hub_right, folds)
        generator = np.random.default_rng(SEED)
        deferral = accept_deferral(scaled[0], known.edge_right, known.hub_right, known.clusters, generator)
        found.insert(0, Rule("Tandem: learned deferral", crossed, confidence(learned, scaled[1])))
    except DeferralError as error:
        without = str(error)
    found += [
        _both("max probability, raw", max_probability, plain),
        _both("margin, raw", margin, plain),
        _both("entropy, raw", certainty, plain),
        _both("Sedna CrossEntropy", sedna_confidence, plain),
    ]
    return Rules(tuple(found), scaling, deferral, without)


def sedna_confidence(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """What Sedna's CrossEntropyFilter compares with its threshold: 1 + sum p log p / log classes.

    A probability of 0 raises there (`math.log(0)`); here it adds nothing, to its advantage.
    """
    terms = probabilities * np.log(np.where(probabilities > 0.0, probabilities, 1.0))
    found: NDArray[np.float64] = 1.0 + terms.sum(axis=1) / np.log(probabilities.shape[1])
    return found


def _scaled(scaling: AcceptedScaling, logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return softmax(logits if scaling.vector is None else scaling.vector.apply(logits), scaling.temperature)


def _both(
    name: str, score: Callable[[NDArray[np.float64]], NDArray[np.float64]], tables: list[NDArray[np.float64]]
) -> Rule:
    return Rule(name, score(tables[0]), score(tables[1]))
