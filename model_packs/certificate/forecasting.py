"""How many more judged cases would do, when no threshold qualifies.

Owns the forecast: if more cases fall out as those at hand did, how many until the first of the thresholds is supported.
It is advice, no statement: it is read off the same rows that failed, at the threshold that is tested first.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_packs.certificate import betting, binomial, issuing, selection
from model_packs.certificate.evidence import Clusters

_LEAST_SEEN: Final = 30  # fewer rows say nothing of their error share
_STEP: Final = 10
_BETS: Final = np.linspace(0.05, 1.0, 20)


def more_rows(
    tune_scores: NDArray[np.float64],
    scores: NDArray[np.float64],
    is_error: NDArray[np.bool_],
    *,
    target: float,
    delta: float,
) -> int | None:
    """How many more rows would pass the first test of the sequence, which no threshold can do without.

    With more rows the sequence starts stricter. The share of errors there is read off the rows at hand that score so
    high, with half an error added (few rows without one do not mean that there are none).

    Args:
        tune_scores: float64 [rows], of tuning rows.
        scores: float64 [rows], of calibration rows.
        is_error: bool [rows].
        target: The error share to stay below.
        delta: Level of the test.

    Returns:
        How many calibration rows, in steps of a tenth; None if these rows cannot tell, because too many are wrong
        where they are surest, or too few are that sure.
    """
    falling = np.sort(tune_scores)[::-1]
    n_later = len(scores)
    while (n_later := n_later + max(1, n_later // _STEP)) <= binomial.MAX_TRIALS:
        first = selection.first_kept(len(falling), n_later, target, delta)
        is_kept = scores >= falling[(first or len(falling)) - 1]
        n_kept = int(is_kept.sum())
        if n_kept < _LEAST_SEEN:
            return None
        later = n_kept * n_later // len(scores)
        share = (int(is_error[is_kept].sum()) + 0.5) / (n_kept + 0.5)
        if share < target and binomial.lower_tail(math.ceil(share * later), later, target) <= delta:
            return n_later - len(scores)
    return None


def more_to_issue(
    scores: NDArray[np.float64],
    is_error: NDArray[np.bool_],
    n_units: int,
    made: float,
    *,
    target: float,
    delta: float,
) -> int | None:
    """How many more rows would pass the first test somewhere, where the promise is about certificates issued.

    Args:
        scores: float64 [rows], of all rows at hand.
        is_error: bool [rows].
        n_units: Calibration rows among them.
        made: What bets on tuning rows made of 1.
        target: The error share to stay below.
        delta: Level of the test.

    Returns:
        How many calibration rows, by Chernoff's bound, which asks for somewhat more than the test does; None if these
        rows cannot tell.
    """
    order = np.argsort(-scores, kind="stable")
    falling, wrong = scores[order], np.cumsum(is_error[order])
    ranks = np.array(selection.ranks(len(falling), min(_LEAST_SEEN, len(falling))))
    kept = np.unique(np.searchsorted(-falling, -falling[ranks - 1], side="right"))
    unfit, level = issuing.unfit_rate(target), issuing.entry_level(delta, made)
    needed = math.inf
    for count, errors in zip(kept.tolist(), wrong[kept - 1].tolist(), strict=True):
        share = (errors + 0.5) / (count + 0.5)
        if count < _LEAST_SEEN or share >= target:
            continue
        later = max(
            -math.log(delta) / betting.divergence(share, target), -math.log(level) / betting.divergence(share, unfit)
        )
        needed = min(needed, later * len(falling) / count)
    return max(1, math.ceil(needed) - n_units) if needed <= binomial.MAX_TRIALS else None


def more_clusters(found: Clusters, n_clusters: int, *, target: float, delta: float) -> int | None:
    """How many more clusters would support a threshold, were they like those at hand.

    Args:
        found: The clusters at the threshold.
        n_clusters: How many they are.
        target: The error share to stay below.
        delta: Level of the test.

    Returns:
        How many; None if no number would.
    """
    kept, wrong, times = np.array(found.counts, dtype=np.float64).reshape(-1, 3).T
    gains = (target * kept - wrong) / ((1.0 - target) * found.largest)
    with np.errstate(divide="ignore"):
        growth = float((np.log1p(np.maximum(np.outer(_BETS, gains), -1.0)) @ times).max()) / n_clusters
    if growth <= 0.0:
        return None
    return max(1, math.ceil(math.log(len(found.bets) / delta) / growth) - n_clusters)
