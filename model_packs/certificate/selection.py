"""Choosing the threshold that a certificate is about.

Owns the procedure: Learn-then-Test (Angelopoulos et al. 2021, arXiv:2110.01052) with fixed-sequence testing. Hypothesis
H(t) is "of the windows scored t or more, at least the share `target` is wrong". The sequence of thresholds is laid down
from tuning scores alone, strict to loose, and tested on calibration rows with exact binomial p-values until the first
one that is not rejected; the last rejected one is the choice. No correction for the number of thresholds is needed,
because the order is fixed before any calibration row is looked at.

The sequence starts at the *power start*: the strictest threshold whose expected kept count could be rejected with two
errors. Stricter ones keep so few windows that no outcome could reject them, and would only end the sequence early. The
start is label-free: it sees scores, never outcomes.

    1. n_needed = fewest kept windows that can be rejected with START_ERRORS errors      `binomial.required_trials`
    2. start    = coverage at which n_calibration windows leave n_needed, from tuning    `threshold_sequence`
    3. test down the sequence on calibration rows                                        `select`

What the result says to others is `document`'s business; refusing unusable rows is `certify`'s.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_packs.certificate import binomial

START_ERRORS: Final = 2
COVERAGE_STEPS: Final = 100  # thresholds one point of coverage apart


@dataclass(frozen=True, slots=True)
class Tested:
    """One threshold and what calibration said about it.

    Attributes:
        threshold: Windows with this score or more are kept.
        n_kept: Calibration windows kept.
        k_errors: Wrong ones among them.
        p_value: Exact p-value of "at least the target share of the kept is wrong".
        is_rejected: Whether the p-value is at most delta.
    """

    threshold: float
    n_kept: int
    k_errors: int
    p_value: float
    is_rejected: bool


def threshold_sequence(
    tune_scores: NDArray[np.float64], n_calibration: int, target: float, delta: float
) -> tuple[float, ...]:
    """Lay down the order of tests, from tuning scores alone.

    Args:
        tune_scores: float64 [rows], scores of tuning windows, finite; at least one.
        n_calibration: Calibration windows that the tests will see.
        target: The error share to stay below.
        delta: Level of the tests.

    Returns:
        Falling thresholds, one about every point of coverage, from the power start to the one that keeps every tuning
        window; empty when even all calibration windows are too few for `START_ERRORS` errors.
    """
    needed = binomial.required_trials(target, delta, START_ERRORS)
    if n_calibration < needed:
        return ()
    falling = np.sort(tune_scores)[::-1]
    n_tune = len(falling)
    # The strictest threshold with n_calibration * (kept tuning share) >= needed; integers, so no rounding surprises.
    first = -(-needed * n_tune // n_calibration)
    shares = range(COVERAGE_STEPS + 1)
    kept = sorted({first} | {n_tune * share // COVERAGE_STEPS for share in shares if n_tune * share > first * 100})
    thresholds = (float(falling[count - 1]) for count in kept)
    return tuple(dict.fromkeys(thresholds))


def select(
    thresholds: tuple[float, ...],
    scores: NDArray[np.float64],
    is_error: NDArray[np.bool_],
    *,
    target: float,
    delta: float,
) -> tuple[Tested, ...]:
    """Test thresholds in their order until the first that is not rejected.

    Args:
        thresholds: From `threshold_sequence`; chosen without a look at the rows below.
        scores: float64 [rows], scores of calibration windows.
        is_error: bool [rows], whether the answer was wrong.
        target: The error share to stay below.
        delta: Level of the tests.

    Returns:
        All thresholds tested, in order; only the last may be one that was not rejected. The choice is the last rejected
        one, if any.
    """
    tested: list[Tested] = []
    for threshold in thresholds:
        kept = scores >= threshold
        n_kept, k_errors = int(kept.sum()), int((kept & is_error).sum())
        p_value = binomial.lower_tail(k_errors, n_kept, target)
        tested.append(Tested(threshold, n_kept, k_errors, p_value, p_value <= delta))
        if not tested[-1].is_rejected:
            break
    return tuple(tested)
