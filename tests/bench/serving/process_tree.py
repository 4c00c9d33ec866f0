"""Owns what a program costs, with everything that it started: processor time and memory, as Linux counts them.

Sources: proc(5), /proc/PID/stat and /proc/PID/smaps_rollup.
"""

import contextlib
import os
import signal
from collections import defaultdict
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_KIB_PER_MIB: Final = 1024
_PROC: Final = Path("/proc")
# Positions after the program's name in /proc/PID/stat.
_PARENT, _TIMES = 1, slice(11, 15)


def members(root: int) -> list[int]:
    """A process and its living descendants, whatever sessions they made for themselves.

    Args:
        root: Its pid.
    """
    children: dict[int, list[int]] = defaultdict(list)
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children[int(fields[_PARENT])].append(int(entry.name))
    found = [root]
    for pid in found:
        found += children[pid]
    return found


def cpu_s(root: int) -> float:
    """Processor seconds of a tree so far: user and system, all threads, children that have ended included."""
    ticks = sum(sum(map(int, fields[_TIMES])) for pid in members(root) if (fields := _stat(pid)))
    return ticks / _TICKS_PER_S


def pss_mib(root: int) -> float:
    """Memory of a tree in MiB: proportional set size, so that shared pages are shared out among those who map them."""
    return sum(map(_pss_kib, members(root))) / _KIB_PER_MIB


def kill(root: int) -> None:
    """End a tree at once (SIGKILL), those in sessions of their own, too."""
    for pid in members(root):
        with contextlib.suppress(ProcessLookupError):  # it has ended since
            os.kill(pid, signal.SIGKILL)


def _pss_kib(pid: int) -> int:
    try:
        text = (_PROC / str(pid) / "smaps_rollup").read_text()
    except OSError:  # it has ended since
        return 0
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def _stat(pid: int) -> list[str]:
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
