"""Temperature scaling: one number that makes softmax scores honest.

Owns fitting the temperature and applying it (Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2).
Whether a fitted temperature is *used* is decided by `accept_temperature` on rows that took no part in the fit. How
honest the scores are is measured in `reliability`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LOG_BOUND: Final = 3.0  # temperatures from 0.05 to 20: beyond it the logits are broken, not badly scaled
_LOG_TOLERANCE: Final = 1e-6
_INVERSE_GOLDEN_RATIO: Final = (5.0**0.5 - 1.0) / 2.0


def softmax(logits: ArrayLike, temperature: float = 1.0) -> NDArray[np.float64]:
    """Class probabilities of logits divided by a temperature.

    Args:
        logits: [rows, classes], finite.
        temperature: Above 0; above 1 softens, below 1 sharpens.

    Returns:
        float64 [rows, classes], each row sums to 1.

    Raises:
        ValueError: The temperature is not above 0, or the logits are not a table of finite numbers.
    """
    if not temperature > 0:
        raise ValueError(f"a temperature is above 0, not {temperature}")
    table = logit_table(logits)
    # Shift before dividing: the largest becomes 0, so neither the division nor the exponential overflows upwards.
    with np.errstate(over="ignore", under="ignore"):
        powers: NDArray[np.float64] = np.exp((table - table.max(axis=1, keepdims=True)) / temperature)
    probabilities: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def negative_log_likelihood(logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0) -> float:
    """Mean negative log likelihood of the true classes, in nats.

    Args:
        logits: [rows, classes], finite.
        labels: int [rows], the true class of each row.
        temperature: Above 0.

    Returns:
        The mean over rows.

    Raises:
        ValueError: Tables that do not belong together, no rows, or a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"a temperature is above 0, not {temperature}")
    table, truth = labelled(logits, labels)
    scaled = table / temperature
    largest = scaled.max(axis=1)
    log_sum = largest + np.log(np.exp(scaled - largest[:, None]).sum(axis=1))
    return float(np.mean(log_sum - scaled[np.arange(len(truth)), truth]))


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The temperature with the smallest negative log likelihood.

    The likelihood has one valley in the temperature, so a golden-section search over its logarithm finds it; the search
    stays between 0.05 and 20.

    Args:
        logits: [rows, classes], finite.
        labels: int [rows], the true class of each row.

    Returns:
        The temperature.

    Raises:
        ValueError: Tables that do not belong together, or no rows.
    """
    table, truth = labelled(logits, labels)
    low, high = -_LOG_BOUND, _LOG_BOUND
    while high - low > _LOG_TOLERANCE:
        step = (high - low) * _INVERSE_GOLDEN_RATIO
        left, right = high - step, low + step
        if _loss_at(table, truth, left) <= _loss_at(table, truth, right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2.0))


@dataclass(frozen=True, slots=True)
class AcceptedTemperature:
    """A temperature and the evidence for it.

    Attributes:
        temperature: What to use: the fitted one, or 1.0 when it did not help on rows it had not seen.
        fitted: What the fit found.
        nll_before: Mean negative log likelihood at temperature 1 on the rows that judge.
        nll_after: The same at the fitted temperature.
    """

    temperature: float
    fitted: float
    nll_before: float
    nll_after: float


def accept_temperature(
    fit_rows: tuple[ArrayLike, ArrayLike], judge_rows: tuple[ArrayLike, ArrayLike]
) -> AcceptedTemperature:
    """Fit a temperature on some rows and keep it only when it improves the likelihood of others.

    Args:
        fit_rows: Logits [rows, classes] and labels [rows] that the fit sees.
        judge_rows: Logits and labels that it does not see.

    Returns:
        The temperature to use, with both likelihoods.

    Raises:
        ValueError: Tables that do not belong together, or no rows.
    """
    fitted = fit_temperature(*fit_rows)
    before = negative_log_likelihood(*judge_rows)
    after = negative_log_likelihood(*judge_rows, temperature=fitted)
    return AcceptedTemperature(fitted if after < before else 1.0, fitted, before, after)


def _loss_at(logits: NDArray[np.float64], labels: NDArray[np.intp], log_temperature: float) -> float:
    """The loss as a function of the logarithm of the temperature."""
    return negative_log_likelihood(logits, labels, float(np.exp(log_temperature)))


def logit_table(logits: ArrayLike) -> NDArray[np.float64]:
    """Read a table of logits.

    Args:
        logits: [rows, classes], finite.

    Returns:
        float64 [rows, classes].

    Raises:
        ValueError: It is no table, or holds a value that is not finite.
    """
    table = np.asarray(logits, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] == 0:  # noqa: PLR2004 - a table has two axes
        raise ValueError(f"logits are a table [rows, classes], not of shape {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("logits hold a value that is not finite")
    return table


def labelled(logits: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Read logits and labels that belong together.

    Args:
        logits: [rows, classes], finite.
        labels: int [rows], class indices.

    Returns:
        float64 [rows, classes] and intp [rows], at least one row.

    Raises:
        ValueError: They do not belong together, there are no rows, or a label is no class index.
    """
    table = logit_table(logits)
    given = np.asarray(labels)
    if given.dtype.kind not in "biuf" or not (np.isfinite(given) & (given == np.floor(given))).all():
        raise ValueError("labels are class indices: whole numbers, one a row")
    truth = given.astype(np.intp)
    if truth.shape != table.shape[:1]:
        raise ValueError(f"{table.shape[0]} rows of logits but labels of shape {truth.shape}")
    if len(truth) == 0:
        raise ValueError("no rows to fit or judge a temperature on")
    if truth.min() < 0 or truth.max() >= table.shape[1]:
        raise ValueError(f"labels are class indices from 0 to {table.shape[1] - 1}")
    return table, truth
