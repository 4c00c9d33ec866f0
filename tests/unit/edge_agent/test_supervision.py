"""A loop that fails is told of, backs off and goes on; it ends when it is asked to; one that has ended is noticed."""

import threading

from edge_agent.supervision import STALLED_S, Loop, ThreadWatch

DEADLINE_S = 10.0


def test_a_failing_loop_goes_on() -> None:
    """Each failed turn is counted by the loop's name, and the next one comes."""
    failures: list[str] = []
    went_on = threading.Event()
    turns = iter([True, True, False])

    def body() -> None:
        if next(turns, False):
            raise ValueError("a fault of ours")
        went_on.set()

    loop = Loop("reader", body, failures.append)
    loop.open()
    assert went_on.wait(DEADLINE_S)
    loop.close()
    loop.close()
    assert failures == ["reader", "reader"]
    assert not loop.is_alive


def test_a_failure_while_it_is_closed_is_no_failure() -> None:
    """What a loop works with may be gone before it: that is the end, not an error."""
    failures: list[str] = []
    in_body, closing = threading.Event(), threading.Event()

    def body() -> None:
        in_body.set()
        closing.wait(DEADLINE_S)
        raise ValueError("the store is closed")

    loop = Loop("reader", body, failures.append)
    loop.open()
    assert in_body.wait(DEADLINE_S)
    loop._stopping.set()
    closing.set()
    loop.close()
    assert failures == []


def test_a_loop_that_never_began_can_be_closed() -> None:
    """Closing is safe at any point of a start that failed."""
    Loop("reader", lambda: None, lambda name: None).close()  # noqa: ARG005 - nothing fails here


def test_a_thread_that_has_ended_is_a_reason_not_to_be_ready() -> None:
    """It is named; a thread that lives, and a pipeline that makes its passes, are no reason."""
    ended = Loop("publisher", lambda: None, lambda name: None)  # noqa: ARG005 - nothing fails here
    watch = ThreadWatch(lambda: 0.1)
    alive = {"store-writer": True}
    watch.watch("store-writer", lambda: alive["store-writer"])
    assert watch.reasons() == []
    ended.open()
    watch.watch("publisher", lambda: ended.is_alive)
    assert watch.reasons() == []
    ended.close()
    alive["store-writer"] = False
    assert watch.reasons() == ["the thread store-writer has ended", "the thread publisher has ended"]


def test_a_pipeline_that_makes_no_pass_is_a_reason_not_to_be_ready() -> None:
    """Its thread lives, and is stuck."""
    silent_s = STALLED_S
    watch = ThreadWatch(lambda: silent_s)
    assert watch.reasons() == []
    silent_s += 2.0
    assert watch.reasons() == ["the pipeline has made no pass for 12 s"]
