"""Owns making durable what the write-ahead log of edge.db holds, before anybody who opens the file believes it.

After a sync that failed, the kernel calls the pages clean that it could not write: they are read as if they were on the
disk, and the next sync succeeds without them. A commit found in such a log would be acknowledged and gone after a power
cut, and so would every later one, since SQLite reads the log up to its first gap. So the log's own bytes are written
once more, which makes the pages dirty again, and synced. Nobody is disturbed by it: SQLite keeps its locks in other
files, who reads the log meanwhile reads the same bytes, and who would write it is kept out (`schema.py`).

See Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020.
"""

import os
from collections.abc import Callable
from pathlib import Path

SUFFIX = "-wal"

_CHUNK_BYTES = 1 << 20


def write_anew(
    path: Path,
    *,
    write: Callable[[int, bytes, int], int] = os.pwrite,
    sync: Callable[[int], None] = os.fsync,
) -> None:
    """Write the log of a database once more and sync it, with its name; a database without one is left alone.

    Args:
        path: The database. Nobody may write it meanwhile: the caller holds SQLite's write lock. The agent's own lock
            does not keep other programs out, and an opening follows when one of them was in the way of a commit.
        write: As `os.pwrite`.
        sync: As `os.fsync`; called for the log and for its folder.

    Raises:
        OSError: The disk does not take it; what the log holds may be lost in a power cut.
    """
    try:
        log = os.open(path.with_name(path.name + SUFFIX), os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        offset = 0
        while chunk := os.pread(log, _CHUNK_BYTES, offset):
            offset += write(log, chunk, offset)
        sync(log)
    finally:
        os.close(log)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        sync(folder)
    finally:
        os.close(folder)
