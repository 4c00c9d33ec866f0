"""A damaged edge.db is put aside, whole, and a new one begun: the device answers again without a person."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from edge_agent.adapters.sqlite import quarantine
from edge_agent.adapters.sqlite.store import FILE_NAME
from edge_agent.errors import StoreError
from edge_agent.ports import RowId
from tests.unit.edge_agent.adapters.sqlite.builders import BINDING, decided, open_store, record_unit

PAGE_BYTES = 4096
HEAD_OF_A_LOG = bytes.fromhex("377f0682002de218000010000000000012345678123456780000000000000000")
ASIDE = f"{FILE_NAME}.damaged"


def filled(folder: Path) -> None:
    """A store with some pages of rows, closed in an orderly way."""
    folder.mkdir()
    opened = open_store(folder)
    for number in range(40):
        opened.commit(record_unit(opened.store, f"k{number}".encode(), decided(opened.store, f"p{number}")))
    opened.store.close()


def left_open(folder: Path, copy: Path) -> None:
    """What a power cut leaves of such a store: its write-ahead log is still there."""
    filled(folder)
    opened = open_store(folder)
    opened.commit(record_unit(opened.store, b"last", decided(opened.store, "last")))
    copy.mkdir()
    for path in folder.glob(f"{FILE_NAME}*"):
        shutil.copy(path, copy)
    opened.store.close()


def damage(path: Path) -> None:
    """Overwrite the head of a page that is read to find what waits for a broker, and by no start."""
    connection = sqlite3.connect(path)
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'outbox_by_destination'").fetchone()
    connection.close()
    data = bytearray(path.read_bytes())
    start = (page - 1) * PAGE_BYTES
    data[start : start + 64] = b"\x5a" * 64
    path.write_bytes(data)


def settled(path: Path) -> None:
    """Leave the head of a log beside the file, as a stop right after a checkpoint does."""
    log = path.with_name(f"{path.name}-wal")
    log.write_bytes(HEAD_OF_A_LOG)


def test_a_file_that_is_no_database_is_put_aside(tmp_path: Path) -> None:
    """The store opens, and says where the old file lies, until somebody has taken it away."""
    rubbish = b"no database at all" * 100
    (tmp_path / FILE_NAME).write_bytes(rubbish)
    opened = open_store(tmp_path)
    assert opened.store.is_durable
    assert (tmp_path / ASIDE).read_bytes() == rubbish
    assert ASIDE in (opened.store.problem or "")
    (tmp_path / ASIDE).unlink()
    assert opened.store.problem is None
    opened.store.close()


def test_damage_after_an_unclean_stop_is_found_at_start(tmp_path: Path) -> None:
    """Before anybody has read the damaged page."""
    copy = tmp_path / "copy"
    left_open(tmp_path / "life", copy)
    damage(copy / FILE_NAME)
    settled(copy / FILE_NAME)
    opened = open_store(copy)
    opened.commit(record_unit(opened.store, b"new", decided(opened.store, "new")))
    assert opened.broken_equations() == []
    opened.store.close()
    assert (copy / ASIDE).exists()


def test_an_unclean_stop_alone_is_no_damage(tmp_path: Path) -> None:
    """Everything is there, and nothing is put aside."""
    copy = tmp_path / "copy"
    left_open(tmp_path / "life", copy)
    opened = open_store(copy)
    assert b"last" in opened.store.remembered(BINDING).seen
    assert opened.store.problem is None
    opened.store.close()


def test_damage_that_is_met_on_the_way_is_put_aside_at_the_next_start(tmp_path: Path) -> None:
    """Meanwhile the status names the mend; what the agent holds in memory belongs to the old file."""
    folder = tmp_path / "life"
    filled(folder)
    damage(folder / FILE_NAME)
    opened = open_store(folder)
    with pytest.raises(StoreError):
        opened.store.publishable("site", 100, {RowId(0)})
    assert "restart the agent" in (opened.store.problem or "")
    opened.store.close()
    again = open_store(folder)
    assert again.store.problem is not None
    assert (folder / ASIDE).exists()
    assert again.broken_equations() == []
    again.store.close()


def test_text_that_is_none_is_damage(tmp_path: Path) -> None:
    """A flipped byte in the schema or in a row is told by Python and not by SQLite, and is damage all the same."""
    for number, (column, table) in enumerate((("sql", "sqlite_master"), ("value", "meta"))):
        folder = tmp_path / str(number)
        filled(folder)
        connection = sqlite3.connect(folder / FILE_NAME)
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(f"UPDATE {table} SET {column} = CAST(x'4352f645' AS TEXT)")  # noqa: S608 - own names
        connection.commit()
        connection.close()
        opened = open_store(folder)
        opened.commit(record_unit(opened.store, b"new", decided(opened.store, "new")))
        opened.store.close()
        assert (folder / ASIDE).exists()


def test_only_the_newest_damaged_file_is_kept(tmp_path: Path) -> None:
    """Damage that comes back does not fill the disk."""
    for rubbish in (b"first" * 1000, b"second" * 1000):
        (tmp_path / FILE_NAME).write_bytes(rubbish)
        open_store(tmp_path).store.close()
    assert (tmp_path / ASIDE).read_bytes() == b"second" * 1000
    assert not quarantine.is_marked(tmp_path / FILE_NAME)


def test_a_folder_where_nothing_can_be_moved_is_told(tmp_path: Path) -> None:
    """Then a person must do it, and is told what."""
    path = tmp_path / FILE_NAME
    path.write_bytes(b"rubbish" * 1000)
    quarantine.aside(path).mkdir()
    with pytest.raises(StoreError, match="cannot be put aside") as caught:
        open_store(tmp_path)
    assert "move" in caught.value.mend


def test_a_sound_file_passes_the_look_at_every_page(tmp_path: Path) -> None:
    """The control of `damage`: it is what makes the look fail."""
    filled(tmp_path / "life")
    path = tmp_path / "life" / FILE_NAME
    connection = sqlite3.connect(path)
    quarantine.examine(connection, path)
    connection.close()
    damage(path)
    connection = sqlite3.connect(path)
    with pytest.raises(StoreError, match=FILE_NAME):
        quarantine.examine(connection, path)
    connection.close()
