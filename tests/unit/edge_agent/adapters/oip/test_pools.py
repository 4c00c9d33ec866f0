"""The pool of calls: every call runs, whatever the ones before did, and the end waits for what was submitted."""

import threading

import pytest

from edge_agent.adapters.oip.pools import CallPool


def test_every_call_runs_and_the_end_waits_for_them() -> None:
    """What was submitted before the end is done by it."""
    pool = CallPool(3, "calls")
    pool.begin()
    done: list[int] = []
    for number in range(50):
        assert pool.submit(done.append, number).done()
    pool.shutdown()
    assert sorted(done) == list(range(50))


def test_a_call_that_raises_costs_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and its thread takes the next call."""
    pool = CallPool(1, "calls")
    pool.begin()

    def fails() -> None:
        raise ValueError("a fault")

    is_done = threading.Event()
    pool.submit(fails)
    pool.submit(is_done.set)
    assert is_done.wait(30.0)
    pool.shutdown()
    assert "call_thread_failed" in caplog.text


def test_a_pool_that_never_began_ends_at_once() -> None:
    """Nothing waits for threads that are not there."""
    CallPool(2, "calls").shutdown()
