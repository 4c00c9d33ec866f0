"""Testing by betting: how much a gambler would have made who bets that the kept are wrong less often than the target.

Owns two bets against "of the kept, at least the share `rate` is wrong", and what their winnings prove. A gambler
starts with 1, may never owe, and stakes on each unit before seeing it. If the hypothesis is true, the game is unfair to
her: by Markov's inequality her capital ends at 1 / delta or more with a chance of at most delta (Waudby-Smith & Ramdas
2024, "Estimating means of bounded random variables by betting", arXiv:2010.15658; BARGAIN, arXiv:2509.02896, bets like
that for cascades).

*Rows, one by one.* With n rows to come, the stakes that most often end at 1 / delta are known: they pay out exactly on
the samples that the exact binomial test rejects, plus on as many samples with one error more as the level leaves room
for (Neyman & Pearson; the exact test wastes that room, because counts are whole). Which of those is told by the rows'
order: the ones whose last error came early. `ordered_p_value` is the inverse of that bet. It is never above the exact
binomial p-value of the same counts, so whatever that rejects, this rejects.

*Clusters.* Cluster c adds x_c = wrong_c - rate * kept_c, at most (1 - rate) * largest. The capital after all clusters
is the mean over the bets f of prod_c (1 - f x_c / ((1 - rate) * largest)). It does not depend on the clusters' order.
The bets are fixed from tuning rows: `aimed_bet` is the one that Chernoff's bound inverts for the number of clusters;
the bet of everything wins more where no cluster fails as a whole.

Which threshold is tested when is `selection`'s and `cluster_selection`'s business.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_packs.certificate import binomial

_HALVINGS: Final = 40  # bisection steps: a bet to twelve digits


def ordered_p_value(errors: int, trials: int, last_error: int, rate: float) -> float:
    """P((X, L) comes no later than (errors, last_error) in lexicographic order) for trials at error rate `rate`.

    X is the number of errors, L the place of the last one. Given X = k, all sets of k places are equally likely
    whatever the rate, so P(L <= l | X = k) = C(l, k) / C(n, k).

    Args:
        errors: From 0 to trials.
        trials: From 0 to a million.
        last_error: Place of the last error among the rows in the order drawn, counted from 1; 0 without errors.
        rate: Strictly between 0 and 1.

    Returns:
        From 0 to 1; at most `binomial.lower_tail(errors, trials, rate)`.

    Raises:
        ValueError: An argument is out of its range.
    """
    if not errors <= last_error <= trials or (last_error > 0) != (errors > 0):
        raise ValueError(f"the last of {errors} errors among {trials} cannot be row {last_error}")
    below_or_equal = binomial.lower_tail(errors, trials, rate)
    if errors == 0:
        return below_or_equal
    below = binomial.lower_tail(errors - 1, trials, rate)
    share = math.exp(_log_choose(last_error, errors) - _log_choose(trials, errors))
    return min(below_or_equal, below + (below_or_equal - below) * share)


def aimed_bet(units: float, rate: float, delta: float) -> float:
    """The one bet that bears the largest share of failing units and still reaches 1 / delta.

    It is 1 - b / rate, where the share b solves units * KL(b, rate) = log(1 / delta): Chernoff's bound, read backwards.

    Args:
        units: How many full units are expected; above 0.
        rate: Strictly between 0 and 1.
        delta: Strictly between 0 and 1.

    Returns:
        Above 0, at most 1; 1 when even no failure would not be enough.
    """
    wanted = math.log(1.0 / delta) / units
    low, high = 0.0, rate  # KL falls from -log(1 - rate) to 0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if divergence(middle, rate) > wanted else (low, middle)
    return 1.0 - low / rate


def capital(
    kept: NDArray[np.int64],
    wrong: NDArray[np.int64],
    times: NDArray[np.int64],
    *,
    largest: int,
    bets: Sequence[float],
    rate: float,
) -> float:
    """What the bets have made of 1.

    Args:
        kept: int [kinds], kept rows of a cluster; at most `largest`.
        wrong: int [kinds], wrong ones among them.
        times: int [kinds], how many clusters are like that.
        largest: Most rows that a cluster can have, fixed before the clusters were looked at.
        bets: Each above 0, at most 1.
        rate: Strictly between 0 and 1.

    Returns:
        At least 0; infinite where a double cannot hold it.

    Raises:
        ValueError: A cluster is larger than the largest: the bets could owe.
    """
    if len(kept) and int(kept.max()) > largest:
        raise ValueError(f"a cluster keeps {int(kept.max())} rows, though {largest} were said to be the most")
    gains = (rate * kept - wrong) / ((1.0 - rate) * largest)
    with np.errstate(divide="ignore", over="ignore"):  # the logarithm of a lost stake is -inf: capital 0
        logs = np.log1p(np.maximum(np.outer(bets, gains), -1.0)) @ times.astype(np.float64)
        return float(np.exp(logs).mean())


def divergence(share: float, rate: float) -> float:
    """How fast evidence against the rate grows when a share of errors below it is seen.

    Args:
        share: From 0 to below 1.
        rate: Strictly between 0 and 1.

    Returns:
        The Kullback-Leibler divergence of Bernoulli(share) from Bernoulli(rate), in nats a unit.
    """
    of_errors = share * math.log(share / rate) if share > 0.0 else 0.0
    return of_errors + (1.0 - share) * (math.log1p(-share) - math.log1p(-rate))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
