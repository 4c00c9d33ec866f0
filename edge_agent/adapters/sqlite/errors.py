"""Owns what can go wrong with edge.db, in words that name the file and the mend.

StoreError (edge_agent.errors)
├── StoreVersionError   the file is of a newer major version
├── StoreUpgradeError   the file is of an older version, and what is asked came later
└── StoreClosedError    asked after, or while, the store closed

NoRoomYetError          no fault: what is written has to wait for room in the outbox
"""

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from edge_agent.adapters.sqlite import quarantine
from edge_agent.errors import StoreError
from protos.status import Status

_STATUS = {
    sqlite3.SQLITE_FULL: Status.RESOURCE_EXHAUSTED,
    sqlite3.SQLITE_CORRUPT: Status.DATA_LOSS,
    sqlite3.SQLITE_NOTADB: Status.DATA_LOSS,
}

_CODES = {
    errno.ENOSPC: sqlite3.SQLITE_FULL,
    errno.EDQUOT: sqlite3.SQLITE_FULL,
    errno.EROFS: sqlite3.SQLITE_READONLY,
    errno.EACCES: sqlite3.SQLITE_READONLY,
    errno.EPERM: sqlite3.SQLITE_READONLY,
}
"""What SQLite calls the errors of the file system; any other is an I/O error."""

_OTHER_WRITER = "stop the other program that writes {path}: one agent to one state_dir"
_NO_TEXT = "Could not decode to UTF-8"
_DAMAGED = "restart the agent, which puts {path} aside (keep it for support) and begins a new one"
_MENDS = {
    sqlite3.SQLITE_FULL: "free space on the disk that holds {folder}",
    sqlite3.SQLITE_READONLY: "make {path} and its folder writable for the agent's user; is the disk read-only?",
    sqlite3.SQLITE_IOERR: "check the disk that holds {folder} (dmesg, smartctl)",
    sqlite3.SQLITE_CANTOPEN: "start `edge-agent run` once, which makes {path}; is state_dir right?",
    sqlite3.SQLITE_BUSY: _OTHER_WRITER,
    sqlite3.SQLITE_LOCKED: _OTHER_WRITER,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}


class StoreVersionError(StoreError):
    """The file was written by a newer program whose format this one cannot keep whole."""

    def __init__(self, path: Path, found: int, newest: int) -> None:
        super().__init__(
            f"{path}: database format {found / 1000:g}, this program knows up to {newest / 1000:g}",
            "install the newer edge-agent again, or give this one another state_dir",
            Status.FAILED_PRECONDITION,
        )
        self.found = found


class StoreUpgradeError(StoreError):
    """The file was last written by an older program, and holds nothing yet of what this one asks it for."""

    def __init__(self, path: Path, found: int, newest: int) -> None:
        super().__init__(
            f"{path}: database format {found / 1000:g} of an older edge-agent, this program reads {newest / 1000:g}",
            "start `edge-agent run` of this version once, which brings it up to date; restart an older one that runs",
            Status.FAILED_PRECONDITION,
        )
        self.found = found


class StoreClosedError(StoreError):
    """The store closed before the change was committed; nothing of it was written."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: the store is closed", "start the agent again", Status.CANCELLED)


class NoRoomYetError(Exception):
    """A class of the outbox is full and blocks: what was to be inserted waits. Never leaves the writer."""


@contextlib.contextmanager
def translated(path: Path, *, is_marking: bool = True) -> Iterator[None]:
    """Turn SQLite's errors into `StoreError`s that say what to do.

    Args:
        path: edge.db.
        is_marking: Whether damage is noted for the next start: by the agent alone. Who only looks from outside may
            look while a start replaces the file, and would mark the new one.
    """
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        status = _STATUS.get(primary(error), Status.INTERNAL)
        if is_damage(error):
            if is_marking:
                quarantine.mark(path)
            status = Status.DATA_LOSS
        raise StoreError(f"{path}: {error}", mend(error, path), status) from error


def of_file(path: Path, error: OSError) -> StoreError:
    """The file system's own error with one of the database's files, in the words of SQLite's."""
    return StoreError(f"{path}: {error.strerror}", mend(error, path), _STATUS.get(primary(error), Status.INTERNAL))


def mend(error: Exception, path: Path) -> str:
    """What a person can do about a failed write.

    Args:
        error: What SQLite, or anything else on the way, raised.
        path: edge.db.

    Returns:
        One sentence.
    """
    other = _DAMAGED if is_damage(error) else "see the log for what failed while {path} was written"
    template = _MENDS.get(primary(error), other)
    return template.format(path=path, folder=path.parent)


def is_damage(error: Exception) -> bool:
    """Whether SQLite found the file damaged, or Python what SQLite read in it: text that is none."""
    is_no_text = isinstance(error, UnicodeDecodeError) or str(error).startswith(_NO_TEXT)
    return is_no_text or _STATUS.get(primary(error)) is Status.DATA_LOSS


def hanging_mend(path: Path) -> str:
    """What a person can do about a write that does not end."""
    return f"{_MENDS[sqlite3.SQLITE_IOERR].format(folder=path.parent)}; {_OTHER_WRITER.format(path=path)}"


def primary(error: BaseException | None) -> int:
    """SQLite's primary code of what it, or the file system, raised; 0 for anything else.

    Args:
        error: May be a `StoreError` that was raised from it.
    """
    if isinstance(error, StoreError):
        error = error.__cause__
    if isinstance(error, OSError):
        return _CODES.get(error.errno or 0, sqlite3.SQLITE_IOERR)
    return int(getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
