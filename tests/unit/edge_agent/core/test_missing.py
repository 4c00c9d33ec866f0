"""Holes are filled from the window's own values."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.core.missing import Missing, fill_holes

NAN = float("nan")


def column(*values: float) -> NDArray[np.float32]:
    """One channel."""
    return np.array(values, np.float32)[:, None]


@pytest.mark.parametrize(
    ("policy", "filled"),
    [
        (Missing.HOLD, [2.0, 2.0, 2.0, 2.0, 8.0, 8.0]),
        (Missing.LINEAR, [2.0, 2.0, 4.0, 6.0, 8.0, 8.0]),
    ],
)
def test_holes_are_filled_by_policy(policy: Missing, filled: list[float]) -> None:
    """Inside, at the start and at the end; the given array stays as it is."""
    values = column(NAN, 2.0, NAN, NAN, 8.0, NAN)
    found = fill_holes(values, policy)
    assert found is not None
    assert found[:, 0].tolist() == filled
    assert np.isnan(values).sum() == 4


def test_a_window_without_holes_is_copied() -> None:
    """The receiver owns what it gets."""
    values = column(1.0, 2.0)
    found = fill_holes(values, Missing.REJECT)
    assert found is not None
    assert not np.shares_memory(found, values)


@pytest.mark.parametrize("values", [column(1.0, NAN)])
def test_reject_fills_nothing(values: NDArray[np.float32]) -> None:
    """Any hole is one too many."""
    assert fill_holes(values, Missing.REJECT) is None


def test_a_channel_without_values_cannot_be_filled() -> None:
    """There is nothing to hold."""
    values = np.hstack([column(1.0, 2.0), column(NAN, NAN)])
    assert fill_holes(values, Missing.HOLD) is None
