"""Owns one server of a bench: its start, the check of its answer, load, cost, end; or why it does not run.

A target that fails at anything says so once and takes no further part: a bench goes on without it.
"""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_packs.process.progress import progress
from tests.bench.harness import interleave
from tests.bench.serving import load, process_tree
from tests.bench.serving.load import Load, LoadError
from tests.bench.serving.models import BenchModel
from tests.bench.serving.wire import Question, Wire
from tests.simulators.network import is_listening
from tests.simulators.processes import Process

START_DEADLINE_S: Final = 60.0
_VERSION: Final = re.compile(r"\d+\.\d+\.\d+")
_POLL_S: Final = 0.005
_TOLERANCE: Final = 1e-3
_REASON_CHARS: Final = 200


class TargetError(Exception):
    """A server could not be started; the message says why."""


_FAULTS: Final = (LoadError, TargetError, OSError, AssertionError, subprocess.TimeoutExpired)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    Attributes:
        rounds: How many are kept; one before them is not.
        seconds: How long each side works in a round.
    """

    rounds: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Launch:
    """What starts a server, and how it is spoken to.

    Attributes:
        process: To be started.
        port: Where it answers, on 127.0.0.1.
    """

    process: Process
    wire: Wire
    port: int
    question: Question


@dataclass(slots=True)
class Target:
    """One server.

    Attributes:
        name: What people call it, with its version.
        prepare: Writes what it needs; may raise `TargetError`.
        note: What a reader must know of its settings.
        reason: Why it does not run; None while it does.
        starts_s: From a start to its first answer, of each start.
        pss_mib: Memory after load, alone on the machine.
        loads: What was measured, by number of clients.
    """

    name: str
    bench: BenchModel
    prepare: Callable[[Path], Launch]
    note: str = ""
    reason: str | None = None
    starts_s: list[float] = field(default_factory=list)
    pss_mib: float | None = None
    loads: dict[int, list[Load]] = field(default_factory=dict)
    _launch: Launch | None = None
    _reply_bytes: int = 0
    _folder: Path = Path()

    def open(self, folder: Path, right: NDArray[np.float32] | None) -> None:
        """Start it and wait for its first answer.

        Args:
            folder: For its files and log; made.
            right: What it must answer, float32 [classes]; None not to look (and not to load an engine here).
        """
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._start(right)
        except _FAULTS as exc:
            self._fail(exc)

    def close(self) -> None:
        """End it; may be called twice."""
        if self._launch is not None:
            if self._launch.process.is_running:
                process_tree.kill(self._launch.process.pid)
            self._launch.process.kill()

    def load(self, clients: int, seconds: float) -> Load | None:
        """Load it once; None when it does not run."""
        if self.reason is not None or self._launch is None:
            return None
        launch = self._launch
        try:
            return load.run(
                launch.wire,
                launch.port,
                launch.question,
                clients=clients,
                seconds=seconds,
                reply_bytes=self._reply_bytes,
                pid=launch.process.pid,
                folder=self._folder,
            )
        except _FAULTS as exc:
            self._fail(exc)
            return None

    def weigh(self) -> None:
        """Note its memory now."""
        if self.reason is None and self._launch is not None:
            self.pss_mib = process_tree.pss_mib(self._launch.process.pid)

    @property
    def address(self) -> int | None:
        """Its port, while it runs."""
        return self._launch.port if self._launch is not None and self.reason is None else None

    @property
    def slug(self) -> str:
        """Its name as a folder's."""
        return short(self.name).replace(" ", "-")

    @property
    def start_s(self) -> float | None:
        """Median over its starts."""
        return median(self.starts_s) if self.starts_s else None

    def median(self, clients: int, of: Callable[[Load], float]) -> float | None:
        """Median of a figure over the rounds; None when it did not run."""
        loads = self.loads.get(clients)
        return median(map(of, loads)) if loads and self.reason is None else None

    def _start(self, right: NDArray[np.float32] | None) -> None:
        self._launch = launch = self.prepare(self._folder)
        began_s = time.monotonic()
        launch.process.start()
        reply = self._first_reply(launch, began_s + START_DEADLINE_S)
        self.starts_s.append(time.monotonic() - began_s)
        self._reply_bytes = len(reply)
        found = launch.question.read(reply)
        if right is not None and (found.shape != right.shape or np.abs(found - right).max() > _TOLERANCE):
            raise LoadError("its answer is not the model's")

    def _first_reply(self, launch: Launch, until_s: float) -> bytes:
        refusal = "it does not listen"
        while time.monotonic() < until_s:
            if not launch.process.is_running:
                raise TargetError(f"it ended at start, see {launch.process.log_path}")
            if is_listening(launch.port):
                try:
                    return load.ask(launch.wire, launch.port, launch.question)
                except (LoadError, OSError) as exc:
                    refusal = str(exc)
            time.sleep(_POLL_S)
        raise TargetError(f"no answer within {START_DEADLINE_S:.0f} s: {refusal}")

    def _fail(self, error: Exception) -> None:
        self.reason = " ".join(str(error).split())[:_REASON_CHARS]
        say(f"{self.name}: not run: {self.reason}")
        self.close()


def measure(
    targets: Iterable[Target],
    clients: int,
    sizes: Sizes,
    label: str,
    also: Mapping[str, Callable[[float], float]] | None = None,
) -> dict[str, float]:
    """Load all that run in turn, round by round; each target keeps what the rounds after the first measured.

    Args:
        targets: Open.
        clients: Connections with one request in flight each.
        sizes: Rounds and seconds.
        label: For the progress bar.
        also: What else takes a turn for so many seconds and says how many a second it did.

    Returns:
        The medians of `also`.
    """
    running = [target for target in targets if target.reason is None]
    others = dict(also or {})
    loads: dict[str, list[Load]] = {target.name: [] for target in running}
    with progress((sizes.rounds + 1) * (len(running) + len(others)), label) as bar:

        def loaded(target: Target) -> float:
            found = target.load(clients, sizes.seconds)
            bar.advance()
            if found is None:
                return 0.0
            loads[target.name].append(found)
            return found.per_s

        def other(run: Callable[[float], float]) -> float:
            found = run(sizes.seconds)
            bar.advance()
            return found

        sides = {target.name: partial(loaded, target) for target in running}
        found = interleave(sides | {name: partial(other, run) for name, run in others.items()}, rounds=sizes.rounds)
    for target in running:
        target.loads[clients] = loads[target.name][1:]
    return {name: found[name] for name in others}


def short(name: str) -> str:
    """A name without its version."""
    return " ".join(part for part in name.split() if not _VERSION.fullmatch(part))


def say(text: str) -> None:
    """Tell the person; stdout belongs to the table."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
