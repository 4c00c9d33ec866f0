"""Who finds no place, or cannot be answered in time, is told at once."""

import pytest

from cloud_hub.core.serving.admission import Bounds, Reason, Waiting, refusal, retry_after_s
from cloud_hub.core.serving.run_times import RunTimes

BOUNDS = Bounds(rows=10, per_caller=3)


@pytest.mark.parametrize(
    ("now", "rows", "left_s", "reason"),
    [
        (Waiting(9, 2, 0.1, 0.1), 1, None, None),
        (Waiting(9, 2, 0.1, 0.1), 2, None, Reason.FULL),
        (Waiting(0, 0, 0.0, 0.1), 99, None, None),
        (Waiting(3, 3, 0.1, 0.1), 1, None, Reason.CALLER_FULL),
        (Waiting(5, 0, 0.3, 0.1), 1, 0.5, None),
        (Waiting(5, 0, 0.3, 0.1), 1, 0.35, Reason.TOO_LATE),
        (Waiting(0, 0, 0.0, 0.1), 1, 0.05, Reason.TOO_SHORT),
        (Waiting(0, 0, 0.0, 0.0), 1, 0.0, Reason.TOO_SHORT),
    ],
)
def test_a_request_is_let_in_or_refused_for_a_reason(
    now: Waiting, rows: int, left_s: float | None, reason: Reason | None
) -> None:
    """Bounds first; then what waits before it, and its own run, against its deadline."""
    assert refusal(BOUNDS, now, rows, left_s) is reason


@pytest.mark.parametrize(("wait_s", "after_s"), [(0.0, 0.005), (0.2, 0.2), (900.0, 60.0)])
def test_the_time_to_retry_is_what_waits_within_bounds(wait_s: float, after_s: float) -> None:
    """Neither at once nor in an hour."""
    assert retry_after_s(wait_s) == after_s


def test_run_times_are_learnt_by_size_and_guessed_in_proportion() -> None:
    """Known sizes are smoothed; an unknown one takes in proportion where it is larger, and no less where smaller."""
    times = RunTimes()
    assert times.run_s(4) == 0.0
    times.note(4, 8_000_000)
    assert times.run_s(4) == times.run_s(1) == pytest.approx(0.008)
    assert times.run_s(16) == pytest.approx(0.032)
    times.note(4, 16_000_000)
    assert times.run_s(4) == pytest.approx(0.009)


def test_a_wait_is_what_runs_before_shared_by_the_instances() -> None:
    """Ten windows in batches of four: two full runs and a rest; half a run is still going on when all are busy."""
    times = RunTimes()
    times.note(4, 10_000_000)
    times.note(2, 6_000_000)
    assert times.wait_s(10, 4, 1, is_busy=False) == pytest.approx(0.026)
    assert times.wait_s(10, 4, 2, is_busy=True) == pytest.approx((0.026 + 0.005) / 2)
    assert times.wait_s(0, 4, 1, is_busy=False) == 0.0
