"""How many more judged cases would do, when no threshold qualifies.

Owns the forecast: if more cases fall out as those at hand did, how many until one of the thresholds tried is supported.
It is advice, no statement: it is read off the same rows that failed, at the threshold where evidence grows fastest.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from model_packs.certificate import betting, binomial
from model_packs.certificate.evidence import Clusters

_BETS: Final = np.linspace(0.05, 1.0, 20)


def most_promising(n_kept: Sequence[int], k_errors: Sequence[int], target: float) -> int:
    """Where evidence for the target grows fastest as cases come in.

    Args:
        n_kept: Rows kept at each threshold; at least one threshold.
        k_errors: Wrong ones among them.
        target: The error share to stay below.

    Returns:
        Which threshold; any where none is below the target.
    """
    shares = [k / n if n else 1.0 for n, k in zip(n_kept, k_errors, strict=True)]
    growth = [
        n * betting.divergence(share, target) if share < target else 0.0
        for n, share in zip(n_kept, shares, strict=True)
    ]
    return max(range(len(growth)), key=growth.__getitem__)


def more_rows(n_kept: int, k_errors: int, n_rows: int, *, target: float, delta: float) -> int | None:
    """How many more rows would support a threshold, at the same shares kept and wrong.

    Args:
        n_kept: Rows kept at the threshold.
        k_errors: Wrong ones among them.
        n_rows: Calibration rows.
        target: The error share to stay below.
        delta: Level of the test.

    Returns:
        How many; None if no number would: as many are wrong as the target allows, or more.
    """
    if n_kept == 0 or k_errors >= target * n_kept:
        return None
    needed = _needed_rows(k_errors / n_kept, target, delta)
    return None if needed is None else max(1, math.ceil(needed * n_rows / n_kept) - n_rows)


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


def _needed_rows(share: float, target: float, delta: float) -> int | None:
    """The fewest kept rows at which this share of errors, rounded up, shows a rate below the target."""
    low, high = 0, 1
    while not _is_enough(high, share, target, delta):
        low, high = high, 2 * high
        if high > binomial.MAX_TRIALS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _is_enough(middle, share, target, delta) else (middle, high)
    return high


def _is_enough(n_kept: int, share: float, target: float, delta: float) -> bool:
    errors = min(n_kept, math.ceil(share * n_kept - 1e-9))
    return binomial.lower_tail(errors, n_kept, target) <= delta
