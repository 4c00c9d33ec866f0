"""Owns the ways of choosing a threshold that `bench_certificate` compares: ours, as a user calls it, and others'.

| rule | what it promises | published as |
|---|---|---|
| max probability at 0.8 | nothing | common practice |
| empirical risk | nothing | the loosest threshold whose measured risk is at most the target |
| normal (CLT) | about delta, for many errors | measured risk plus z standard errors at most the target |
| Hoeffding | delta | fixed sequence with Hoeffding's p-value, from a start with the power for it |
| SGR | delta | Geifman & El-Yaniv 2017, arXiv:1705.08500: binary search, delta split over its steps |
| reference | delta, of all draws | fixed sequence from the power start, exact binomial, tuning outcomes not used |
| CRC | the mean of wrong-and-kept | Angelopoulos et al. 2022, arXiv:2208.02814 |

CRC's promise is another one than the rest's: it bounds the average over deployments of the share that is wrong *and*
kept. It stands here because it is often taken for the same. Ours sees the outcomes of the tuning rows, too, as it does
when a user calls it; the others are given the calibration rows' only.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_packs.certificate import binomial, selection
from model_packs.certificate.certify import Promise, certify
from model_packs.certificate.errors import TooFewCases
from model_packs.certificate.selection import Method

RAW_THRESHOLD: Final = 0.8


@dataclass(frozen=True, slots=True)
class Levels:
    """What is asked for."""

    target: float
    delta: float


@dataclass(frozen=True, slots=True)
class Draw:
    """One draw of calibration rows, with tuning scores of other rows.

    Attributes:
        score: float64 [rows].
        is_error: bool [rows].
        tune_score: float64 [tuning rows].
        tune_is_error: bool [tuning rows].
    """

    score: NDArray[np.float64]
    is_error: NDArray[np.bool_]
    tune_score: NDArray[np.float64]
    tune_is_error: NDArray[np.bool_]

    def grid(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Falling thresholds a point of tuning coverage apart, with the kept and the wrong among them at each."""
        thresholds = selection.steps(np.sort(self.tune_score)[::-1], max(1, len(self.tune_score) // 100))
        n_kept, k_errors = selection.counts(thresholds, self.score, self.is_error)
        return np.array(thresholds), np.array(n_kept, dtype=np.float64), np.array(k_errors, dtype=np.float64)


Rule = Callable[[Draw, Levels], float | None]


def ours(method: Method, promise: Promise) -> Rule:
    """The product's own rule.

    Args:
        method: Which test of rows.
        promise: Of what delta is promised.

    Returns:
        The rule; too few rows are an abstention.
    """

    def rule(draw: Draw, levels: Levels) -> float | None:
        try:
            return certify(
                draw.score,
                ~draw.is_error,
                target=levels.target,
                delta=levels.delta,
                tune_scores=draw.tune_score,
                method=method,
                tune_correct=~draw.tune_is_error,
                promise=promise,
            ).threshold
        except TooFewCases:
            return None

    return rule


def raw(_draw: Draw, _levels: Levels) -> float | None:
    """Keep what is 80 % sure of itself."""
    return RAW_THRESHOLD


def empirical(draw: Draw, levels: Levels) -> float | None:
    """The loosest threshold whose measured risk is at most the target."""
    thresholds, n_kept, k_errors = draw.grid()
    return _loosest(thresholds, (n_kept > 0) & (k_errors <= levels.target * n_kept))


def normal(draw: Draw, levels: Levels) -> float | None:
    """The loosest threshold whose normal upper bound is at most the target."""
    thresholds, n_kept, k_errors = draw.grid()
    some = np.maximum(n_kept, 1.0)
    risk = k_errors / some
    z = statistics.NormalDist().inv_cdf(1.0 - levels.delta)
    return _loosest(thresholds, (n_kept > 0) & (risk + z * np.sqrt(risk * (1.0 - risk) / some) <= levels.target))


def hoeffding(draw: Draw, levels: Levels) -> float | None:
    """Fixed sequence with p = exp(-2 n (target - risk)^2), from where two errors could be rejected."""
    thresholds, n_kept, k_errors = draw.grid()
    margin = np.maximum(levels.target - k_errors / np.maximum(n_kept, 1.0), 0.0)
    is_rejected = 2.0 * n_kept * margin**2 >= math.log(1.0 / levels.delta)
    # n (target - 2 / n)^2 >= log(1 / delta) / 2, solved for n
    half = levels.target * 2.0 + math.log(1.0 / levels.delta) / 4.0
    needed = (half + math.sqrt(half**2 - 4.0 * levels.target**2)) / levels.target**2
    shares = np.searchsorted(np.sort(-draw.tune_score), -thresholds, side="right") / len(draw.tune_score)
    start = (
        int(np.argmax(shares * len(draw.score) >= needed)) if shares[-1] * len(draw.score) >= needed else len(shares)
    )
    tested = is_rejected[start:]
    n_rejected = int(np.argmin(tested)) if not tested.all() else len(tested)
    return float(thresholds[start + n_rejected - 1]) if n_rejected else None


def sgr(draw: Draw, levels: Levels) -> float | None:
    """Selection with guaranteed risk: binary search over the rows' own scores, each step at delta / steps."""
    falling = np.sort(draw.score)[::-1]
    n_rows = len(falling)
    n_steps = math.ceil(math.log2(n_rows))
    low, high, chosen = 1, n_rows, None
    for _ in range(n_steps):
        place = -(-(low + high) // 2)
        threshold = float(falling[place - 1])
        (n_kept,), (k_errors,) = selection.counts((threshold,), draw.score, draw.is_error)
        if binomial.lower_tail(k_errors, n_kept, levels.target) <= levels.delta / n_steps:
            low, chosen = place, threshold
        else:
            high = place
    return chosen


def crc(draw: Draw, levels: Levels) -> float | None:
    """Conformal risk control of the share that is wrong and kept."""
    thresholds, _, k_errors = draw.grid()
    return _loosest(thresholds, (k_errors + 1.0) / (len(draw.score) + 1.0) <= levels.target)


RULES: Final[dict[str, Rule]] = {
    "Tandem exact": ours("exact", "issued"),
    "Tandem betting": ours("betting", "issued"),
    "exact reference": ours("exact", "drawn"),
    "Hoeffding": hoeffding,
    "SGR": sgr,
    "normal (CLT)": normal,
    "empirical risk": empirical,
    "CRC": crc,
    "max prob 0.8": raw,
}


def _loosest(thresholds: NDArray[np.float64], is_allowed: NDArray[np.bool_]) -> float | None:
    places = np.flatnonzero(is_allowed)
    return float(thresholds[places[-1]]) if len(places) else None
