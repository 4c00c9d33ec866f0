"""Choosing the threshold when windows come in clusters: recordings, device-days.

Owns fixed-sequence testing with the cluster as the unit. Windows of one recording succeed and fail together, so only
the recordings are independent draws. Hypothesis H(t) is "the expected sum over a cluster of (loss - target) * kept is 0
or more": of all windows scored t or more, at least the share `target` is wrong. It is tested by betting on the cluster
sums (`betting.capital`), which needs no assumption about what happens inside a cluster.

    1. cut      = of each cluster the first `largest` rows count, so that a sum is bounded             `cut`
    2. start    = strictest threshold at which clusters without an error would reach 1 / delta twice
                  over (1 / delta ** 2), from tuning clusters; else the loosest, if they reach it once `lay_down`
    3. test down the sequence on calibration clusters until one does not reach 1 / delta               `select`

The bets at each threshold are fixed in step 2 as well. Rows as units are `selection`.
"""

import bisect
import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_packs.certificate import betting, evidence, selection
from model_packs.certificate.evidence import Clusters
from model_packs.certificate.selection import Tested

MAX_CLUSTERS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Stake:
    """A threshold of the sequence and what is bet at it.

    Attributes:
        threshold: Windows with this score or more are kept.
        full_clusters: How many clusters' worth of kept rows are expected of the calibration clusters, from tuning ones.
    """

    threshold: float
    full_clusters: float

    def bets(self, largest: int, target: float, delta: float) -> tuple[float, ...]:
        """The aimed bet and, where a cluster has more than one row, all of the possible; half of the capital each.

        Args:
            largest: Most rows of a cluster.
            target: The error share to stay below.
            delta: Level of the tests.

        Returns:
            One bet or two, the last of them 1 if two.
        """
        if self.full_clusters <= 0.0:
            return (1.0,)
        aimed = betting.aimed_bet(self.full_clusters, target, delta)
        return (aimed,) if largest == 1 or aimed == 1.0 else (aimed, 1.0)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of clusters.

    Attributes:
        scores: float64 [rows], finite.
        clusters: int [rows], from 0 to n_clusters - 1.
        n_clusters: How many there are.
    """

    scores: NDArray[np.float64]
    clusters: NDArray[np.intp]
    n_clusters: int

    def kept(self, threshold: float) -> NDArray[np.int64]:
        """Count, as int [n_clusters], how many rows of each score the threshold or more."""
        return np.bincount(self.clusters[self.scores >= threshold], minlength=self.n_clusters)


def cut(clusters: NDArray[np.intp], largest: int) -> NDArray[np.bool_]:
    """The rows that count: the first of each cluster.

    Args:
        clusters: int [rows].
        largest: Rows that count in a cluster, at least 1.

    Returns:
        bool [rows].
    """
    order = np.argsort(clusters, kind="stable")
    starts = np.flatnonzero(np.diff(clusters[order], prepend=-1))
    sizes = np.diff(np.append(starts, len(clusters)))
    places = np.empty(len(clusters), dtype=np.intp)
    places[order] = np.arange(len(clusters)) - np.repeat(starts, sizes)
    return places < largest


def lay_down(tuning: Rows, n_calibration: int, *, largest: int, target: float, delta: float) -> tuple[Stake, ...]:
    """Lay down the order of tests and the bets, from tuning scores and their clusters alone.

    Args:
        tuning: Tuning rows, cut; at least one.
        n_calibration: Calibration clusters that the tests will see.
        largest: Most rows of a cluster.
        target: The error share to stay below.
        delta: Level of the tests.

    Returns:
        Falling thresholds with their bets; empty when even clusters without an error would prove nothing.
    """
    falling = np.sort(tuning.scores)[::-1]
    thresholds = selection.steps(falling, max(1, len(falling) // selection.COVERAGE_STEPS))

    def reached(threshold: float) -> float:
        return _clean_log_capital(tuning, threshold, n_calibration, largest=largest, target=target, delta=delta)

    # Looser thresholds keep more and so win more; where that fails by a hair, the start is another one, no less valid.
    wanted = math.log(1.0 / delta)
    start = bisect.bisect_left(thresholds, 2.0 * wanted, key=reached)
    if start == len(thresholds) and reached(thresholds[-1]) >= wanted:
        start -= 1
    return tuple(_stake(tuning, threshold, n_calibration, largest) for threshold in thresholds[start:])


def required_clusters(tuning: Rows, *, largest: int, target: float, delta: float) -> int:
    """The fewest calibration clusters that could prove anything, were they like the tuning ones.

    Args:
        tuning: Tuning rows, cut; at least one.
        largest: Most rows of a cluster.
        target: The error share to stay below.
        delta: Level of the tests.

    Returns:
        How many; `MAX_CLUSTERS` if it takes that many or more.
    """
    low, high = 0, MAX_CLUSTERS
    while high - low > 1:
        middle = (low + high) // 2
        reached = _clean_log_capital(tuning, -math.inf, middle, largest=largest, target=target, delta=delta)
        low, high = (low, middle) if reached >= math.log(1.0 / delta) else (middle, high)
    return high


def select(
    stakes: tuple[Stake, ...],
    rows: Rows,
    is_error: NDArray[np.bool_],
    *,
    largest: int,
    target: float,
    delta: float,
) -> tuple[Tested, ...]:
    """Test thresholds in their order until the first that is not rejected.

    Args:
        stakes: From `lay_down`.
        rows: Calibration rows, cut.
        is_error: bool [rows], whether the answer was wrong.
        largest: Most rows of a cluster.
        target: The error share to stay below.
        delta: Level of the tests.

    Returns:
        As `selection.select`.
    """
    tested: list[Tested] = []
    for stake, found in zip(
        stakes, counts(stakes, rows, is_error, largest=largest, target=target, delta=delta), strict=True
    ):
        n_kept, k_errors = found.totals
        p_value = evidence.p_value(found, k_errors, n_kept, target)
        tested.append(Tested(stake.threshold, n_kept, k_errors, p_value, p_value <= delta, found))
        if not tested[-1].is_rejected:
            break
    return tuple(tested)


def counts(
    stakes: tuple[Stake, ...],
    rows: Rows,
    is_error: NDArray[np.bool_],
    *,
    largest: int,
    target: float,
    delta: float,
) -> Generator[Clusters, None, None]:
    """Count clusters by what they keep and get wrong, at each threshold in turn.

    Args:
        stakes: From `lay_down`.
        rows: Calibration rows, cut.
        is_error: bool [rows], whether the answer was wrong.
        largest: Most rows of a cluster.
        target: The error share to stay below.
        delta: Level of the tests.

    Yields:
        The evidence at one threshold.
    """
    wrong = Rows(rows.scores[is_error], rows.clusters[is_error], rows.n_clusters)
    for stake in stakes:
        pairs = rows.kept(stake.threshold) * (largest + 1) + wrong.kept(stake.threshold)
        kinds, times = np.unique(pairs, return_counts=True)
        triples = zip((kinds // (largest + 1)).tolist(), (kinds % (largest + 1)).tolist(), times.tolist(), strict=True)
        yield Clusters(tuple(triples), largest, stake.bets(largest, target, delta))


def _stake(tuning: Rows, threshold: float, n_calibration: int, largest: int) -> Stake:
    return Stake(threshold, float(tuning.kept(threshold).mean()) / largest * n_calibration)


def _clean_log_capital(
    tuning: Rows, threshold: float, n_clusters: int, *, largest: int, target: float, delta: float
) -> float:
    """Log of what the bets would make of n clusters like the tuning ones, without an error."""
    bets = _stake(tuning, threshold, n_clusters, largest).bets(largest, target, delta)
    gains = target * tuning.kept(threshold) / ((1.0 - target) * largest)
    logs = np.log1p(np.outer(bets, gains)).mean(axis=1) * n_clusters
    top = float(logs.max())
    return top + math.log(float(np.exp(logs - top).mean()))
