"""The recorder sees all that SQLite does in its folder, through the standard library, and leaves no trace of itself."""

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from tests.simulators.power_cut import Created, FolderSynced, Promised, Removed, Synced, SyncFailed, Trace, Written
from tests.simulators.power_cut_recorder import PowerCutRecorder


def live(path: Path, synchronous: str = "FULL") -> sqlite3.Connection:
    """A database in WAL mode with rows and at least one checkpoint."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA wal_autocheckpoint = 10")
    connection.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, data BLOB)")
    for number in range(20):
        connection.execute("INSERT INTO t VALUES (?, ?)", (number, b"x" * 3000))
    return connection


def test_the_trace_is_what_the_files_hold(tmp_path: Path) -> None:
    """Played again without a cut, it gives every file byte for byte: no write went unseen."""
    with contextlib.ExitStack() as later, PowerCutRecorder(tmp_path) as recorder:
        connection = live(tmp_path / "f.db")
        # Closed after SQLite has closed them: before that, its locks would go with them.
        files = {name: later.enter_context((tmp_path / name).open("rb")) for name in ("f.db", "f.db-wal")}
        assert played(recorder.trace()) == {name: file.read() for name, file in files.items()}
        connection.execute("DELETE FROM t WHERE n < 10")
        connection.close()
    assert played(recorder.trace()) == {"f.db": (tmp_path / "f.db").read_bytes()}


def played(trace: Trace) -> dict[str, bytes]:
    """All files when nothing is lost."""
    return trace.files_after(len(trace.events))


def test_a_full_commit_is_synced_before_it_returns(tmp_path: Path) -> None:
    """The last event on the log before the promise is a sync; with NORMAL it is a write."""
    last = {}
    for synchronous in ("FULL", "NORMAL"):
        folder = tmp_path / synchronous
        folder.mkdir()
        with PowerCutRecorder(folder) as recorder:
            connection = live(folder / "f.db", synchronous)
            connection.execute("INSERT INTO t VALUES (100, x'00')")
            recorder.promise(Promised("row 100", "SELECT count(*) FROM t WHERE n = 100"))
            connection.close()
        events = recorder.trace().events
        promised = next(number for number, event in enumerate(events) if isinstance(event, Promised))
        last[synchronous] = events[promised - 1]
    assert last["FULL"] == Synced("f.db-wal")
    assert isinstance(last["NORMAL"], Written)


def test_a_sync_that_fails_on_demand_is_sqlite_s_error_and_seen(tmp_path: Path) -> None:
    """As often as asked for; the statement fails as on a dying disk, and the next one succeeds."""
    with PowerCutRecorder(tmp_path) as recorder:
        connection = live(tmp_path / "f.db")
        recorder.fail_syncs(1)
        with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
            connection.execute("INSERT INTO t VALUES (100, x'00')")
        connection.execute("INSERT INTO t VALUES (101, x'00')")
        connection.close()
    assert [event.name for event in recorder.trace().events if isinstance(event, SyncFailed)] == ["f.db-wal"]


def test_what_others_do_to_the_files_is_seen_through_its_own_calls(tmp_path: Path) -> None:
    """They do what the system's do, and fail as SQLite's own syncs do."""
    (tmp_path / "f").write_bytes(b"abc")
    with PowerCutRecorder(tmp_path) as recorder:
        file, folder = os.open(tmp_path / "f", os.O_RDWR), os.open(tmp_path, os.O_RDONLY)
        assert recorder.write(file, b"xy", 1) == 2
        recorder.fail_syncs(1)
        with pytest.raises(OSError, match="Input/output error"):
            recorder.sync(file)
        recorder.sync(file)
        recorder.sync(folder)
        os.close(file)
        os.close(folder)
    assert (tmp_path / "f").read_bytes() == b"axy"
    assert recorder.trace().events == (Written("f", 1, b"xy"), SyncFailed("f"), Synced("f"), FolderSynced())


def test_names_are_seen(tmp_path: Path) -> None:
    """New and removed files, and the sync of the folder that makes a new log's name durable."""
    with PowerCutRecorder(tmp_path) as recorder:
        live(tmp_path / "f.db").close()
    events = recorder.trace().events
    assert Created("f.db") in events
    assert Removed("f.db-wal") in events
    assert events.index(Created("f.db-wal")) < len(events) - 1 - events[::-1].index(FolderSynced())


def test_files_from_before_are_durable(tmp_path: Path) -> None:
    """What the folder held when the recording began is the ground that a cut falls back to."""
    live(tmp_path / "f.db").close()
    before = (tmp_path / "f.db").read_bytes()
    with PowerCutRecorder(tmp_path) as recorder:
        sqlite3.connect(tmp_path / "f.db").close()
    assert recorder.trace().files == {"f.db": before}


def test_other_folders_and_other_times_are_not_recorded(tmp_path: Path) -> None:
    """A database elsewhere, in memory, or opened after the recording is none of its business."""
    folder = tmp_path / "db"
    folder.mkdir()
    with PowerCutRecorder(folder) as recorder:
        live(tmp_path / "elsewhere.db").close()
        sqlite3.connect(":memory:").execute("CREATE TABLE t (n)").connection.close()
    live(folder / "f.db").close()
    assert recorder.trace().events == ()
