"""Owns the shape of edge.db: its tables, its migrations, and how a connection to it is opened.

What the rows mean is the other modules' business. One file, WAL, `synchronous=FULL`: an acknowledged record survives a
power cut. `user_version` holds major * 1000 + minor; a newer minor only adds, so an older program may use the file; a
newer major is refused.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from edge_agent.adapters.sqlite import decision_tables
from edge_agent.adapters.sqlite.errors import StoreUpgradeError, StoreVersionError, of_file, translated
from edge_agent.adapters.sqlite.write_ahead_log import write_anew

MAJOR_STEP = 1000
BUSY_TIMEOUT_S = 5.0

# Checkpoints are small and frequent, and the log is cut back after them, so that a full disk leaves room to delete.
_WAL_PAGES = 256
_WAL_MAX_BYTES = 4 << 20

_FIRST = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE counter (
        binding TEXT NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (binding, name)
    ) WITHOUT ROWID""",
    """CREATE TABLE journal (
        row INTEGER PRIMARY KEY AUTOINCREMENT, binding TEXT NOT NULL, partition TEXT NOT NULL,
        received_ns INTEGER NOT NULL, times_ns BLOB NOT NULL, vectors BLOB NOT NULL,
        pending INTEGER NOT NULL
    )""",
    """CREATE TABLE seen (
        number INTEGER PRIMARY KEY AUTOINCREMENT, binding TEXT NOT NULL, key BLOB NOT NULL, UNIQUE (binding, key)
    )""",
    """CREATE TABLE partition_state (
        binding TEXT NOT NULL, partition TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (binding, partition)
    ) WITHOUT ROWID""",
    """CREATE TABLE prediction (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, binding TEXT NOT NULL, event TEXT NOT NULL,
        revision INTEGER NOT NULL, status TEXT NOT NULL, broker TEXT NOT NULL, topic TEXT NOT NULL,
        qos INTEGER NOT NULL, expiry_s INTEGER,
        wall_ns INTEGER NOT NULL, monotonic_s REAL NOT NULL, boot_id TEXT NOT NULL, synced INTEGER NOT NULL
    )""",
    "CREATE INDEX prediction_by_binding ON prediction (binding, number)",
    """CREATE TABLE escalation (
        prediction_id TEXT PRIMARY KEY, binding TEXT NOT NULL, class INTEGER NOT NULL, seq INTEGER NOT NULL,
        reason TEXT NOT NULL, propensity REAL NOT NULL, input_digest TEXT NOT NULL, state TEXT NOT NULL,
        wall_ns INTEGER NOT NULL, monotonic_s REAL NOT NULL, boot_id TEXT NOT NULL, synced INTEGER NOT NULL,
        changed_ns INTEGER NOT NULL, UNIQUE (class, seq)
    )""",
    "CREATE INDEX escalation_open ON escalation (class, seq) WHERE state IN ('queued', 'sent', 'acked')",
    "CREATE TABLE sequence (class INTEGER PRIMARY KEY, last INTEGER NOT NULL)",
    """CREATE TABLE outbox (
        row INTEGER PRIMARY KEY AUTOINCREMENT, class INTEGER NOT NULL, seq INTEGER NOT NULL,
        destination TEXT NOT NULL, state TEXT NOT NULL, subject TEXT NOT NULL, binding TEXT NOT NULL,
        prediction_id TEXT NOT NULL, topic TEXT NOT NULL, qos INTEGER NOT NULL, retain INTEGER NOT NULL,
        expiry_s INTEGER, payload BLOB NOT NULL, bytes INTEGER NOT NULL,
        wall_ns INTEGER NOT NULL, monotonic_s REAL NOT NULL, boot_id TEXT NOT NULL, synced INTEGER NOT NULL,
        UNIQUE (class, seq)
    )""",
    "CREATE INDEX outbox_by_destination ON outbox (destination, state, row)",
    "CREATE INDEX outbox_by_class ON outbox (class, row)",
    # The bytes in use are kept by the database itself, so that no write can forget them.
    "CREATE TABLE usage (class INTEGER PRIMARY KEY, items INTEGER NOT NULL, bytes INTEGER NOT NULL)",
    """CREATE TRIGGER outbox_grows AFTER INSERT ON outbox BEGIN
        INSERT INTO usage VALUES (new.class, 1, new.bytes)
        ON CONFLICT (class) DO UPDATE SET items = items + 1, bytes = bytes + new.bytes;
    END""",
    """CREATE TRIGGER outbox_shrinks AFTER DELETE ON outbox BEGIN
        UPDATE usage SET items = items - 1, bytes = bytes - old.bytes WHERE class = old.class;
    END""",
    """CREATE TABLE dead_letter (
        number INTEGER PRIMARY KEY AUTOINCREMENT, binding TEXT NOT NULL, topic TEXT NOT NULL, reason TEXT NOT NULL,
        detail TEXT NOT NULL, received_ns INTEGER NOT NULL, head BLOB NOT NULL, length INTEGER NOT NULL,
        digest TEXT NOT NULL, truncated INTEGER NOT NULL, bytes INTEGER NOT NULL
    )""",
    "CREATE TABLE dead_letter_usage (only INTEGER PRIMARY KEY CHECK (only = 0), bytes INTEGER NOT NULL)",
    "INSERT INTO dead_letter_usage VALUES (0, 0)",
    """CREATE TRIGGER dead_letter_grows AFTER INSERT ON dead_letter BEGIN
        UPDATE dead_letter_usage SET bytes = bytes + new.bytes;
    END""",
    """CREATE TRIGGER dead_letter_shrinks AFTER DELETE ON dead_letter BEGIN
        UPDATE dead_letter_usage SET bytes = bytes - old.bytes;
    END""",
)

# A table of its own, beside `prediction`: an older program, which writes that one without naming its columns, goes on.
_PROVENANCE = (
    """CREATE TABLE provenance (
        prediction_id TEXT PRIMARY KEY, partition TEXT NOT NULL, edge_event TEXT, feedback BLOB
    ) WITHOUT ROWID""",
    "INSERT INTO provenance SELECT id, '', NULL, NULL FROM prediction",
)

# What the hub has and may have to be told again. Tables and triggers beside `outbox`, for the same reason.
_RETAINED = (
    """CREATE TABLE retained (
        row INTEGER PRIMARY KEY, class INTEGER NOT NULL, bytes INTEGER NOT NULL,
        wall_ns INTEGER NOT NULL, monotonic_s REAL NOT NULL, boot_id TEXT NOT NULL, synced INTEGER NOT NULL
    )""",
    "CREATE TABLE retained_usage (class INTEGER PRIMARY KEY, items INTEGER NOT NULL, bytes INTEGER NOT NULL)",
    """CREATE TRIGGER retained_grows AFTER INSERT ON retained BEGIN
        INSERT INTO retained_usage VALUES (new.class, 1, new.bytes)
        ON CONFLICT (class) DO UPDATE SET items = items + 1, bytes = bytes + new.bytes;
    END""",
    """CREATE TRIGGER retained_shrinks AFTER DELETE ON retained BEGIN
        UPDATE retained_usage SET items = items - 1, bytes = bytes - old.bytes WHERE class = old.class;
    END""",
    """CREATE TRIGGER outbox_waits_again AFTER UPDATE OF state ON outbox
    WHEN old.state = 'acked' AND new.state != 'acked' BEGIN DELETE FROM retained WHERE row = old.row; END""",
    """CREATE TRIGGER outbox_forgets AFTER DELETE ON outbox WHEN old.state = 'acked'
    BEGIN DELETE FROM retained WHERE row = old.row; END""",
    """INSERT INTO retained SELECT row, class, bytes, wall_ns, monotonic_s, boot_id, synced FROM outbox
    WHERE state = 'acked'""",
    "CREATE INDEX outbox_waiting ON outbox (class, seq) WHERE state != 'acked'",
    # A long backlog is counted from the index alone.
    "DROP INDEX escalation_open",
    "CREATE INDEX escalation_pending ON escalation (binding, state) WHERE state IN ('queued', 'sent', 'acked')",
)

# The order in which predictions came and changed, each once, at its newest; kept by the database itself, so that no
# write, and no older program, can forget it.
_NEWS = (
    "CREATE TABLE news (number INTEGER PRIMARY KEY AUTOINCREMENT, prediction_id TEXT NOT NULL UNIQUE)",
    "INSERT INTO news (prediction_id) SELECT id FROM prediction ORDER BY number",
    """CREATE TRIGGER prediction_comes AFTER INSERT ON prediction BEGIN
        INSERT INTO news (prediction_id) VALUES (new.id);
    END""",
    """CREATE TRIGGER prediction_changes AFTER UPDATE OF event ON prediction BEGIN
        DELETE FROM news WHERE prediction_id = new.id;
        INSERT INTO news (prediction_id) VALUES (new.id);
    END""",
    """CREATE TRIGGER prediction_goes AFTER DELETE ON prediction BEGIN
        DELETE FROM news WHERE prediction_id = old.id;
    END""",
)

# Why the hub would not have an escalation, as long as the escalation itself is remembered.
_REJECTION = (
    """CREATE TABLE rejection (
        prediction_id TEXT PRIMARY KEY, status TEXT NOT NULL, message TEXT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TRIGGER escalation_goes AFTER DELETE ON escalation BEGIN
        DELETE FROM rejection WHERE prediction_id = old.prediction_id;
    END""",
)

MIGRATIONS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (1 * MAJOR_STEP, _FIRST),
    (1 * MAJOR_STEP + 1, _PROVENANCE),
    (1 * MAJOR_STEP + 2, _RETAINED),
    (1 * MAJOR_STEP + 3, _NEWS),
    (1 * MAJOR_STEP + 4, decision_tables.TABLES),
    (1 * MAJOR_STEP + 5, _REJECTION),
    (1 * MAJOR_STEP + 6, decision_tables.OUTCOMES),
)
"""(version after it, statements), oldest first; a new one is added at the end and none is ever changed."""

VERSION = MIGRATIONS[-1][0]


def open_writer(
    path: Path,
    migrations: tuple[tuple[int, tuple[str, ...]], ...] = MIGRATIONS,
    *,
    settle: Callable[[Path], None] = write_anew,
) -> sqlite3.Connection:
    """Open the one write connection, and create or migrate the file. What is found in it is durable.

    Args:
        path: edge.db; its folder must exist.
        migrations: As `MIGRATIONS`; tests pass their own.
        settle: Makes durable what the write-ahead log holds, whatever became of the syncs before.

    Returns:
        A connection in autocommit mode that may be used from any one thread at a time.

    Raises:
        StoreVersionError: The file was written by a newer major version.
        StoreError: The file is no database, is damaged, or cannot be written.
    """
    with translated(path):
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a new file; an older one stays as it is
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit = {_WAL_MAX_BYTES}")
            _settle(connection, path, settle)
            _migrate(connection, path, migrations)
        except BaseException:
            connection.close()
            raise
        return connection


def open_reader(path: Path, *, is_marking: bool = False) -> sqlite3.Connection:
    """Open a connection that can only read; the writer may be this process, another one, or none.

    Args:
        path: edge.db, which must exist.
        is_marking: Whether damage is noted for the next start.

    Returns:
        A connection in autocommit mode that may be used from any one thread at a time.

    Raises:
        StoreVersionError: The file was written by a newer major version.
        StoreError: There is no such file, or it cannot be read.
    """
    with translated(path, is_marking=is_marking):
        # The WAL of a dead writer can only be recovered with write access, so the file is opened for it and told no.
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
            uri=True,
        )
        try:
            connection.execute("PRAGMA query_only = ON")
            _refuse_newer(_version(connection), path)
        except BaseException:
            connection.close()
            raise
        return connection


def refuse_older(connection: sqlite3.Connection, path: Path) -> None:
    """Say why a table or a column is missing where that is because no program of this version opened the file yet.

    Raises:
        StoreUpgradeError: It is.
    """
    found = _version(connection)
    if found < VERSION:
        raise StoreUpgradeError(path, found, VERSION)


def _settle(connection: sqlite3.Connection, path: Path, settle: Callable[[Path], None]) -> None:
    """Settle the log while no other program can write it: one that just did would find older bytes over its own."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        settle(path)
    except OSError as error:
        raise of_file(path, error) from error
    finally:
        connection.execute("ROLLBACK")


def _migrate(connection: sqlite3.Connection, path: Path, migrations: tuple[tuple[int, tuple[str, ...]], ...]) -> None:
    found = _version(connection)
    _refuse_newer(found, path, migrations[-1][0])
    for version, statements in migrations:
        if version <= found:
            continue
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _refuse_newer(found: int, path: Path, newest: int = VERSION) -> None:
    if found // MAJOR_STEP > newest // MAJOR_STEP:
        raise StoreVersionError(path, found, newest)
