"""Owns what audits say against a certificate: an e-process for *void* and an e-CUSUM for *change*, of Bernoulli losses.

Both bet on the same finite mixture of alternatives to "the risk is at most the target". What counts as a loss, which
alarms follow and what is done about them is `watch`; how large the risk is, is `estimate`.

For one alternative p > target, the factor of one audit is p / target after a loss and (1 - p) / (1 - target) otherwise.
Its expectation given the past is at most 1 as long as the loss probability given the past is at most the target. That
is the assumption, and it is about windows drawn for an audit, which lie about 1 / audit rate apart.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

N_ALTERNATIVES: Final = 32
_LOG_CAP: Final = 700.0
"""exp of it is still a float; evidence beyond is the same evidence."""


def log_e_value(n: int, losses: int, target: float) -> float:
    """The e-process of "the risk is at most the target", after n audits of which some were losses.

    E_n = mean over j of (p_j / target)^losses ((1 - p_j) / (1 - target))^(n - losses): the method of mixtures (Robbins
    1970, "Statistical methods related to the law of the iterated logarithm"), which is the capital of a gambler with a
    spread of fixed bets (Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting", §4).
    Under the hypothesis it is a non-negative supermartingale from 1, so by Ville's inequality it ever reaches
    1 / delta with probability at most delta, however often one looks. It depends on the counts only, so losses may
    be told in any order, if whether and when they are told does not depend on what they are.

    Args:
        n: Audits with a known outcome.
        losses: Of them.
        target: The risk that the certificate promises, strictly between 0 and 1.

    Returns:
        Its natural logarithm.

    Raises:
        ValueError: The counts or the target are out of range.
    """
    _check(n, losses, target)
    return _log_mean_exp(losses * _gain(target) + (n - losses) * _price(target))


def is_refuted(n: int, losses: int, target: float, level: float) -> bool:
    """Whether audits refute "the risk is at most the target".

    Args:
        n: Audits with a known outcome.
        losses: Of them.
        target: Strictly between 0 and 1.
        level: Chance of a false alarm over the whole life of the process: delta of this group.

    Returns:
        True when the e-process stands at 1 / level or above.
    """
    return log_e_value(n, losses, target) >= -math.log(level)


def audits_to_refute(target: float, level: float, risk: float) -> int | None:
    """How many audits it takes to refute a target when everything goes as expected.

    Args:
        target: Strictly between 0 and 1.
        level: As in `is_refuted`.
        risk: What the risk really is.

    Returns:
        The number of audits after which the e-process, with `risk` losses an audit, first stands at 1 / level; None
        when the risk is not above the target, or more than a million would be needed.
    """
    if risk <= target:
        return None
    growth = risk * _gain(target) + (1 - risk) * _price(target)
    wanted, n = -math.log(level), 1
    while _log_mean_exp(n * growth) < wanted:
        n *= 2
        if n > _MAX_AUDITS:
            return None
    low, high = n // 2, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _log_mean_exp(middle * growth) >= wanted else (middle, high)
    return high


_MAX_AUDITS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Cusum:
    """The e-CUSUM of a stream, as far as it went.

    Attributes:
        logs: Natural logarithms of the alternatives' e-CUSUMs; empty before the first step.
    """

    logs: tuple[float, ...] = ()


UNBEGUN: Final = Cusum()


def advanced(cusum: Cusum, n: int, losses: int, target: float) -> Cusum:
    """Let an e-CUSUM see one more batch.

    M_t = max(M_(t-1), 1) * (factor of the batch), for each alternative; their mean is an e-detector (Shin, Ramdas &
    Rinaldo 2023, "E-detectors: a nonparametric framework for sequential change detection", Definition 2.4 and §2.3).
    As long as the risk is at most the target, stopping when it reaches L takes L steps or more on average. Nothing
    is said of how many of several alarms are false.

    Args:
        cusum: Until now.
        n: Windows of the batch, 1 for an audit; a batch is one step.
        losses: Of them.
        target: Strictly between 0 and 1.

    Returns:
        The e-CUSUM with the batch.

    Raises:
        ValueError: The counts or the target are out of range.
    """
    _check(n, losses, target)
    before = np.asarray(cusum.logs) if cusum.logs else np.zeros(N_ALTERNATIVES)
    after = np.maximum(before, 0.0) + losses * _gain(target) + (n - losses) * _price(target)
    return Cusum(tuple(np.clip(after, -_LOG_CAP, _LOG_CAP).tolist()))


def has_changed(cusum: Cusum, run_length: float) -> bool:
    """Whether an e-CUSUM tells a change.

    Args:
        cusum: As it stands.
        run_length: Steps that a false alarm takes on average, at the least.

    Returns:
        True when the mean of the alternatives reaches the run length.
    """
    return bool(cusum.logs) and _log_mean_exp(np.asarray(cusum.logs)) >= math.log(run_length)


def _alternatives(target: float) -> NDArray[np.float64]:
    """float64 [alternatives], evenly spread over (target, 1): no prior opinion on how bad it got."""
    return target + (1.0 - target) * (np.arange(N_ALTERNATIVES) + 0.5) / N_ALTERNATIVES


@lru_cache(maxsize=256)
def _gain(target: float) -> NDArray[np.float64]:
    return np.log(_alternatives(target) / target)


@lru_cache(maxsize=256)
def _price(target: float) -> NDArray[np.float64]:
    return np.log((1.0 - _alternatives(target)) / (1.0 - target))


def _log_mean_exp(logs: NDArray[np.float64]) -> float:
    largest = float(logs.max())
    return largest + math.log(float(np.exp(logs - largest).mean()))


def _check(n: int, losses: int, target: float) -> None:
    if not 0 <= losses <= n:
        raise ValueError(f"losses lie between 0 and the {n} audits, not {losses}")
    if not 0.0 < target < 1.0:
        raise ValueError(f"a target lies strictly between 0 and 1, not {target}")
