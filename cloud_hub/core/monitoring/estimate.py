"""Owns how large the risk of a policy is: the stratified estimate with its interval, and what is missing in it.

The windows of a policy are three strata. What it escalated was answered by the hub, so its losses are counted exactly.
Of what it kept, and of what it would have escalated had there been the budget, only those are known that the lottery
drew: uniform random samples without replacement, since it is decided before and independently of the answer. Taking the
labels together without their strata is wrong by construction: what is escalated is what the edge is bad at. Whether the
risk is above a target is `evidence`'s question.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of the windows that a policy kept.

    Attributes:
        windows: Kept, audited ones included.
        audited: With a known outcome.
        losses: Of the audited.
        lost: Audits that were drawn and have no outcome for ever.
    """

    windows: int
    audited: int
    losses: int
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Escalated:
    """What is known of the windows that a policy escalated.

    Attributes:
        windows: Escalated.
        answered: With a known outcome of the edge's own answer.
        losses: Of the answered.
    """

    windows: int
    answered: int
    losses: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share with its interval, all 0..1.

    Attributes:
        value: The best guess; None when nothing is known.
        low: Lower end of the interval.
        high: Upper end.
        confidence: Of the interval, over the draw of the audits.
        n: Outcomes that it rests on.
    """

    value: float | None
    low: float
    high: float
    confidence: float
    n: int


NOTHING: Final = Kept(0, 0, 0)
"""A stratum without a window."""

UNKNOWN: Final = Estimate(None, 0.0, 1.0, CONFIDENCE, 0)


def kept_risk(kept: Kept, confidence: float = CONFIDENCE) -> Estimate:
    """Estimate the share of losses among what a policy kept.

    The audited are a simple random sample of the kept, so their losses are hypergeometric; the interval inverts both
    exact tests (Wright 1991, "Exact confidence bounds when sampling from small finite universes"). Lost audits are
    bracketed: the lower end takes them all for right, the upper end for wrong.

    Args:
        kept: What is known. More audits than windows (the counts come by different ways) count as all windows.
        confidence: Of the interval, strictly between 0 and 1.

    Returns:
        The estimate; `UNKNOWN`'s numbers without an audit.
    """
    n = kept.audited + kept.lost
    if n == 0:
        return Estimate(None, 0.0, 1.0, confidence, 0)
    population = max(kept.windows, n)
    tail = (1.0 - confidence) / 2
    low = _lowest(population, n, kept.losses, tail) / population
    high = _highest(population, n, kept.losses + kept.lost, tail) / population
    value = kept.losses / kept.audited if kept.audited else None
    return Estimate(value, low, high, confidence, kept.audited)


def edge_risk(
    kept: Kept, escalated: Escalated, confidence: float = CONFIDENCE, *, suppressed: Kept = NOTHING
) -> Estimate:
    """Estimate the share of losses among everything that the edge answered, as if nobody had revised it.

    The sum of the strata: escalated windows exactly, the others by their samples (Cochran 1977, "Sampling Techniques",
    §5.3). Escalated windows without an answer are bracketed like lost audits. Where two strata are sampled, each
    interval errs with half of what all may err with.

    Args:
        kept: The kept stratum.
        escalated: The escalated one; more answers than windows count as all windows.
        confidence: Of the interval, strictly between 0 and 1.
        suppressed: What would have been escalated had there been the budget; `audited` are those that the lottery drew.

    Returns:
        The estimate; its value is None while a stratum that has windows has no outcome.
    """
    n_escalated = max(escalated.windows, escalated.answered)
    sampled = [(one, n) for one in (kept, suppressed) if (n := max(one.windows, one.audited + one.lost))]
    total = sum(n for _, n in sampled) + n_escalated
    if total == 0:
        return Estimate(None, 0.0, 1.0, confidence, 0)
    each = 1.0 - (1.0 - confidence) / max(len(sampled), 1)
    found = [(kept_risk(one, each), n) for one, n in sampled]
    unknown = n_escalated - escalated.answered
    return Estimate(
        _value(found, escalated, n_escalated, total),
        (sum(one.low * n for one, n in found) + escalated.losses) / total,
        (sum(one.high * n for one, n in found) + escalated.losses + unknown) / total,
        confidence,
        sum(one.n for one, _ in found) + escalated.answered,
    )


def _value(sampled: Sequence[tuple[Estimate, int]], escalated: Escalated, n_escalated: int, total: int) -> float | None:
    """All strata in their shares; None while one that has windows has no outcome."""
    values = [(one.value, n) for one, n in sampled]
    if n_escalated:
        values.append((escalated.losses / escalated.answered if escalated.answered else None, n_escalated))
    known = [value * n for value, n in values if value is not None]
    return sum(known) / total if len(known) == len(values) else None


def _lowest(population: int, n: int, losses: int, tail: float) -> int:
    """The fewest losses in the population under which so many in the sample are not too surprising."""
    low, high = losses - 1, population - (n - losses)  # no number at or below `low` is likely enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _upper_tail(population, middle, n, losses) > tail else (middle, high)
    return high


def _highest(population: int, n: int, losses: int, tail: float) -> int:
    """The most losses likewise: the mirror image, with right answers in the place of losses."""
    return population - _lowest(population, n, n - losses, tail)


def _upper_tail(population: int, marked: int, n: int, found: int) -> float:
    """P(X >= found) for X hypergeometric: n drawn without replacement, `marked` of the population count."""
    most = min(n, marked)
    logs = [
        _log_choose(marked, k) + _log_choose(population - marked, n - k)
        for k in range(max(found, n - (population - marked)), most + 1)
    ]
    all_ways = _log_choose(population, n)
    return min(1.0, math.fsum(math.exp(log - all_ways) for log in logs))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
