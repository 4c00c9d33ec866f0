"""Owns the ceiling of the serving benches: ONNX Runtime in process, called in a loop, no server, no copy."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

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
