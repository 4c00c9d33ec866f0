"""How much of a blob is asked for at once."""

import pytest

from edge_agent.core.ranges import LEAST_BYTES, MOST_BYTES, RangeSize


@pytest.mark.parametrize("line_bytes_per_s", [8_000, 100_000, 10_000_000])
def test_a_range_becomes_what_the_line_brings_in_a_few_seconds(line_bytes_per_s: int) -> None:
    """Between the least and the most that is ever asked for; then it stays."""
    size = RangeSize()
    for _ in range(20):
        size.came(size.bytes / line_bytes_per_s)
    settled = size.bytes
    size.came(settled / line_bytes_per_s)
    assert size.bytes == settled
    assert settled == MOST_BYTES or settled / line_bytes_per_s <= 4.0
    assert settled == MOST_BYTES or settled / line_bytes_per_s >= 2.0


def test_a_line_that_becomes_slow_is_asked_for_less() -> None:
    """And never for less than the least."""
    size = RangeSize()
    sizes = []
    for _ in range(5):
        size.came(60.0)
        sizes.append(size.bytes)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == LEAST_BYTES


def test_a_broken_range_is_followed_by_the_least() -> None:
    """It may have broken because it was too much for the line."""
    size = RangeSize()
    size.came(0.01)
    size.broke()
    assert size.bytes == LEAST_BYTES
