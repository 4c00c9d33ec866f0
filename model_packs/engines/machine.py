"""Owns saying which machine this is, as far as it decides how fast a graph runs and which kernels an engine picks.

What was measured or built on one machine is used on that machine only: `tuning.py` and `graph_cache.py` key by it.
"""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

# Lines of /proc/cpuinfo that name the processor and its instruction sets: x86 first, then Arm.
_NAMES = ("model name", "CPU part", "Hardware")
_FEATURES = ("flags", "Features")


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine.

    Attributes:
        cpu: What the processor calls itself.
        features: Its instruction sets, sorted, with one space between.
        cores: Cores that this process may use.
    """

    cpu: str
    features: str
    cores: int

    @property
    def key(self) -> str:
        """The same in one line."""
        return f"{self.cpu} | {self.features} | {self.cores}"


def this_machine(cpuinfo: Path = CPUINFO) -> Machine:
    """Look at the machine.

    Args:
        cpuinfo: Where the kernel describes its processors; the first one stands for all.

    Returns:
        The machine; where the kernel tells nothing, as much as Python knows.
    """
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0].splitlines()
    except OSError:
        lines = []
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = next((told[key] for key in _NAMES if told.get(key)), platform.machine())
    features = next((told[key] for key in _FEATURES if key in told), "")
    return Machine(name, " ".join(sorted(features.split())), len(os.sched_getaffinity(0)))
