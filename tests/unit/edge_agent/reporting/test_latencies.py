"""How long answers took lately: the last minutes only, a bounded number, and nothing when there were none."""

import pytest

from edge_agent.reporting.latencies import MAX_ANSWERS, WINDOW_S, Latencies
from tests.unit.edge_agent.adapters.sqlite.builders import TestClock


@pytest.mark.parametrize(("answers", "p95_ms"), [([7.0], 7.0), (list(range(1, 101)), 95.0), ([1.0, 2.0], 2.0)])
def test_95_percent_took_at_most_so_long(answers: list[float], p95_ms: float) -> None:
    """The smallest time that at least 95 % of the answers did not exceed; bindings are told apart."""
    latencies = Latencies(TestClock())
    for latency_ms in answers:
        latencies.answered("motion", latency_ms)
        latencies.answered("other", 10_000.0)
    assert latencies.p95_ms("motion") == p95_ms


def test_old_answers_say_nothing() -> None:
    """After some minutes without an answer it is unknown, not as good as it was."""
    clock = TestClock()
    latencies = Latencies(clock)
    assert latencies.p95_ms("motion") is None
    latencies.answered("motion", 5.0)
    clock.pass_s(WINDOW_S)
    assert latencies.p95_ms("motion") == 5.0
    clock.pass_s(1.0)
    assert latencies.p95_ms("motion") is None


def test_only_the_latest_answers_are_kept() -> None:
    """However many there are."""
    latencies = Latencies(TestClock())
    for _ in range(MAX_ANSWERS):
        latencies.answered("motion", 1000.0)
    for _ in range(MAX_ANSWERS):
        latencies.answered("motion", 1.0)
    assert latencies.p95_ms("motion") == 1.0
