"""Owns giving back the memory that only the start of a long-running program needed.

Linux with glibc; elsewhere nothing is done. What a program loads in the first place is its own business. Sources:
madvise(2), malloc_trim(3), proc_pid_smaps(5).
"""

import ctypes
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

_MADV_PAGEOUT: Final = 21
_SMAPS: Final = Path("/proc/self/smaps")
_HEADER: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+\s*(.*)")
_NOT_WRITABLE: Final = frozenset({"r-xp", "r--p"})


class Region(NamedTuple):
    """Part of the address space: its first byte, and the first one after it."""

    start: int
    end: int


def give_back() -> None:
    """Give free heap, and pages of libraries, back to the system: most of their code runs at the start only.

    The kernel is asked to reclaim the pages, as it does itself when memory is short (MADV_PAGEOUT): those that are
    needed again come back from the file, and none that was changed is lost, whatever other threads map meanwhile. It
    leaves pages that other programs use, and those of files that belong to somebody else.
    """
    libc = _glibc()
    if libc is None:
        return
    try:
        with _SMAPS.open() as lines:
            clean = list(clean_regions(lines))
    except OSError:  # a kernel that does not tell
        clean = []
    for region in clean:
        libc.madvise(region.start, region.end - region.start, _MADV_PAGEOUT)
    libc.malloc_trim(0)


def clean_regions(smaps: Iterable[str]) -> Iterator[Region]:
    """The regions that hold pages of a library's file and nothing else: none that can be, or ever was, written to.

    Args:
        smaps: Lines as of /proc/PID/smaps.
    """
    region: Region | None = None
    for line in smaps:
        header = _HEADER.match(line)
        if header is not None:
            start, end, access, name = header.groups()
            is_library = access in _NOT_WRITABLE and name.startswith("/") and ".so" in name
            region = Region(int(start, 16), int(end, 16)) if is_library else None
        elif region is not None and line.startswith("Anonymous:") and int(line.split()[1]) == 0:
            yield region


def _glibc() -> ctypes.CDLL | None:
    """The C library where it is glibc; else None."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    if not all(hasattr(libc, name) for name in ("gnu_get_libc_version", "malloc_trim")):
        return None
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return libc
