"""Owns the room that edge.db may take: its bound in pages, and a reserve file that is given up when the disk is full.

A full disk is not a broken one: what is deleted makes room again, but even a deletion has to be written first. So space
is kept in reserve for that. When a write finds no room, the reserve goes, the file may not grow any more, and the
writer keeps only the books (`backlog.py`). When there is room again for the reserve, all goes on as before. The same
holds when the file itself reached its bound: then free pages inside it are waited for.
"""

import contextlib
import logging
import os
import sqlite3
from pathlib import Path

from edge_agent.adapters.sqlite.errors import primary

RESERVE_NAME = "edge.db.reserve"
RELEASED_PAGES = 64

_SLACK_PAGES = 64  # for the books of a tight time: counters, and stubs of records that open windows still need
_ROOMY_PAGES = 256
_LEAST_FREE_BYTES = 1 << 20
_KEPT_PAGES = 256  # free pages that stay in the file: taking them again costs nothing

logger = logging.getLogger(__name__)


class Room:
    """Used by the writer's thread; `is_tight` and `problem` may be read by any.

    Args:
        path: edge.db.
        max_bytes: How large it may grow.
        reserve_bytes: Size of the reserve beside it; 0 keeps none.
    """

    def __init__(self, path: Path, max_bytes: int, reserve_bytes: int) -> None:
        self._path = path
        self._reserve = path.with_name(RESERVE_NAME)
        self._max_bytes = max_bytes
        self._reserve_bytes = reserve_bytes
        self._max_pages = 0
        self._is_at_bound = False
        self.is_tight = False

    @property
    def problem(self) -> str | None:
        """Why only the books are kept, with the mend; None while there is room."""
        if not self.is_tight:
            return None
        if self._is_at_bound:
            return (
                f"journal: {self._path} has reached its bound of {self._max_bytes} bytes, records are shed; "
                "raise outbox.max_bytes, or find out why the hub or the broker is away"
            )
        return (
            f"journal: the disk is full, records are shed; free space on the disk that holds {self._path.parent}, "
            f"at least {self._wanted_bytes()} bytes"
        )

    def keep_reserve(self) -> None:
        """Make the reserve, at start; a disk without room for it starts tight."""
        if not self.is_tight and not self._has_made_reserve():
            self.tighten()

    def bind(self, connection: sqlite3.Connection) -> None:
        """Bound the file, on each new write connection."""
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        self._max_pages = self._max_bytes // page_bytes
        bound = min(pages, self._max_pages) + _SLACK_PAGES if self.is_tight else self._max_pages
        connection.execute(f"PRAGMA max_page_count = {bound}")

    def is_missing(self, error: BaseException | None) -> bool:
        """Whether a write failed for want of room; SQLite calls some of these errors I/O errors."""
        code = primary(error)
        return code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and self._free_bytes() < _LEAST_FREE_BYTES)

    def tighten(self) -> bool:
        """Begin a tight time; False when it had begun before. On a full disk the reserve goes.

        The tight bound holds from the next `bind` on.
        """
        if self.is_tight:
            return False
        self._is_at_bound = self._free_bytes() >= self._wanted_bytes()
        self.is_tight = True
        if self._is_at_bound:
            logger.error("journal_at_its_bound", extra={"path": str(self._path), "max_bytes": self._max_bytes})
            return True
        with contextlib.suppress(OSError):  # a disk that cannot even delete stays as full as it is
            self._reserve.unlink(missing_ok=True)
        logger.error("journal_disk_full", extra={"path": str(self._path)})
        return True

    def loosen(self, connection: sqlite3.Connection) -> None:
        """Go on as before if there is room again, outside and inside the file."""
        if not self.is_tight or self._free_bytes() < self._wanted_bytes():
            return
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        if self._max_pages - pages + free < min(_ROOMY_PAGES, self._max_pages // 8) or not self._has_made_reserve():
            return
        self.is_tight = False
        self.bind(connection)
        logger.info("journal_has_room", extra={"path": str(self._path)})

    def _wanted_bytes(self) -> int:
        """Free space that ends a tight time: well above the reserve, so that its end does not begin the next one."""
        return max(2 * self._reserve_bytes, _LEAST_FREE_BYTES)

    def _free_bytes(self) -> int:
        try:
            found = os.statvfs(self._path.parent)
        except OSError:
            return 0
        return found.f_bavail * found.f_frsize

    def _has_made_reserve(self) -> bool:
        if self._reserve_bytes == 0:
            return True
        try:
            file = os.open(self._reserve, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(file, 0, self._reserve_bytes)
                os.ftruncate(file, self._reserve_bytes)
            finally:
                os.close(file)
        except OSError:
            with contextlib.suppress(OSError):
                self._reserve.unlink(missing_ok=True)
            return False
        return True


def release(connection: sqlite3.Connection) -> None:
    """Give a few free pages back to the disk, inside a transaction; files of older versions keep theirs."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    for _ in range(min(free - _KEPT_PAGES, RELEASED_PAGES)):
        connection.execute("PRAGMA incremental_vacuum(1)")  # more than one needs steps that this module cannot ask for
