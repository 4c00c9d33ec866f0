"""Owns stand-ins around the hub's serving core: a loop with a told clock, told workers, a session that keeps rules.

Nothing sleeps: a test moves the clock, lets workers go on, and turns the loop.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from model_packs.errors import TensorError

P = ParamSpec("P")
T = TypeVar("T")

BAD = 13.0
"""A window that holds it breaks the engine."""

UNFIT = 77.0
"""A window that holds it is not what the model declares."""


class ToldLoop:
    """The running loop with a clock that is told; timers go off when it is moved past them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._now_s = 100.0
        self._timers: list[tuple[float, Timer]] = []

    def time(self) -> float:
        """What the clock was told."""
        return self._now_s

    def create_future(self) -> "asyncio.Future[Any]":
        """Of the real loop."""
        return self._loop.create_future()

    def call_soon(self, callback: Callable[..., object], *args: object) -> asyncio.Handle:
        """On the real loop."""
        return self._loop.call_soon(callback, *args)

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object) -> asyncio.Handle:
        """On the real loop."""
        return self._loop.call_soon_threadsafe(callback, *args)

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> "Timer":
        """When the clock is moved."""
        timer = Timer(callback)
        self._timers.append((self._now_s + delay_s, timer))
        return timer

    def move(self, by_s: float) -> None:
        """Move the clock on."""
        self._now_s += by_s
        due = [timer for at_s, timer in self._timers if at_s <= self._now_s]
        self._timers = [(at_s, timer) for at_s, timer in self._timers if at_s > self._now_s]
        for timer in due:
            timer.go_off()


class Timer:
    """A timer of a told loop."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Do not go off."""
        self._callback = None

    def go_off(self) -> None:
        """Go off, unless it was cancelled."""
        if self._callback is not None:
            self._callback()


class ToldWorkers(Executor):
    """Workers that begin a job when it is given and end it when told."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], object]] = []

    def submit(self, job: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Take a job."""
        self.jobs.append(lambda: job(*args, **kwargs))
        return Future()

    def go_on(self, index: int = 0) -> None:
        """Do one job."""
        self.jobs.pop(index)()


class RuleSession:
    """Gives twice its input `x`; what a test puts into windows decides what goes wrong."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        rows = inputs["x"]
        self.batches.append(len(rows))
        if (rows == BAD).any():
            raise RuntimeError("the engine broke")
        if (rows == UNFIT).any():
            raise TensorError("tensor 'x' must be FP32 [-1, 2], not FP32 [1, 2] of 77")
        return {"y": np.asarray(rows * 2)}


async def turn_loop() -> None:
    """Let the loop do what is due, and what follows from it."""
    for _ in range(5):
        await asyncio.sleep(0)
