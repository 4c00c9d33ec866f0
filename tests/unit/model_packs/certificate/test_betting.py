"""The bets: what they win, and that they win too much too seldom."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_packs.certificate import betting, binomial


def p_value_of(row: tuple[int, ...], rate: float) -> float:
    """The p-value of errors at given places."""
    places = [place for place, is_wrong in enumerate(row, start=1) if is_wrong]
    return betting.ordered_p_value(len(places), len(row), places[-1] if places else 0, rate)


@pytest.mark.parametrize(("n_rows", "percent"), [(1, 30), (6, 5), (9, 20), (11, 50)])
def test_the_chance_of_a_small_p_value_is_exactly_as_small(n_rows: int, percent: int) -> None:
    """Over all samples, the p-values up to any of them have a probability of exactly that p-value."""
    rate = Fraction(percent, 100)
    chances: dict[float, Fraction] = {}
    for row in itertools.product((0, 1), repeat=n_rows):
        value = round(p_value_of(row, float(rate)), 12)
        chances[value] = chances.get(value, Fraction(0)) + rate ** sum(row) * (1 - rate) ** (n_rows - sum(row))

    total = Fraction(0)
    for value in sorted(chances):
        total += chances[value]
        assert float(total) == pytest.approx(value, rel=1e-9)


@settings(deadline=None)
@given(st.data(), st.integers(1, 3000), st.floats(1e-4, 0.9))
def test_the_bet_is_never_below_the_exact_test(data: st.DataObject, trials: int, rate: float) -> None:
    """Whatever the order, the p-value lies between the exact one of one error fewer and that of its own errors."""
    errors = data.draw(st.integers(0, trials))
    last = 0 if errors == 0 else data.draw(st.integers(errors, trials))

    value = betting.ordered_p_value(errors, trials, last, rate)

    assert value <= binomial.lower_tail(errors, trials, rate)
    assert value >= (binomial.lower_tail(errors - 1, trials, rate) if errors else value)


@pytest.mark.parametrize(("errors", "trials", "last"), [(2, 10, 1), (0, 10, 3), (1, 10, 0), (3, 10, 11)])
def test_places_that_cannot_be_are_refused(errors: int, trials: int, last: int) -> None:
    """The last of k errors is row k at the earliest."""
    with pytest.raises(ValueError, match="cannot be row"):
        betting.ordered_p_value(errors, trials, last, 0.1)


@settings(deadline=None)
@given(st.floats(1.0, 1e5), st.floats(1e-3, 0.5), st.floats(1e-6, 0.5))
def test_the_aimed_bet_reaches_the_goal_with_the_most_failures(units: float, rate: float, delta: float) -> None:
    """At the share of failures that it is aimed at, the bet makes exactly 1 / delta, and another bet makes less."""
    bet = betting.aimed_bet(units, rate, delta)
    assert 0.0 < bet <= 1.0
    if bet < 1.0:
        share = rate * (1.0 - bet)

        def made(stake: float) -> float:
            gain = (1.0 - share) * math.log1p(stake * rate / (1.0 - rate))
            return units * (gain + share * math.log1p(-stake))

        assert made(bet) == pytest.approx(math.log(1.0 / delta), rel=1e-6)
        assert made(bet) >= max(made(bet * 0.9), made(bet + 0.1 * (1.0 - bet))) - 1e-9


def test_without_hope_everything_is_staked() -> None:
    """Where not even no failure would do, the bet is all of it."""
    assert betting.aimed_bet(10.0, 0.05, 0.05) == 1.0


@pytest.mark.parametrize("bets", [(1.0,), (0.4, 1.0)])
def test_in_an_even_game_the_capital_is_expected_to_stay(bets: tuple[float, ...]) -> None:
    """Over all outcomes of a few clusters whose rows fail as often as the rate, the mean capital is 1 exactly."""
    kept, rate = [3, 0, 2], 0.2
    expected = 0.0
    for wrong in itertools.product(*(range(n + 1) for n in kept)):
        chance = math.prod(math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for n, k in zip(kept, wrong, strict=True))
        made = betting.capital(
            np.array(kept), np.array(wrong), np.ones(3, dtype=np.int64), largest=3, bets=bets, rate=rate
        )
        expected += chance * made

    assert expected == pytest.approx(1.0)


def test_a_lost_stake_is_lost_and_a_large_one_does_not_overflow() -> None:
    """A cluster that is wrong as a whole ends the bet of everything; a thousand clean ones give more than a double."""
    one, many = np.array([1]), np.array([100_000])
    assert betting.capital(one * 4, one * 4, one, largest=4, bets=(1.0,), rate=0.05) == 0.0
    assert betting.capital(one * 4, one * 0, many, largest=4, bets=(1.0,), rate=0.05) == math.inf


def test_a_cluster_above_the_bound_is_refused() -> None:
    """A sum that is not bounded as said could leave the gambler in debt."""
    with pytest.raises(ValueError, match="keeps 5 rows, though 4"):
        betting.capital(np.array([5]), np.array([0]), np.array([1]), largest=4, bets=(1.0,), rate=0.05)
