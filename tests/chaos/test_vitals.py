"""Whoever looks into a store must not touch it."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.chaos.vitals import StoreView

_WRITE_AND_DIE = """
import os, sqlite3, sys
store = sqlite3.connect(sys.argv[1], isolation_level=None)
store.execute("PRAGMA journal_mode = wal")
store.execute("CREATE TABLE prediction (id)")
store.execute("INSERT INTO prediction VALUES ('one')")
os._exit(0)
"""


def test_a_store_that_a_kill_left_stays_as_it_is(tmp_path: Path) -> None:
    """Its log is read, neither recovered nor emptied: that is for the agent to do."""
    path = tmp_path / "edge.db"
    subprocess.run([sys.executable, "-c", _WRITE_AND_DIE, str(path)], check=True)
    left = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert set(left) == {"edge.db", "edge.db-wal", "edge.db-shm"}
    assert StoreView(path).seen_predictions() == {"one"}
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == left


def test_a_store_that_was_closed_in_order_is_read(tmp_path: Path) -> None:
    """It has no log."""
    path = tmp_path / "edge.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.execute("PRAGMA journal_mode = wal")
        store.execute("CREATE TABLE prediction (id)")
        store.execute("INSERT INTO prediction VALUES ('one')")
    assert StoreView(path).seen_predictions() == {"one"}
