"""What asking the hub buys: the cost curve and its bounds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_packs.calibration.cascade import bounds, cost_curve

ROWS = st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.booleans()), min_size=1, max_size=40)


def test_the_curve_by_hand() -> None:
    """Four rows: asking about the lowest helps, about the next harms."""
    curve = cost_curve([0.1, 0.3, 0.3, 0.9], [False, True, False, True], [True, False, False, True])

    assert curve.threshold.tolist() == [0.1, 0.3, 0.9, np.inf]
    assert curve.escalated.tolist() == [0.0, 0.25, 0.75, 1.0]
    assert curve.accuracy.tolist() == [0.5, 0.75, 0.5, 0.5]
    assert curve.kept_risk[:3].tolist() == [0.5, pytest.approx(1 / 3), 0.0]
    assert np.isnan(curve.kept_risk[3])
    assert curve.least_escalated(0.75) == 0.25
    assert curve.threshold_for(0.75) == 0.3
    assert curve.least_escalated(0.8) is None
    assert curve.threshold_for(0.8) is None
    assert curve.accuracy_at(0.125) == pytest.approx(0.625)
    assert curve.mean_accuracy == pytest.approx(0.25 * 0.625 + 0.5 * 0.625 + 0.25 * 0.5)


@given(ROWS)
def test_every_point_of_the_curve_is_what_its_threshold_gives(rows: list[tuple[int, bool, bool]]) -> None:
    """Counted again row by row, and no point lies above the oracle's bound."""
    score, edge, hub = (np.array(column) for column in zip(*rows, strict=True))
    curve = cost_curve(score, edge, hub)
    limits = bounds(edge, hub)

    for threshold, escalated, accuracy in zip(curve.threshold, curve.escalated, curve.accuracy, strict=True):
        kept = score >= threshold
        assert escalated == pytest.approx((~kept).mean())
        assert accuracy == pytest.approx(np.where(kept, edge, hub).mean())
        assert accuracy <= limits.oracle_accuracy(escalated) + 1e-9
    assert (curve.accuracy[0], curve.accuracy[-1]) == (pytest.approx(limits.edge), pytest.approx(limits.hub))


@given(ROWS)
def test_no_rule_needs_less_than_the_oracle(rows: list[tuple[int, bool, bool]]) -> None:
    """For the hub's accuracy, whatever the score."""
    score, edge, hub = (np.array(column) for column in zip(*rows, strict=True))
    limits = bounds(edge, hub)
    least, oracle = cost_curve(score, edge, hub).least_escalated(limits.hub), limits.oracle_least(limits.hub)
    assert least is not None
    assert oracle is not None
    assert oracle <= least + 1e-9


def test_the_bounds_by_hand() -> None:
    """Ten rows, edge right in 6, hub in 8, three gains (so one harm)."""
    edge = [True] * 6 + [False] * 4
    hub = [False] + [True] * 5 + [True] * 3 + [False]
    limits = bounds(edge, hub)

    assert (limits.n_edge_right, limits.n_hub_right, limits.n_gains) == (6, 8, 3)
    assert limits.oracle_least(0.8) == pytest.approx(0.2)
    assert limits.oracle_least(0.9) == pytest.approx(0.3)
    assert limits.oracle_least(0.95) is None
    assert limits.oracle_least(0.5) == 0.0
    assert limits.random_least(0.7) == pytest.approx(0.5)
    assert limits.random_least(0.6) == 0.0
    assert limits.random_least(0.81) is None
    assert [limits.oracle_accuracy(share) for share in (0.0, 0.3, 0.9, 1.0)] == pytest.approx([0.6, 0.9, 0.9, 0.8])
    assert limits.random_accuracy(0.5) == pytest.approx(0.7)


def test_rows_that_do_not_belong_together_are_refused() -> None:
    """Different lengths, none, and a score that is NaN."""
    with pytest.raises(ValueError, match="equally long"):
        cost_curve([0.1], [True, False], [True, False])
    with pytest.raises(ValueError, match="not empty"):
        cost_curve([], [], [])
    with pytest.raises(ValueError, match="not finite"):
        cost_curve([np.nan], [True], [True])
    with pytest.raises(ValueError, match="equally long"):
        bounds([True], [True, False])
