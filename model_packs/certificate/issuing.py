"""Whether a certificate is worth trying, where its sequence starts, and what it takes to be issued.

Delta bounds how often a draw of rows ends in a wrong certificate. This module is about another question: how many of
the certificates that are *issued* are wrong. No rule that ever issues one bounds that for every student (one that is a
hair worse than the target everywhere has wrong certificates only, and no rows tell it from one that is a hair better),
so tuning rows with known outcomes, which are independent of the calibration rows, say first what to expect:

    1. forecast = at each threshold, the chance that the first test there will be passed                 `forecast`
    2. start    = the strictest threshold with nine tenths of the best forecast; none below 1 in 50      `lay_down`
    3. entry    = the first test: level delta, and UNFIT times the target rejected at delta / RARITY
                  times what bets on the tuning rows made of 1                                           `Issuing`
    4. walk     = looser thresholds at level delta times the forecast squared                            `Issuing`

Wrong and issued together have a chance of delta at most, because start and levels are fixed before a calibration row is
looked at and no level is above delta. A student that is wrong in UNFIT times the target at every threshold is issued
one with a chance of delta / RARITY at most: given the tuning rows it is that times what the bets made, whose mean is 1
at most (of the rows that score above the one of rank j, each is wrong with that share, independently). Divided by the
chance to be issued one, delta times the forecast squared bounds how many of those issued at a sound start are wrong, as
long as the forecast is at most the root of the true chance: 0.3 where the truth is 0.09, say.

Certificates made by the `FORMER` rule (start at the best forecast itself, none below 1 in 20, half of the stake kept,
walk at the forecast) are read and computed again by that. They state no `Basis`.

The tests themselves are `selection`'s; the rule's figures over many draws are in docs/certificates.md.
"""

import functools
import math
import statistics
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_packs.certificate import binomial, selection

UNFIT: Final = 1.5
RARITY: Final = 1000.0
MOST_MADE: Final = 1000.0  # beyond it the second test of entry asks for no more than the first

LEAST_MADE: Final = 1e-100  # its logarithm is asked for
_LARGEST_LOG: Final = 700.0  # exp of it is a double
_NORMAL: Final = statistics.NormalDist()
_LONG: Final = 200  # from so many tails on, a search is quicker than a table


@dataclass(frozen=True, slots=True)
class Rule:
    """What a forecast is used for.

    Attributes:
        least_chance: Below this forecast nothing is tried.
        nearly_best: The start is the strictest threshold with this share of the best forecast.
        walk_power: Looser thresholds are tested at delta times the forecast to this power.
    """

    least_chance: float
    nearly_best: float
    walk_power: int


FORMER: Final = Rule(least_chance=0.05, nearly_best=1.0, walk_power=1)
PRESENT: Final = Rule(least_chance=0.02, nearly_best=0.9, walk_power=2)


@dataclass(frozen=True, slots=True)
class Basis:
    """What the bets on tuning rows and the first p-value follow from.

    Attributes:
        n_tune: Tuning rows.
        wrong: Wrong tuning rows between the thresholds of the grid (`selection.ranks`), the surest first: those above
            the first threshold's own row, then those from there to above the second's, and so on.
        last_error: Of the rows kept at the start, the place of the last error; None for the exact test.
    """

    n_tune: int
    wrong: tuple[int, ...]
    last_error: int | None


@dataclass(frozen=True, slots=True)
class Issuing:
    """What tuning rows said of a certificate before it was tried, and how its first test went.

    Attributes:
        chance: Forecast that the first test would be passed; where it is too low nothing is issued.
        made: What bets on the tuning rows made of 1, up to `MOST_MADE`.
        expected_kept: Calibration rows that were expected to be kept at the start.
        tune_kept: Tuning rows kept at the start.
        tune_wrong: Wrong ones among them.
        start_kept: Calibration rows kept at the start.
        start_wrong: Wrong ones among them.
        start_p_value: Of the first test.
        basis: What it all follows from; None in certificates made by the `FORMER` rule.
    """

    chance: float
    made: float
    expected_kept: int
    tune_kept: int
    tune_wrong: int
    start_kept: int
    start_wrong: int
    start_p_value: float
    basis: Basis | None = None

    @property
    def rule(self) -> Rule:
        """The rule that it was made by."""
        return FORMER if self.basis is None else PRESENT

    @property
    def is_tried(self) -> bool:
        """Whether the forecast is good enough to try."""
        return self.chance >= self.rule.least_chance

    def is_entered(self, target: float, delta: float) -> bool:
        """Whether the first test is passed.

        Args:
            target: The error share to stay below.
            delta: Level of the tests.

        Returns:
            True if a certificate is issued.
        """
        unfit = binomial.lower_tail(self.start_wrong, self.start_kept, unfit_rate(target))
        return self.is_tried and self.start_p_value <= delta and unfit <= entry_level(delta, self.made)

    def level(self, n_kept: int, delta: float) -> float:
        """The level that the threshold was tested at.

        Args:
            n_kept: Calibration rows kept at the threshold.
            delta: Level of the first test.

        Returns:
            Delta at the start, lower at looser thresholds.
        """
        return delta if n_kept == self.start_kept else self.walk_level(delta)

    def walk_level(self, delta: float) -> float:
        """The level that thresholds looser than the start are tested at.

        Args:
            delta: Level of the first test.

        Returns:
            Delta times the forecast, or its square.
        """
        return delta * float(self.chance**self.rule.walk_power)

    def problems(self, target: float, delta: float) -> list[str]:
        """Where the facts contradict each other.

        Args:
            target: The error share to stay below.
            delta: Level of the tests.

        Returns:
            The contradictions, in words.
        """
        if not (self.tune_wrong <= self.tune_kept and self.start_wrong <= self.start_kept):
            return ["more are wrong than kept at the start"]
        limit = entry_limit(self.expected_kept, target, delta, self.made)
        again = forecast(limit, self.expected_kept, self.tune_wrong, self.tune_kept)
        if not math.isclose(again, self.chance, rel_tol=1e-6, abs_tol=1e-9):
            return [f"the tuning rows forecast a chance of {again:.6g}, not {self.chance:.6g}"]
        return [] if self.basis is None else self._basis_problems(self.basis, target)

    def _basis_problems(self, basis: Basis, target: float) -> list[str]:
        """Where the bets on tuning rows, or the start, are not what the tuning rows say."""
        if not 0 < self.tune_kept <= basis.n_tune:
            return [f"{self.tune_kept} of {basis.n_tune} tuning rows are kept at the start"]
        ranks, above = _grid(basis.n_tune), np.cumsum(basis.wrong)
        if len(ranks) != len(basis.wrong) or min(basis.wrong) < 0 or (above > ranks - 1).any():
            return [f"that is not how {basis.n_tune} tuning rows lie between thresholds"]
        place = int(np.searchsorted(ranks, self.tune_kept, side="right"))  # of the first rank beyond the kept rows
        most = self.tune_kept if place == len(ranks) else int(above[place])
        least = 0 if place == 0 else int(above[place - 1])
        if not least <= self.tune_wrong <= most:
            return [f"of the tuning rows kept at the start {least} to {most} are wrong, not {self.tune_wrong}"]
        again = _made(above, ranks, target)
        if not math.isclose(again, self.made, rel_tol=1e-6):
            return [f"the bets on the tuning rows made {again:.6g}, not {self.made:.6g}"]
        return []


@dataclass(frozen=True, slots=True)
class Start:
    """Where a sequence starts, and what was expected of it.

    Attributes:
        thresholds: Falling, from the start on.
        chance: As in `Issuing`; so are the others.
        wrong: As in `Basis`.
    """

    thresholds: tuple[float, ...]
    chance: float
    made: float
    expected_kept: int
    tune_kept: int
    tune_wrong: int
    wrong: tuple[int, ...]


def unfit_rate(target: float) -> float:
    """The error share of a student that must hardly ever be issued a certificate.

    Args:
        target: The error share allowed.

    Returns:
        `UNFIT` times that, or half way to 1 where this is less.
    """
    return min(UNFIT * target, (1.0 + target) / 2.0)


def entry_level(delta: float, made: float) -> float:
    """The level at which entry rejects the unfit share.

    Args:
        delta: Level of the tests.
        made: What bets on tuning rows made of 1.

    Returns:
        At most delta.
    """
    return delta / RARITY * made


def entry_limit(n_kept: int, target: float, delta: float, made: float) -> int:
    """The most errors with which entry is passed.

    Args:
        n_kept: Kept rows.
        target: The error share to stay below.
        delta: Level of the tests.
        made: What bets on tuning rows made of 1.

    Returns:
        -1 if not even none would do.
    """
    limit, unfit, level = most_errors(n_kept, target, delta), unfit_rate(target), entry_level(delta, made)
    if limit < _LONG:
        return min(limit, bisect_right(_tails(n_kept, unfit, limit + 1), level) - 1)
    return min(limit, most_errors(n_kept, unfit, level))


@functools.lru_cache(maxsize=1 << 14)  # pure; a grid of thresholds asks for the same few counts again and again
def most_errors(n_kept: int, rate: float, level: float) -> int:
    """The most errors among the kept that the exact test rejects at a level.

    Args:
        n_kept: Kept rows.
        rate: Strictly between 0 and 1.
        level: Strictly between 0 and 1.

    Returns:
        From -1 (not even none) up.
    """
    if n_kept == 0 or level >= 1.0:
        return n_kept if level >= 1.0 else -1
    spread = math.sqrt(n_kept * rate * (1.0 - rate))
    guess = math.floor(n_kept * rate + spread * _NORMAL.inv_cdf(level))  # from there, by doubling steps, then halving
    low = high = min(max(guess, -1), n_kept - 1)
    step = 1
    while low >= 0 and binomial.lower_tail(low, n_kept, rate) > level:
        low, high, step = max(-1, low - step), low, 2 * step
    step = 1
    while high <= low or binomial.lower_tail(high, n_kept, rate) <= level:
        low, high, step = high, min(n_kept, high + step), 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if binomial.lower_tail(middle, n_kept, rate) <= level else (low, middle)
    return low


@functools.lru_cache(maxsize=1 << 16)
def forecast(limit: int, n_kept: int, tune_wrong: int, tune_kept: int) -> float:
    """The chance of at most `limit` errors among rows to come: beta-binomial with Beta(wrong + 1, kept - wrong).

    Args:
        limit: From -1 (no chance) up.
        n_kept: Rows to come.
        tune_wrong: Wrong ones among the rows seen.
        tune_kept: Rows seen.

    Returns:
        From 0 to 1; 0 where all rows seen are wrong.
    """
    if limit < 0 or tune_wrong >= tune_kept:
        return 0.0
    if limit >= n_kept:
        return 1.0
    a, b = tune_wrong + 1.0, float(tune_kept - tune_wrong)
    errors = np.arange(limit, dtype=np.float64)
    ratios = np.log((n_kept - errors) * (errors + a)) - np.log((errors + 1.0) * (n_kept - errors - 1.0 + b))
    first = math.lgamma(n_kept + b) + math.lgamma(a + b) - math.lgamma(n_kept + a + b) - math.lgamma(b)
    return min(1.0, float(np.exp(np.concatenate(([first], first + np.cumsum(ratios)))).sum()))


def lay_down(
    tune_scores: NDArray[np.float64],
    tune_is_error: NDArray[np.bool_],
    n_calibration: int,
    *,
    target: float,
    delta: float,
) -> Start:
    """Choose where to start, from tuning rows alone.

    Args:
        tune_scores: float64 [rows], finite; at least one. In the order drawn.
        tune_is_error: bool [rows].
        n_calibration: Calibration rows that the tests will see.
        target: The error share to stay below.
        delta: Level of the tests.

    Returns:
        The start; the strictest threshold where none has a chance.
    """
    order = np.argsort(-tune_scores, kind="stable")
    falling = tune_scores[order]
    n_tune = len(falling)
    ranks = _grid(n_tune)
    wrong = np.concatenate(([0], np.cumsum(tune_is_error[order])))
    above = wrong[ranks - 1]
    made = _made(above, ranks, target)
    thresholds = tuple(dict.fromkeys(falling[ranks - 1].tolist()))
    kept = np.searchsorted(-falling, -np.array(thresholds), side="right").tolist()
    expected = [n_calibration * count // n_tune for count in kept]
    found = [
        forecast(entry_limit(later, target, delta, made), later, int(wrong[count]), count)
        for later, count in zip(expected, kept, strict=True)
    ]
    good = PRESENT.nearly_best * max(found)
    place = next(place for place, chance in enumerate(found) if chance >= good)
    return Start(
        thresholds[place:],
        found[place],
        made,
        expected[place],
        kept[place],
        int(wrong[kept[place]]),
        tuple(np.diff(above, prepend=0).tolist()),
    )


def best_made(n_tune: int, target: float) -> float:
    """What the bets would make of tuning rows without an error.

    Args:
        n_tune: How many, at least 1.
        target: The error share to stay below.

    Returns:
        Up to `MOST_MADE`.
    """
    ranks = _grid(n_tune)
    return _made(np.zeros_like(ranks), ranks, target)


def _grid(n_tune: int) -> NDArray[np.int64]:
    """How many tuning rows the thresholds keep, rising."""
    return np.array(selection.ranks(n_tune, max(1, n_tune // selection.COVERAGE_STEPS)), dtype=np.int64)


def _made(wrong: NDArray[np.int64], ranks: NDArray[np.int64], target: float) -> float:
    """1 staked evenly over the thresholds: the likelihood of half the target to that of the unfit share.

    Of the rows above a threshold's own, each is wrong independently; so those are bet on. By the `FORMER` rule half of
    the stake was kept back; certificates made by that do not say what this follows from.
    """
    good, bad = target / 2.0, unfit_rate(target)
    logs = wrong * math.log(good / bad) + (ranks - 1 - wrong) * (math.log1p(-good) - math.log1p(-bad))
    return min(MOST_MADE, max(LEAST_MADE, float(np.exp(np.minimum(logs, _LARGEST_LOG)).mean())))


@functools.lru_cache(maxsize=1 << 14)
def _tails(n_kept: int, rate: float, count: int) -> tuple[float, ...]:
    """Lower tails of 0 to count - 1 errors, rising."""
    return tuple(binomial.lower_tail(errors, n_kept, rate) for errors in range(count))
