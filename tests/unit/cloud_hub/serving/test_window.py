"""A batch closes as soon as nothing more is on its way, and never later than the bound."""

from typing import Any, cast

import pytest

from cloud_hub.serving.window import Window
from tests.simulators.loops import in_loop
from tests.simulators.serving_parts import ToldLoop, turn_loop


class Waiter:
    """Counts how often the window closed on it."""

    def __init__(self) -> None:
        self.closed = 0

    def close_window(self) -> None:
        """Count."""
        self.closed += 1


def opened(bound_s: float = 0.001) -> tuple[Window, ToldLoop, Waiter]:
    """A window, its loop and one who waits."""
    loop = ToldLoop()
    return Window(cast("Any", loop), bound_s), loop, Waiter()


@in_loop
async def test_one_client_alone_never_waits() -> None:
    """The only call that was expected closes the window as it comes, in the same turn."""
    window, _, waiter = opened()
    window.wait(waiter, window.expect())
    assert waiter.closed == 1


@in_loop
async def test_what_has_come_waits_for_what_is_on_its_way() -> None:
    """Two of three have come; the batch closes with the third, not before, whichever it is."""
    window, _, waiter = opened()
    first, second, third = window.expect(), window.expect(), window.expect()
    window.wait(waiter, second)
    await turn_loop()
    window.note(third)
    assert waiter.closed == 0
    window.note(first)
    assert waiter.closed == 1


@in_loop
async def test_the_window_closes_on_all_who_wait() -> None:
    """Batches of two models close together, each once."""
    window, _, waiter = opened()
    other = Waiter()
    first, second = window.expect(), window.expect()
    window.wait(waiter, first)
    window.wait(other, second)
    await turn_loop()
    assert (waiter.closed, other.closed) == (1, 1)


@in_loop
async def test_a_call_that_ends_before_it_asks_holds_nobody_up() -> None:
    """Forgotten, it closes the window on who waited for it; forgetting it again does nothing."""
    window, _, waiter = opened()
    first, second = window.expect(), window.expect()
    window.wait(waiter, first)
    window.forget(second)
    window.forget(second)
    assert waiter.closed == 1


@in_loop
async def test_a_call_that_stalls_holds_a_batch_up_once() -> None:
    """The batch closes at the bound; the next one does not wait for the same call again."""
    window, loop, waiter = opened()
    window.expect()
    window.wait(waiter, window.expect())
    await turn_loop()
    loop.move(0.0009)
    assert waiter.closed == 0
    loop.move(0.0002)
    assert waiter.closed == 1
    window.wait(waiter, window.expect())
    assert waiter.closed == 2


@pytest.mark.parametrize("bound_s", [0.0, 0.001])
@in_loop
async def test_without_knowledge_a_batch_is_one_turn_of_the_loop(bound_s: float) -> None:
    """Who tells nothing is put together with what comes in the same turn; nothing waits for a time."""
    window, _, waiter = opened(bound_s)
    window.wait(waiter, None)
    window.note(None)
    assert waiter.closed == 0
    await turn_loop()
    assert waiter.closed == 1


@in_loop
async def test_a_bound_of_nothing_waits_for_no_message() -> None:
    """With a bound of zero what is on its way is not waited for, beyond the turn."""
    window, _, waiter = opened(0.0)
    window.expect()
    window.wait(waiter, window.expect())
    await turn_loop()
    assert waiter.closed == 1


@in_loop
async def test_a_closed_window_closes_on_nobody() -> None:
    """After its end neither turn nor timer tells anybody."""
    window, loop, waiter = opened()
    window.expect()
    window.wait(waiter, None)
    await turn_loop()
    window.close()
    window.close()
    loop.move(1.0)
    await turn_loop()
    assert waiter.closed == 0
