"""Who is drawn: a fixed random sample that depends on nothing but the device's secret and the window's name."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.audit_lottery import KEY_BYTES, is_drawn
from edge_agent.core.prediction import prediction_id
from protos.messages.escalation import PredictionId

KEY = bytes(range(KEY_BYTES))
NAMES = [prediction_id("press-07", "motion", "a", n, n + 1) for n in range(20_000)]


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.5])
def test_the_share_that_is_drawn_is_the_rate(rate: float) -> None:
    """Within four standard errors over 20,000 windows in a row, whose names differ in the last digits only."""
    share = sum(is_drawn(KEY, name, rate) for name in NAMES) / len(NAMES)
    assert abs(share - rate) < 4 * math.sqrt(rate * (1 - rate) / len(NAMES))


def test_nobody_at_0_and_everybody_at_1() -> None:
    """The ends are exact."""
    assert not any(is_drawn(KEY, name, 0.0) for name in NAMES[:200])
    assert all(is_drawn(KEY, name, 1.0) for name in NAMES[:200])


@given(st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES), st.sampled_from(NAMES), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_rate_draws_the_same_windows_and_more(
    key: bytes, name: PredictionId, one: float, other: float
) -> None:
    """So a change of the rate takes nothing out of the sample, and a repeated window is drawn again."""
    low, high = sorted((one, other))
    assert is_drawn(key, name, low) <= is_drawn(key, name, high)
    assert is_drawn(key, name, high) == is_drawn(key, name, high)


def test_devices_draw_independently() -> None:
    """Two secrets agree on about rate squared of the windows, as independent draws do."""
    both = sum(is_drawn(KEY, name, 0.5) and is_drawn(KEY[::-1], name, 0.5) for name in NAMES) / len(NAMES)
    assert abs(both - 0.25) < 4 * math.sqrt(0.25 * 0.75 / len(NAMES))


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_is_a_probability(rate: float) -> None:
    """Everything else is refused by name."""
    with pytest.raises(ValueError, match="probability"):
        is_drawn(KEY, NAMES[0], rate)


def test_the_key_has_a_fixed_length() -> None:
    """A short one would be no secret."""
    with pytest.raises(ValueError, match="32 bytes"):
        is_drawn(b"short", NAMES[0], 0.5)
