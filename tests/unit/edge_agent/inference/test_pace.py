"""Which runs are short: told by the last ones of their size."""

import pytest

from edge_agent.inference.pace import QUICK_S, Pace

SLOW_S = 2 * QUICK_S


def test_a_run_that_nobody_has_seen_is_not_quick() -> None:
    """The first one tells; of another size, another first one."""
    pace = Pace()
    assert not pace.is_quick(64)
    pace.note(64, 0.0)
    assert pace.is_quick(64)
    assert pace.is_quick(100)
    assert not pace.is_quick(6400)


@pytest.mark.parametrize(("slow", "quick"), [(1, 1), (2, 2), (3, 3), (50, 3)])
def test_slow_runs_count_until_as_many_were_quick(slow: int, quick: int) -> None:
    """One that was held up by something else costs one change of threads; a model that got slow stays where it is."""
    pace = Pace()
    pace.note(64, 0.0)
    for _ in range(slow):
        pace.note(64, SLOW_S)
    for _ in range(quick):
        assert not pace.is_quick(64)
        pace.note(64, 0.0)
    assert pace.is_quick(64)
