"""A batch closes as soon as the wave that it came in is whole, and never later than the bound."""

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.core.serving.wave import PROBE_EVERY, Wave
from cloud_hub.serving.window import Window
from tests.simulators.loops import in_loop
from tests.simulators.serving_parts import ToldLoop, turn_loop


class Closed:
    """Counts how often the window closed."""

    def __init__(self, bound_s: float = 0.001) -> None:
        self.times = 0
        self.loop = ToldLoop()
        self.window = Window(cast("Any", self.loop), bound_s, 64, self._close)

    def _close(self) -> None:
        self.times += 1

    async def wave(self, count: int) -> int:
        """So many come in one turn; how often the window closed on them."""
        before = self.times
        for _ in range(count):
            self.window.come(is_beside_another=False)
        await turn_loop()
        return self.times - before


@in_loop
async def test_one_client_alone_never_waits() -> None:
    """However often it asks, each of its requests runs at the end of its turn, without a timer."""
    closed = Closed()
    assert [await closed.wave(1) for _ in range(100)] == [1] * 100


@in_loop
async def test_what_comes_in_one_turn_runs_together() -> None:
    """Also where nothing is waited for."""
    closed = Closed(bound_s=0.0)
    assert [await closed.wave(3), await closed.wave(1), await closed.wave(3)] == [1, 1, 1]


@in_loop
async def test_what_came_together_is_waited_for_until_it_is_whole() -> None:
    """After three together, one waits for others; with them there it runs at once, before the bound."""
    closed = Closed()
    await closed.wave(3)
    assert [await closed.wave(1), await closed.wave(4)] == [0, 0]
    closed.loop.move(0.0011)
    assert closed.times == 2
    assert [await closed.wave(2), await closed.wave(3)] == [0, 1]


@in_loop
async def test_a_request_beside_another_is_a_second_client_and_chance_costs_little() -> None:
    """It waits for one more, half of the bound at most; nobody comes, and the next waits for nobody."""
    closed = Closed()
    closed.window.come(is_beside_another=True)
    await turn_loop()
    assert closed.times == 0
    closed.loop.move(0.00049)
    assert closed.times == 0
    closed.loop.move(0.00002)
    assert closed.times == 1
    assert await closed.wave(1) == 1


@in_loop
async def test_a_wave_grows_though_a_loop_takes_its_time_for_each_request() -> None:
    """Requests of as many clients come 0.6 ms after each other, with a bound of 4 ms: they run together before long."""
    closed = Closed(bound_s=0.004)
    for number in range(400):
        closed.window.come(is_beside_another=number > 0)
        await turn_loop()
        closed.loop.move(0.0006)
    assert closed.times < 400 / 5


@in_loop
async def test_clients_that_went_are_waited_for_once() -> None:
    """The bound ends the wait for a wave that is not whole; the next is as small as this one was."""
    closed = Closed()
    await closed.wave(8)
    assert await closed.wave(1) == 0
    closed.loop.move(0.0009)
    assert closed.times == 1
    closed.loop.move(0.0002)
    assert closed.times == 2
    assert await closed.wave(1) == 1


@in_loop
async def test_a_full_batch_waits_for_nothing() -> None:
    """It closes within the call, whatever was waited for, and no timer is left."""
    closed = Closed()
    await closed.wave(3)
    closed.window.come(is_beside_another=False)
    closed.window.fill()
    assert closed.times == 2
    closed.loop.move(1.0)
    await turn_loop()
    assert closed.times == 2


@in_loop
async def test_a_cancelled_window_closes_on_nobody() -> None:
    """Neither turn nor timer."""
    closed = Closed()
    closed.window.come(is_beside_another=False)
    closed.window.cancel()
    closed.window.cancel()
    await turn_loop()
    closed.loop.move(1.0)
    assert closed.times == 0


def wave_of(clients: int, waves: int) -> tuple[Wave, int]:
    """A wave after so many clients came together so often, and how often the wait was in vain."""
    wave, late = Wave(64), 0
    for _ in range(2):  # by chance two came in one turn
        wave.come(is_beside_another=False)
    wave.end(is_late=False)
    for _ in range(waves):
        for _ in range(min(clients, wave.size)):
            wave.come(is_beside_another=False)
        late += not wave.is_whole
        wave.end(is_late=not wave.is_whole)
    return wave, late


@given(st.integers(2, 60))
def test_a_wave_grows_to_the_number_of_clients_and_probes_seldom(clients: int) -> None:
    """Within a few waves all are waited for, and then one more only now and then."""
    wave, _ = wave_of(clients, 8)
    assert wave.size == clients
    _, late = wave_of(clients, 8 + 10 * PROBE_EVERY)
    assert late <= 12


def test_a_wave_is_no_larger_than_may_be_waited_for() -> None:
    """Where more come than fit, it is the most."""
    wave, late = wave_of(500, 40)
    assert (wave.size, late) == (64, 0)
