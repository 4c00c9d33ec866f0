"""Owns what becomes of a damaged edge.db: at the next start it is put aside, whole, and a new one takes its place.

A device must not need a person to answer again, so damage is no reason to refuse a start for ever. Whoever meets it
while the agent runs only marks the file: what the agent holds in memory belongs to it. After a stop that was not clean,
the start looks for damage itself. What lay undelivered in the damaged file is not sent any more; the status says so
until a person has taken the file away. One damaged file is kept, the newest.
"""

import contextlib
import logging
import sqlite3
from pathlib import Path

from edge_agent.adapters.sqlite import write_ahead_log
from edge_agent.errors import StoreError
from model_packs.process.durable import fsync_dir
from protos.status import Status

logger = logging.getLogger(__name__)

_INDEX = "-shm"


def aside(path: Path) -> Path:
    """Where the damaged file of this one lies, its write-ahead log beside it."""
    return path.with_name(f"{path.name}.damaged")


def mark(path: Path) -> None:
    """Note that the file is damaged; a disk that cannot even hold the note is told of by other means."""
    with contextlib.suppress(OSError):
        _mark_of(path).touch()


def is_marked(path: Path) -> bool:
    """Whether damage was met in it."""
    return _mark_of(path).exists()


def is_unclean(path: Path) -> bool:
    """Whether the file was not closed by whoever wrote it last: its write-ahead log is still there."""
    log = path.with_name(path.name + write_ahead_log.SUFFIX)
    return log.exists() and log.stat().st_size > 0


def examine(connection: sqlite3.Connection, path: Path) -> None:
    """Look at every page.

    Raises:
        StoreError: Something in the file is damaged.
    """
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise StoreError(f"{path}: {found}", f"move {path} away (keep it for support)", Status.DATA_LOSS)


def put_aside(path: Path) -> None:
    """Move the file and its log away; the next one who opens it makes a new one.

    The file goes first: a log without its file is dropped by SQLite, a file without its log would be an older one.

    Raises:
        OSError: The folder cannot be written.
    """
    away = aside(path)
    for name in ("", write_ahead_log.SUFFIX):
        here, there = path.with_name(path.name + name), away.with_name(away.name + name)
        there.unlink(missing_ok=True)
        if here.exists():
            here.rename(there)
    path.with_name(path.name + _INDEX).unlink(missing_ok=True)
    fsync_dir(path.parent)
    _mark_of(path).unlink(missing_ok=True)
    logger.error("store_put_aside", extra={"path": str(path), "aside": str(away)})


def problem(path: Path) -> str | None:
    """What the status says while a damaged file lies here, with the mend; None when none does."""
    if is_marked(path):
        return f"journal: {path} is damaged; restart the agent, which puts it aside and begins a new one"
    if aside(path).exists():
        return (
            f"journal: a damaged database was put aside, and what was undelivered in it is not sent; keep "
            f"{aside(path)}* for support, then move it away"
        )
    return None


def _mark_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.is-damaged")
