"""Owns the agent's store without its threads: all of it is real, on a database in memory, and each call ends at once.

The writer's thread is replaced by its body, run whenever something is handed to it. The database outlives its store, as
a disk outlives a process; and it knows what a power cut may take back: commits that did not ask for a sync, newest
first (WAL, `synchronous=NORMAL`; what a cut does to bytes is shown by tests/chaos/test_power_cuts.py).
"""

import itertools
import sqlite3
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Self, cast

from edge_agent.adapters.sqlite import upkeep
from edge_agent.adapters.sqlite.outbox import pass_over_lost_numbers
from edge_agent.adapters.sqlite.schema import open_writer
from edge_agent.adapters.sqlite.store import Store, StoreSettings
from edge_agent.adapters.sqlite.transaction import read_meta
from edge_agent.adapters.sqlite.writer import Writer
from edge_agent.ports import AckHandle
from tests.unit.edge_agent.adapters.sqlite.builders import TestClock

Watch = Callable[[str, Any, Any], None]
"""Told of every change of a row: what (`escalation`, `bytes`, or the new status of an event), before, after."""

_IN_MEMORY = Path(":memory:")
_WATCHES = (
    """CREATE TEMP TRIGGER watch_escalation AFTER UPDATE OF state ON escalation
    BEGIN SELECT watch('escalation', old.state, new.state); END""",
    """CREATE TEMP TRIGGER watch_revision AFTER UPDATE OF revision ON prediction
    BEGIN SELECT watch(new.status, old.revision, new.revision); END""",
    """CREATE TEMP TRIGGER watch_bytes AFTER UPDATE OF bytes ON usage WHEN new.bytes > old.bytes
    BEGIN SELECT watch('bytes', old.bytes, (SELECT sum(bytes) FROM usage)); END""",
)


def _nobody(*_: object, **__: object) -> None:
    """Nobody is told."""


class _Connection(sqlite3.Connection):
    """Tells its disk of every commit, and whether that was synced."""

    committed: Callable[..., None] = staticmethod(_nobody)
    watch: Watch = staticmethod(_nobody)
    is_synced = True

    def told(self, what: str, before: Any, after: Any) -> None:  # noqa: ANN401 - what a column holds
        """By a trigger, of a change."""
        self.watch(what, before, after)

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:  # noqa: ANN401 - as sqlite3's own
        """As ever."""
        found = super().execute(sql, *arguments)
        if sql == "COMMIT":
            self.committed(is_synced=self.is_synced)
        elif sql.startswith("PRAGMA synchronous ="):
            self.is_synced = sql.endswith("FULL")
        return found


class _Blank:
    """A database as the agent makes it, before it has an identity; connections that were used once are used again.

    That is worth a fifth of the time of a history: statements stay prepared, triggers stay made.
    """

    def __init__(self) -> None:
        made = open_writer(_IN_MEMORY)
        self.image = made.serialize()
        self._tables = [name for (name,) in made.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        self._rows = {name: made.execute(f"SELECT * FROM {name}").fetchall() for name in self._tables}  # noqa: S608 - own names
        self._used: list[_Connection] = []
        made.close()

    def connection(self) -> _Connection:
        """A connection to an empty database."""
        return self._used.pop() if self._used else self.laid(self.image)

    def laid(self, image: bytes) -> _Connection:
        """A connection to a database that is a copy."""
        connection = sqlite3.connect(_IN_MEMORY, isolation_level=None, factory=_Connection, cached_statements=512)
        connection.deserialize(image)
        connection.create_function("watch", 3, connection.told)
        for trigger in _WATCHES:
            connection.execute(trigger)
        return connection

    def done(self, connection: _Connection) -> None:
        """Empty it for the next one."""
        connection.committed = connection.watch = _nobody
        for name in (*self._tables, *self._tables):  # twice: triggers write into some tables when rows go from others
            connection.execute(f"DELETE FROM {name}")  # noqa: S608 - own names
        for name, rows in self._rows.items():
            if rows:
                connection.executemany(f"INSERT INTO {name} VALUES ({','.join('?' * len(rows[0]))})", rows)  # noqa: S608 - own names
        self._used.append(connection)


@lru_cache(maxsize=1)
def _blank() -> _Blank:
    return _Blank()


class Disk:
    """What a device keeps when its agent ends: the database.

    Args:
        watch: Told of every move of an escalation, of every revision, and of the bytes in use.
        keeps_images: Whether the power may be cut: then what a cut may leave is kept.
    """

    def __init__(self, watch: Watch, *, keeps_images: bool) -> None:
        self._watch = watch
        self._keeps_images = keeps_images
        self._images: list[bytes] = []
        self.connection = self._taken(_blank().connection(), _blank().image)

    def image(self) -> bytes:
        """A copy, for a backup."""
        return self.connection.serialize()

    def left_by_a_power_cut(self) -> list[bytes]:
        """What a power cut now may leave: the last synced commit, or any one after it."""
        return list(self._images)

    def put_back(self, image: bytes) -> None:
        """Replace the database by a copy; no store may be open on it."""
        self.connection.close()
        self.connection = self._taken(_blank().laid(image), image)

    def end_of_process(self) -> None:
        """Whoever wrote has ended, perhaps within a transaction."""
        if self.connection.in_transaction:
            self.connection.rollback()
        self.connection.is_synced = True

    def close(self) -> None:
        """Let it go."""
        self.end_of_process()
        _blank().done(self.connection)

    def _taken(self, connection: _Connection, image: bytes) -> _Connection:
        connection.watch = self._watch
        self._images = [image]
        if self._keeps_images:
            connection.committed = self._committed
        return connection

    def _committed(self, *, is_synced: bool) -> None:
        if is_synced:
            self._images.clear()
        self._images.append(self.connection.serialize())


class _AtOnce:
    """Stands where the writer's condition stands: whoever hands something over runs the thread's body."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._is_rung = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_rung:
            self._is_rung = False
            self._writer._gather()
            self._writer._try_to_commit()
            assert not self._writer._aside, "something waits for room, and nobody else makes any"

    def notify(self) -> None:
        """Something was handed over."""
        self._is_rung = True


def stepped_store(
    disk: Disk, clock: TestClock, settings: StoreSettings, acknowledge: Callable[[Sequence[AckHandle]], None]
) -> Store:
    """Start a store on a disk, as a new process does.

    Args:
        disk: What the last process left.
        clock: The device's.
        settings: The bounds.
        acknowledge: Gets the acknowledgements after their commit.

    Returns:
        The real store, whose every call returns after its commit; it has no thread, no lock and no file.
    """
    disk.end_of_process()
    store = Store(
        Path("in-memory"),
        clock,
        settings,
        agent_version="1.2.3",
        acknowledge=acknowledge,
        on_publishable=lambda: None,
        on_commit=lambda took_s, counts: None,  # noqa: ARG005 - nobody measures here
    )
    writer = store._writer
    writer._changed = cast("Any", _AtOnce(writer))
    vars(writer).update(_failed=_raise)
    store._rows = itertools.count(upkeep.prepare(disk.connection))
    pass_over_lost_numbers(disk.connection, clock.boot_id())
    store._reader._connection = store._onlooker._connection = writer._connection = disk.connection
    writer._commit_number = int(read_meta(disk.connection, "commit_number") or 0)
    return store


def _raise(error: Exception, _began_s: float) -> None:
    """Here no commit fails: an error in one is the simulation's or the store's own."""
    raise error
