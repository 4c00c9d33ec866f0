"""Owns a second opinion on our own servers: NVIDIA's perf_analyzer, where it runs.

Its wheel on PyPI needs glibc 2.38; it is taken from the PATH and never installed. It cannot drive peers that do not
answer ModelConfig, so its figures stand alone.
"""

import re
import shutil
import subprocess
from typing import Final

from tests.bench.harness import Row, not_run, row
from tests.bench.serving.models import INPUT
from tests.bench.serving.target import Target
from tests.simulators.network import LOOPBACK

MODES: Final = {"": (), ", streaming": ("--async", "--streaming")}
_UNIT: Final = "requests/s"
_DEADLINE_S: Final = 60.0
_THROUGHPUT = re.compile(r"Throughput: ([\d.]+) infer/sec")
_MISSING: Final = "perf_analyzer is not on the PATH (pip install perf-analyzer; it needs glibc 2.38)"


def second_opinion(target: Target, clients: int) -> list[Row]:
    """What perf_analyzer measures with so many requests in flight: by unary calls, and by one stream.

    Args:
        target: Open, and one of ours.
        clients: Requests in flight.
    """
    program = shutil.which("perf_analyzer")
    case = f"{target.name} by perf_analyzer, {clients} in flight"
    if program is None:
        return [not_run(case, _UNIT, _MISSING)]
    if target.address is None:
        return [not_run(case, _UNIT, target.reason or "it was not started")]
    return [_measured(f"{case}{name}", program, target, clients, mode) for name, mode in MODES.items()]


def _measured(case: str, program: str, target: Target, clients: int, mode: tuple[str, ...]) -> Row:
    shape = f"{INPUT}:{','.join(map(str, target.bench.shape))}"
    windows = ("-p", "1000", "-r", "3", "-s", "1000", "--concurrency-range", str(clients), "--shape", shape)
    where = ("-m", target.bench.name, "-u", f"{LOOPBACK}:{target.address}", "-i", "grpc")
    try:
        done = subprocess.run(
            [program, *where, *mode, *windows], capture_output=True, text=True, timeout=_DEADLINE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return not_run(case, _UNIT, str(exc))
    found = _THROUGHPUT.findall(done.stdout)
    if done.returncode or not found:
        return not_run(case, _UNIT, " ".join((done.stderr or done.stdout).split())[-120:])
    return row(case, _UNIT, float(found[-1]))
