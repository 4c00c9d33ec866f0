"""Owns what the benches of serving hold against it: ONNX Runtime in process, looped or paced; no server."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tests.bench.serving.models import INPUT, OUTPUT, BenchModel

_WARM_UP_RUNS: Final = 3


def runner(graph: Path, bench: BenchModel, *, callers: int, threads: int) -> Callable[[float], float]:
    """A function that runs a model for so many seconds and says how many runs a second there were.

    Args:
        graph: The ONNX file.
        bench: The model.
        callers: Python threads that call one session.
        threads: Threads of one run.
    """
    from tests.bench.serving.servers.session import open_session  # noqa: PLC0415 - loads the engine

    session = open_session(graph, threads)
    values = bench.input()
    for _ in range(_WARM_UP_RUNS):
        session.run([OUTPUT], {INPUT: values})

    def run_for(seconds: float) -> float:
        until_s = time.monotonic() + seconds
        counts = [0] * callers

        def call(place: int) -> None:
            while time.monotonic() < until_s:
                session.run([OUTPUT], {INPUT: values})
                counts[place] += 1

        began_s = time.monotonic()
        pool = [threading.Thread(target=call, args=(place,)) for place in range(callers)]
        for each in pool:
            each.start()
        for each in pool:
            each.join()
        return sum(counts) / (time.monotonic() - began_s)

    return run_for


def pacer(graph: Path, bench: BenchModel, *, per_s: float) -> Callable[[int], NDArray[np.float64]]:
    """A function that runs a model so many times, so many a second, and says what each run took, in seconds.

    A run after a pause takes many times as long as one in a loop: it finds other things in the processor's caches.

    Args:
        graph: The ONNX file.
        bench: The model.
        per_s: Runs a second.
    """
    from tests.bench.serving.servers.session import open_session  # noqa: PLC0415 - loads the engine

    session = open_session(graph, 1)
    values = bench.input()

    def run_times(count: int) -> NDArray[np.float64]:
        took_s = np.zeros(count)
        first_s = time.perf_counter()
        for number in range(count):
            time.sleep(max(0.0, first_s + number / per_s - time.perf_counter()))
            began_s = time.perf_counter()
            session.run([OUTPUT], {INPUT: values})
            took_s[number] = time.perf_counter() - began_s
        return took_s

    return run_times
