"""What is found in the write-ahead log is written once more before the database is opened, and nothing else changes."""

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edge_agent.adapters.sqlite import schema
from edge_agent.adapters.sqlite.store import FILE_NAME
from edge_agent.adapters.sqlite.write_ahead_log import SUFFIX, write_anew
from edge_agent.errors import StoreError


def test_the_log_is_written_as_it_is_and_synced_with_its_name(tmp_path: Path) -> None:
    """Every byte once, then the file, then its folder."""
    path, log = tmp_path / FILE_NAME, tmp_path / (FILE_NAME + SUFFIX)
    content = os.urandom((1 << 20) + 5)
    log.write_bytes(content)
    written: list[tuple[int, bytes]] = []
    synced: list[Path] = []

    def write(descriptor: int, data: bytes, offset: int) -> int:
        written.append((offset, data[:700_000]))
        return os.pwrite(descriptor, data[:700_000], offset)  # the kernel may take less

    def sync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    write_anew(path, write=write, sync=sync)
    assert b"".join(data for _, data in written) == log.read_bytes() == content
    assert [offset for offset, _ in written] == [0, 700_000]
    assert synced == [log, tmp_path]


def test_without_a_log_there_is_nothing_to_do(tmp_path: Path) -> None:
    """A new database, and one that was closed in order, have none; none is made."""
    write_anew(tmp_path / FILE_NAME)
    assert list(tmp_path.iterdir()) == []


def test_who_reads_meanwhile_is_not_disturbed(tmp_path: Path) -> None:
    """A read transaction that began before sees the same rows after it."""
    path = tmp_path / FILE_NAME
    with closing(schema.open_writer(path)) as writer, closing(schema.open_reader(path)) as reader:
        writer.execute("INSERT INTO sequence VALUES (1, 5)")
        reader.execute("BEGIN")
        assert reader.execute("SELECT last FROM sequence").fetchall() == [(5,)]
        write_anew(path)
        assert reader.execute("SELECT last FROM sequence").fetchall() == [(5,)]
        reader.execute("ROLLBACK")
        writer.execute("UPDATE sequence SET last = 6")
        assert reader.execute("SELECT last FROM sequence").fetchall() == [(6,)]


@pytest.mark.parametrize(
    ("code", "mend"),
    [
        (errno.EIO, "check the disk that holds"),
        (errno.EROFS, "is the disk read-only?"),
        (errno.ENOSPC, "free space on the disk"),
    ],
)
def test_a_disk_that_does_not_take_it_is_named_with_the_mend(code: int, mend: str, tmp_path: Path) -> None:
    """Nothing is done in the file then: what is in it cannot be counted on."""

    def settle(path: Path) -> None:
        raise OSError(code, os.strerror(code), str(path))

    with pytest.raises(StoreError, match=os.strerror(code)) as raised:
        schema.open_writer(tmp_path / FILE_NAME, settle=settle)
    assert mend in raised.value.mend
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def test_no_other_program_writes_the_log_meanwhile(tmp_path: Path) -> None:
    """Its newest bytes would be overwritten with older ones, and the file be damaged."""
    path, refused = tmp_path / FILE_NAME, []

    def settle(path: Path) -> None:
        with closing(sqlite3.connect(path, timeout=0.0, isolation_level=None)) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                refused.append(str(error))

    schema.open_writer(path).close()
    schema.open_writer(path, settle=settle).close()
    assert refused == ["database is locked"]
