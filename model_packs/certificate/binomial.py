"""Exact binomial tails: how surprising few errors are.

Owns the lower tail of the binomial distribution and the sample sizes that follow from it, for up to a million trials,
without a normal approximation. What is tested with it is `selection`'s business.
"""

import functools
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

MAX_TRIALS: Final = 1_000_000


@functools.lru_cache(maxsize=1 << 16)  # pure; a sequence of tests asks for the same few counts again and again
def lower_tail(errors: int, trials: int, rate: float) -> float:
    """P(X <= errors) for X ~ Binomial(trials, rate): the p-value of "the true rate is at least `rate`".

    The terms are summed in logarithms, largest first taken out, so that neither `rate ** errors` nor the binomial
    coefficient under- or overflows.

    Args:
        errors: From 0 to trials.
        trials: From 0 to a million.
        rate: Strictly between 0 and 1.

    Returns:
        From 0 to 1.

    Raises:
        ValueError: An argument is out of its range.
    """
    _check(errors, trials, rate)
    if errors == trials:
        return 1.0
    log_terms = _log_terms(np.arange(errors + 1, dtype=np.float64), trials, rate)
    largest = float(log_terms.max())
    # fsum: an exact sum of the terms, whatever their order.
    total = largest + math.log(math.fsum(np.exp(log_terms - largest).tolist()))
    return min(1.0, math.exp(total))


def required_trials(rate: float, delta: float, errors: int) -> int:
    """The fewest trials at which `errors` errors still show, at level delta, that the true rate is below `rate`.

    Args:
        rate: Strictly between 0 and 1.
        delta: Strictly between 0 and 1.
        errors: At least 0.

    Returns:
        The smallest n with `lower_tail(errors, n, rate) <= delta`.

    Raises:
        ValueError: An argument is out of its range, or more than a million trials are needed.
    """
    if not 0.0 < delta < 1.0:
        raise ValueError(f"delta lies strictly between 0 and 1, not {delta}")
    low, high = errors, max(2 * errors, 1)  # at `errors` trials the tail is 1
    while lower_tail(errors, min(high, MAX_TRIALS), rate) > delta:
        if high >= MAX_TRIALS:
            raise ValueError(f"more than {MAX_TRIALS} trials are needed to show a rate below {rate}")
        low, high = high, 2 * high
    high = min(high, MAX_TRIALS)
    while high - low > 1:
        middle = (low + high) // 2
        if lower_tail(errors, middle, rate) <= delta:
            high = middle
        else:
            low = middle
    return high


def _check(errors: int, trials: int, rate: float) -> None:
    """Refuse what is no binomial question."""
    if not 0 <= trials <= MAX_TRIALS:
        raise ValueError(f"trials lie between 0 and {MAX_TRIALS}, not {trials}")
    if not 0 <= errors <= trials:
        raise ValueError(f"errors lie between 0 and the {trials} trials, not {errors}")
    if not 0.0 < rate < 1.0:
        raise ValueError(f"a rate lies strictly between 0 and 1, not {rate}")


def _log_terms(counts: NDArray[np.float64], trials: int, rate: float) -> NDArray[np.float64]:
    """Log of P(X = k) for k = 0..max, by the ratio of neighbouring terms: P(k) = P(k-1) (n-k+1)/k r/(1-r)."""
    ratios = np.log(trials - counts[1:] + 1.0) - np.log(counts[1:])
    steps = ratios + math.log(rate) - math.log1p(-rate)
    first = trials * math.log1p(-rate)
    return np.concatenate(([first], first + np.cumsum(steps)))
