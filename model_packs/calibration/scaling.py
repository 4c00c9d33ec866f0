"""From a temperature to a scale and an offset for each class, and which of them a pack should use.

Owns vector scaling (Guo et al. 2017, section 4.2: the diagonal form of matrix scaling), its fit, and the choice between
no scaling, a temperature and vector scaling: only what makes rows honest that took no part in the fit is accepted. The
temperature itself is `temperature`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model_packs.calibration.reliability import expected_calibration_error
from model_packs.calibration.temperature import fit_temperature, labelled, logit_table, negative_log_likelihood, softmax

ScalingKind = Literal["none", "temperature", "vector"]

MAX_VECTOR_CLASSES: Final = 100
"""With more classes than this vector scaling is not tried: rows that teach two numbers a class are not to be had."""

_PENALTY: Final = 1.0
_NEWTON_STEPS: Final = 100
_TOLERANCE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class VectorScaling:
    """A scale and an offset for each class: `(logit - mean of the row's logits) x scale + offset`.

    Attributes:
        scale: One factor a class.
        offset: One number a class.
    """

    scale: tuple[float, ...]
    offset: tuple[float, ...]

    def apply(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Scale logits. The largest of a row may be another one after it: the answer is read after scaling.

        Args:
            logits: [rows, classes], finite.

        Returns:
            float64 [rows, classes].

        Raises:
            ValueError: Not a table of finite numbers with as many classes.
        """
        table = logit_table(logits)
        if table.shape[1] != len(self.scale):
            raise ValueError(f"logits of {table.shape[1]} classes, but a scaling for {len(self.scale)}")
        scaled: NDArray[np.float64] = _centred(table) * np.array(self.scale) + np.array(self.offset)
        return scaled


@dataclass(frozen=True, slots=True)
class Candidate:
    """One scaling and how honest it makes the rows that judge.

    Attributes:
        kind: What it is.
        nll: Mean negative log likelihood of the true classes, in nats.
        ece: Expected calibration error of the largest probability.
    """

    kind: ScalingKind
    nll: float
    ece: float


@dataclass(frozen=True, slots=True)
class AcceptedScaling:
    """The scaling to use, and the evidence for it.

    Attributes:
        kind: Which one.
        temperature: 1.0 unless the temperature was accepted.
        vector: The vector scaling, if it was accepted.
        candidates: All that were judged, `none` first.
    """

    kind: ScalingKind
    temperature: float
    vector: VectorScaling | None
    candidates: tuple[Candidate, ...]


def fit_vector_scaling(logits: ArrayLike, labels: ArrayLike) -> VectorScaling:
    """Fit a scale and an offset for each class by penalised maximum likelihood.

    The penalty (ridge, 1 for each number) pulls towards the fitted temperature, so that classes with few rows keep it.
    The penalised likelihood has one peak; Newton's steps with halving find it.

    Args:
        logits: [rows, classes], finite; at most `MAX_VECTOR_CLASSES` classes.
        labels: int [rows], the true class of each row.

    Returns:
        The scaling.

    Raises:
        ValueError: Tables that do not belong together, no rows, or too many classes.
    """
    table, truth = labelled(logits, labels)
    n_classes = table.shape[1]
    if n_classes > MAX_VECTOR_CLASSES:
        raise ValueError(f"vector scaling takes at most {MAX_VECTOR_CLASSES} classes, not {n_classes}")
    start = np.concatenate([np.full(n_classes, 1.0 / fit_temperature(table, truth)), np.zeros(n_classes)])
    found = _newton(_centred(table), truth, start)
    return VectorScaling(tuple(found[:n_classes].tolist()), tuple(found[n_classes:].tolist()))


def accept_scaling(fit_rows: tuple[ArrayLike, ArrayLike], judge_rows: tuple[ArrayLike, ArrayLike]) -> AcceptedScaling:
    """Fit a temperature and a vector scaling, and accept what helps on other rows.

    A scaling is acceptable when, on the rows that judge, the likelihood improves and the calibration error does not
    grow. Of the acceptable ones the one with the best likelihood is used; if there is none, none is. Rows without a
    wrong answer accept none: their likelihood rises without end as the logits grow, so they cannot say how sure to be.

    Args:
        fit_rows: Logits [rows, classes] and labels [rows] that the fits see.
        judge_rows: Logits and labels that they do not see.

    Returns:
        The scaling to use.

    Raises:
        ValueError: Tables that do not belong together, or no rows.
    """
    logits, labels = labelled(*judge_rows)
    temperature = fit_temperature(*fit_rows)
    candidates = [_judged("none", logits, labels), _judged("temperature", logits / temperature, labels)]
    vector = None
    if logits.shape[1] <= MAX_VECTOR_CLASSES:
        vector = fit_vector_scaling(*fit_rows)
        candidates.append(_judged("vector", vector.apply(logits), labels))
    kind = chosen(candidates).kind if _has_errors(fit_rows) and _has_errors(judge_rows) else "none"
    return AcceptedScaling(
        kind=kind,
        temperature=temperature if kind == "temperature" else 1.0,
        vector=vector if kind == "vector" else None,
        candidates=tuple(candidates),
    )


def chosen(candidates: Sequence[Candidate]) -> Candidate:
    """Which of several scalings to use.

    Args:
        candidates: The plain logits first.

    Returns:
        Of those that are likelier than the plain logits and no less honest, the likeliest; else the plain logits.
    """
    plain, *others = candidates
    acceptable = [other for other in others if other.nll < plain.nll and other.ece <= plain.ece]
    return min(acceptable, key=lambda other: other.nll, default=plain)


def _has_errors(rows: tuple[ArrayLike, ArrayLike]) -> bool:
    """Whether the largest logit is the wrong class anywhere."""
    logits, labels = labelled(*rows)
    return bool((logits.argmax(axis=1) != labels).any())


def _judged(kind: ScalingKind, logits: NDArray[np.float64], labels: NDArray[np.intp]) -> Candidate:
    """How honest scaled logits are."""
    probabilities = softmax(logits)
    is_right = probabilities.argmax(axis=1) == labels
    ece = expected_calibration_error(probabilities.max(axis=1), is_right)
    return Candidate(kind, negative_log_likelihood(logits, labels), ece)


def _centred(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logits without what all classes of a row share: the softmax does not see it, a scale by class would."""
    centred: NDArray[np.float64] = table - table.mean(axis=1, keepdims=True)
    return centred


def _newton(centred: NDArray[np.float64], labels: NDArray[np.intp], start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scales, then offsets, at the peak of the penalised likelihood."""
    n_classes = centred.shape[1]
    truth = np.eye(n_classes)[labels]
    numbers = start.copy()
    loss = _penalised_loss(centred, labels, numbers, start)
    for _ in range(_NEWTON_STEPS):
        chance = softmax(centred * numbers[:n_classes] + numbers[n_classes:])
        surplus = chance - truth
        gradient = np.concatenate([(surplus * centred).sum(axis=0), surplus.sum(axis=0)]) + _PENALTY * (numbers - start)
        # d logit_j / d scale_j = centred_j, d logit_j / d offset_j = 1; the softmax's curvature is diag(p) - p p'.
        pulled = np.concatenate([chance * centred, chance], axis=1)
        slopes = np.concatenate([centred, np.ones_like(centred)], axis=1)
        curvature = _PENALTY * np.eye(2 * n_classes) - pulled.T @ pulled
        diagonal = np.tile(np.eye(n_classes), (2, 2))
        curvature += diagonal * (pulled.T @ slopes)
        step = np.linalg.solve(curvature, gradient)
        share = 1.0
        while (tried := _penalised_loss(centred, labels, numbers - share * step, start)) > loss and share > _TOLERANCE:
            share /= 2.0
        numbers, gained, loss = numbers - share * step, loss - tried, tried
        if gained <= _TOLERANCE:
            break
    return numbers


def _penalised_loss(
    centred: NDArray[np.float64], labels: NDArray[np.intp], numbers: NDArray[np.float64], start: NDArray[np.float64]
) -> float:
    """Summed negative log likelihood, in nats, plus half the ridge penalty around the start."""
    n_classes = centred.shape[1]
    scaled = centred * numbers[:n_classes] + numbers[n_classes:]
    total = negative_log_likelihood(scaled, labels) * len(labels)
    return total + 0.5 * _PENALTY * float(((numbers - start) ** 2).sum())
