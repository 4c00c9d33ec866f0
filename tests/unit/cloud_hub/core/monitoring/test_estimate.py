"""How large a risk is: exact for what was escalated, with an honest interval for what only audits know."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.core.monitoring.estimate import Escalated, Kept, edge_risk, kept_risk


def test_all_windows_audited_leave_no_doubt() -> None:
    """Then the interval is one point."""
    found = kept_risk(Kept(windows=40, audited=40, losses=3))
    assert (found.value, found.low, found.high) == (3 / 40, 3 / 40, 3 / 40)


def test_without_an_audit_everything_is_possible() -> None:
    """Unknown is shown as unknown."""
    found = kept_risk(Kept(windows=40, audited=0, losses=0))
    assert (found.value, found.low, found.high, found.n) == (None, 0.0, 1.0, 0)


@pytest.mark.parametrize(("population", "share"), list(product((12, 20), (0.0, 0.1, 0.35, 1.0))))
def test_the_interval_holds_the_truth_as_often_as_it_says(population: int, share: float) -> None:
    """Over all samples of a small field, weighted by how likely they are, the miss is at most 5 %."""
    losses, n = round(population * share), 6
    random = np.random.default_rng(3)
    field = np.arange(population) < losses
    held = [
        (found := kept_risk(Kept(population, n, int(random.permutation(field)[:n].sum())))).low * population - 1e-9
        <= losses
        <= found.high * population + 1e-9
        for _ in range(400)
    ]
    assert np.mean(held) >= 0.95


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 400))
def test_the_interval_holds_its_own_best_guess(losses: int, right: int, unseen: int) -> None:
    """The value lies inside, and fewer unseen windows never widen it beyond [0, 1]."""
    kept = Kept(losses + right + unseen, losses + right, losses)
    found = kept_risk(kept)
    assert 0.0 <= found.low <= found.high <= 1.0
    if found.value is not None:
        assert found.low <= found.value <= found.high


def test_a_lost_audit_widens_the_interval_both_ways() -> None:
    """It may have been right or wrong: nothing is assumed of it."""
    whole, torn = kept_risk(Kept(500, 50, 3)), kept_risk(Kept(500, 45, 3, lost=5))
    assert torn.low <= whole.low
    assert torn.high > whole.high
    only_lost = kept_risk(Kept(500, 0, 0, lost=5))
    assert only_lost.value is None
    assert only_lost.high == 1.0


def test_counts_that_overtake_each_other_are_no_contradiction() -> None:
    """Audits may be heard of before the heartbeat that counts their windows."""
    assert kept_risk(Kept(windows=3, audited=5, losses=5)).value == 1.0


def test_escalated_windows_are_counted_and_kept_ones_estimated() -> None:
    """The sum of both strata in their shares, not the mean of all labels."""
    found = edge_risk(Kept(900, 90, 9), Escalated(100, 100, 50))
    assert found.value == pytest.approx((90 + 50) / 1000)
    assert found.n == 190
    assert found.low < 0.14 < found.high
    alone = edge_risk(Kept(0, 0, 0), Escalated(100, 100, 50))
    assert (alone.value, alone.low, alone.high) == (0.5, 0.5, 0.5)


def test_unanswered_escalations_are_bracketed() -> None:
    """Nobody knows whether the edge was right about them."""
    found = edge_risk(Kept(0, 0, 0), Escalated(100, 80, 40))
    assert (found.low, found.high) == (0.4, 0.6)
    assert found.value == 0.5


def test_a_stratum_nobody_looked_at_leaves_no_best_guess() -> None:
    """Escalated labels alone say nothing of what was kept, nor audits of what was escalated."""
    assert edge_risk(Kept(100, 0, 0), Escalated(10, 10, 5)).value is None
    assert edge_risk(Kept(100, 10, 5), Escalated(10, 0, 0)).value is None
    assert edge_risk(Kept(0, 0, 0), Escalated(0, 0, 0)).value is None


def test_what_was_short_of_budget_is_a_stratum_of_its_own() -> None:
    """Its sample is weighed by its windows, and two samples err together with no more than one."""
    kept, short = Kept(700, 70, 7), Kept(200, 20, 10)
    found = edge_risk(kept, Escalated(100, 100, 50), suppressed=short)
    assert found.value == pytest.approx((70 + 50 + 100) / 1000)
    assert found.n == 190
    wide = [kept_risk(one, 0.975) for one in (kept, short)]
    assert found.low == pytest.approx((wide[0].low * 700 + wide[1].low * 200 + 50) / 1000)
    assert found.high == pytest.approx((wide[0].high * 700 + wide[1].high * 200 + 50) / 1000)
    assert edge_risk(kept, Escalated(100, 100, 50), suppressed=Kept(200, 0, 0)).value is None


def test_no_escalation_at_all_leaves_the_kept() -> None:
    """A policy that keeps everything is its kept stratum."""
    kept = Kept(100, 100, 7)
    assert edge_risk(kept, Escalated(0, 0, 0)).value == kept_risk(kept).value
