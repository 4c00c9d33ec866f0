"""Owns running many scenarios: several at a time, each a process of its own; a row is told when all of it is done.

Most of a scenario is waiting for programs, so several run side by side; those that measure time run alone, after them.
Each worker has, where this user may make them, a network and a mount table of its own: no scenario meets another's
ports, and no mount outlives it. What a scenario does is `one.py`.
"""

import contextlib
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.reliability_page import Outcome, Result, kept
from tests.chaos.scenarios import Scenario
from tests.simulators.own_network import OwnNetwork
from tests.simulators.processes import Process

REPOSITORY = Path(__file__).parents[2]
LOG_NAME = "scenario.log"

_DEADLINE_S = 300.0
_POLL_S = 0.1

Told = Callable[[Result], None]


@dataclass(frozen=True, slots=True)
class Round:
    """What all scenarios of one round share.

    Attributes:
        runs: Where each scenario gets a folder of its name.
        founded: What `plant.found` made.
        seed: Decides everything that chance decides.
        scale: How much longer than usual.
    """

    runs: Path
    founded: Path
    seed: int
    scale: float


def run_all(chosen: Sequence[Scenario], this: Round, workers: int, tell: Told) -> None:
    """Run scenarios; `tell` hears of each as it ends, one at a time.

    Args:
        chosen: Which.
        this: The round.
        workers: How many may run at once.
        tell: Called from the workers' threads.
    """
    longest_first = sorted(chosen, key=lambda one: -one.usual_s)
    _run_together([one for one in longest_first if not one.is_alone], this, workers, tell)
    _run_together([one for one in longest_first if one.is_alone], this, 1, tell)


def _run_together(chosen: Sequence[Scenario], this: Round, workers: int, tell: Told) -> None:
    waiting: queue.SimpleQueue[Scenario] = queue.SimpleQueue()
    for one in chosen:
        waiting.put(one)
    telling, stopping = threading.Lock(), threading.Event()

    def work(number: int) -> None:
        with _separated(this.runs / f"worker-{number}.log") as prefix, contextlib.suppress(queue.Empty):
            while not stopping.is_set():
                result = _run(waiting.get_nowait(), this, prefix, stopping)
                with telling:
                    tell(result)

    threads = [threading.Thread(target=work, args=(number,), name=f"worker-{number}") for number in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:
        stopping.set()  # interrupted: the workers end what runs
        for thread in threads:
            thread.join()


@contextlib.contextmanager
def _separated(log_path: Path) -> Iterator[tuple[str, ...]]:
    """What to put before a command so that it meets nobody else; nothing where this user may not."""
    with ExitStack() as closing:
        prefix: tuple[str, ...] = ()
        if OwnNetwork.is_possible():
            network = OwnNetwork(log_path)
            closing.callback(network.close)
            network.open()
            prefix = (*network.prefix, "unshare", "--mount", "--")
        yield prefix


def _run(scenario: Scenario, this: Round, prefix: Sequence[str], stopping: threading.Event) -> Result:
    folder = clean(this.runs / scenario.name)
    what = [scenario.name, str(folder), str(this.founded), str(this.seed), str(this.scale)]
    argv = [*prefix, sys.executable, "-m", "tests.chaos.one", *what]
    process = Process(argv, log_path=folder / LOG_NAME, cwd=REPOSITORY)
    began_s = time.monotonic()
    process.start()
    try:
        while process.is_running and not stopping.is_set() and time.monotonic() - began_s < _DEADLINE_S * this.scale:
            stopping.wait(_POLL_S)
        if process.is_running:
            process.terminate()
    finally:
        process.kill()
    took_s = time.monotonic() - began_s
    said = f"it left no result after {took_s:.0f} s:\n{process.log}"
    today = datetime.now(UTC).date().isoformat()
    return kept(folder) or Result(scenario.name, scenario.pass_line, Outcome.FAILED, said, took_s, this.seed, today)


def clean(folder: Path) -> Path:
    """An empty folder at this place."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
