"""Choosing the threshold that a certificate is about, when rows are the unit.

Owns the procedure: Learn-then-Test (Angelopoulos et al. 2021, arXiv:2110.01052) with fixed-sequence testing. Hypothesis
H(t) is "of the windows scored t or more, at least the share `target` is wrong". The sequence of thresholds is laid down
from tuning scores alone, strict to loose, and tested on calibration rows until the first one that is not rejected; the
last rejected one is the choice. No correction for the number of thresholds is needed, because the order is fixed before
any calibration row is looked at.

The sequence starts at the *power start*: the strictest threshold whose expected kept count could be rejected with two
errors (with one or none, where there are too few rows for two). Stricter ones keep so few windows that no outcome could
reject them, and would only end the sequence early. The start is label-free: it sees scores, never outcomes.

    1. n_needed = fewest kept windows that can be rejected with START_ERRORS errors      `binomial.required_trials`
    2. start    = coverage at which n_calibration windows leave n_needed, from tuning    `threshold_sequence`
    3. test down the sequence on calibration rows                                        `select`

Each test is the exact binomial one, or the bet that is never below it (`betting.ordered_p_value`): then every threshold
that the exact sequence reaches, the betting sequence reaches, on the same rows.

What the result says to others is `document`'s business; refusing unusable rows is `certify`'s.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from model_packs.certificate import binomial, evidence
from model_packs.certificate.evidence import Evidence, Order

START_ERRORS: Final = 2
COVERAGE_STEPS: Final = 100  # thresholds one point of coverage apart

Method = Literal["exact", "betting"]


@dataclass(frozen=True, slots=True)
class Tested:
    """One threshold and what calibration said about it.

    Attributes:
        threshold: Windows with this score or more are kept.
        n_kept: Calibration windows kept.
        k_errors: Wrong ones among them.
        p_value: Of "at least the target share of the kept is wrong".
        is_rejected: Whether the p-value is at most delta.
        evidence: What the p-value rests on beside the counts.
    """

    threshold: float
    n_kept: int
    k_errors: int
    p_value: float
    is_rejected: bool
    evidence: Evidence = None


def start_errors(n_calibration: int, target: float, delta: float) -> int | None:
    """How many errors the first test of the sequence shall bear.

    Args:
        n_calibration: Calibration windows.
        target: The error share to stay below.
        delta: Level of the tests.

    Returns:
        `START_ERRORS`, or fewer if there are too few windows for that; None if there are too few for none.

    Raises:
        ValueError: The levels are out of range, or out of a million windows' reach.
    """
    for errors in range(START_ERRORS, -1, -1):
        if binomial.required_trials(target, delta, errors) <= n_calibration:
            return errors
    return None


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
        window; empty when even all calibration windows are too few without a single error.
    """
    first = first_kept(len(tune_scores), n_calibration, target, delta)
    return () if first is None else steps(np.sort(tune_scores)[::-1], first)


def first_kept(n_tune: int, n_calibration: int, target: float, delta: float) -> int | None:
    """How many tuning rows the first threshold keeps.

    Args:
        n_tune: Tuning rows.
        n_calibration: Calibration rows that the tests will see.
        target: The error share to stay below.
        delta: Level of the tests.

    Returns:
        From 1 to all; None when even all calibration rows are too few without a single error.
    """
    errors = start_errors(n_calibration, target, delta)
    if errors is None:
        return None
    # The strictest threshold with n_calibration * (kept tuning share) >= needed; integers, so no rounding surprises.
    return -(-binomial.required_trials(target, delta, errors) * n_tune // n_calibration)


def steps(falling: NDArray[np.float64], first: int) -> tuple[float, ...]:
    """Thresholds one point of coverage apart.

    Args:
        falling: float64 [rows], tuning scores from high to low.
        first: How many of them the first threshold keeps, from 1 to all.

    Returns:
        Falling thresholds, each once.
    """
    thresholds = (float(falling[count - 1]) for count in ranks(len(falling), first))
    return tuple(dict.fromkeys(thresholds))


def ranks(n_tune: int, first: int) -> tuple[int, ...]:
    """How many tuning rows the thresholds keep, a point of coverage apart.

    Args:
        n_tune: Tuning rows.
        first: How many of them the first threshold keeps, from 1 to all.

    Returns:
        Rising counts, the first and all among them.
    """
    kept = (n_tune * share // COVERAGE_STEPS for share in range(COVERAGE_STEPS + 1))
    return tuple(sorted({first} | {count for count in kept if count > first}))


def select(
    thresholds: tuple[float, ...],
    scores: NDArray[np.float64],
    is_error: NDArray[np.bool_],
    *,
    target: float,
    delta: float,
    method: Method = "exact",
) -> tuple[Tested, ...]:
    """Test thresholds in their order until the first that is not rejected.

    Args:
        thresholds: From `threshold_sequence`; chosen without a look at the rows below.
        scores: float64 [rows], scores of calibration windows, in the order drawn.
        is_error: bool [rows], whether the answer was wrong.
        target: The error share to stay below.
        delta: Level of the tests.
        method: Which test; chosen without a look at the rows, too.

    Returns:
        All thresholds tested, in order; only the last may be one that was not rejected. The choice is the last rejected
        one, if any. When betting, the last two carry their evidence, the ones before the exact test's p-value, which is
        no smaller.
    """
    tested: list[Tested] = []
    for threshold, n_kept, k_errors in zip(thresholds, *counts(thresholds, scores, is_error), strict=True):
        p_value = binomial.lower_tail(k_errors, n_kept, target)
        test = Tested(threshold, n_kept, k_errors, p_value, p_value <= delta)
        tested.append(
            test if test.is_rejected or method == "exact" else _in_order(test, scores, is_error, target, delta)
        )
        if not tested[-1].is_rejected:
            break
    if method == "exact":
        return tuple(tested)
    # What the exact test rejects, the bet rejects; so only what may be shown needs the order.
    return (*tested[:-2], *(_in_order(test, scores, is_error, target, delta) for test in tested[-2:]))


def counts(
    thresholds: tuple[float, ...], scores: NDArray[np.float64], is_error: NDArray[np.bool_]
) -> tuple[list[int], list[int]]:
    """Count the kept and the wrong among them at each threshold.

    Args:
        thresholds: Any.
        scores: float64 [rows].
        is_error: bool [rows].

    Returns:
        For each threshold, how many rows score it or more, and how many of these are wrong.
    """
    rising = np.argsort(scores)
    n_kept = len(scores) - np.searchsorted(scores[rising], thresholds)
    errors = np.concatenate(([0], np.cumsum(is_error[rising[::-1]])))
    return n_kept.tolist(), errors[n_kept].tolist()


def _in_order(
    test: Tested, scores: NDArray[np.float64], is_error: NDArray[np.bool_], target: float, delta: float
) -> Tested:
    """The same threshold, tested with a look at where its last error stands."""
    places = np.flatnonzero(is_error[scores >= test.threshold])
    order = Order(int(places[-1]) + 1 if len(places) else 0)
    p_value = evidence.p_value(order, test.k_errors, test.n_kept, target)
    return replace(test, p_value=p_value, is_rejected=p_value <= delta, evidence=order)
