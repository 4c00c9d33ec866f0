"""What a full, bounded, read-only or failing disk does to the store: the books go on, and so does all, by itself."""

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.adapters.sqlite import backlog, room
from edge_agent.adapters.sqlite.reading import Reader
from edge_agent.adapters.sqlite.room import RESERVE_NAME
from edge_agent.adapters.sqlite.store import FILE_NAME, StoreSettings
from edge_agent.core.accounting import Count, equations, of_reason
from edge_agent.ports import Unit
from tests.simulators.waiting import wait_until
from tests.unit.edge_agent.adapters.sqlite.builders import (
    BINDING,
    Opened,
    decided,
    limits,
    open_store,
    record_unit,
    rows,
)

DEADLINE_S = 30.0
SHED = of_reason(Count.RECORDS_SHED, backlog.JOURNAL_UNAVAILABLE)
DISK_BYTES = 12 << 20
SETTINGS = StoreSettings(limits(8 << 20), 3600.0, 1 << 18, reserve_bytes=4 << 20)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own, in memory."""
    if os.geteuid() != 0:
        pytest.skip("a small disk is mounted for this test, which takes root")
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all the space that is left."""
    filler = folder / "somebody-elses-file"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return filler


def submit(opened: Opened, number: int) -> None:
    """One record of about 4 KB with one answer."""
    unit = record_unit(opened.store, b"k%d" % number, decided(opened.store, f"p{number}"), message_id=number)
    opened.store.submit(unit)


def acknowledged(opened: Opened, total: int) -> None:
    """Wait for so many acknowledgements, and for them in order."""
    wait_until(lambda: len(opened.acknowledged) == total, DEADLINE_S, f"{total} acknowledgements")
    assert [handle.message_id for handle in opened.acknowledged] == list(range(total))


def wait_for(opened: Opened, condition: Callable[[], bool], what: str) -> None:
    """Let time pass, and the sweep of each second come by, until a condition holds."""

    def holds() -> bool:
        opened.clock.pass_s(1.0)
        opened.store.submit(Unit())
        return condition()

    wait_until(holds, DEADLINE_S, what)


def test_a_full_disk_keeps_the_books_and_goes_on_by_itself_when_there_is_space(tmp_path: Path) -> None:
    """Each record is acknowledged after the commit that counts it, journaled or shed; nothing waits for the space."""
    with small_disk(tmp_path / "disk") as folder:
        opened = open_store(folder, settings=SETTINGS)
        assert (folder / RESERVE_NAME).stat().st_size == SETTINGS.reserve_bytes
        filler = fill(folder)
        for number in range(1500):
            submit(opened, number)
            if number % 100 == 0:
                acknowledged(opened, number + 1)
        acknowledged(opened, 1500)
        assert [opened.store.is_durable] == [False]
        assert "the disk is full" in (opened.store.problem or "")
        assert list(folder.glob(RESERVE_NAME)) == []
        onlooker = Reader(folder / FILE_NAME)
        onlooker.open()
        committed = {(str(binding), name): value for (binding, name), value in onlooker.figures().items()}
        onlooker.close()
        assert committed[BINDING, Count.RECORDS_RECEIVED] == 1500
        assert committed[BINDING, SHED] > 0
        assert all(one.holds for one in equations(committed))

        filler.unlink()
        wait_for(opened, lambda: opened.store.problem is None, "space")
        assert [opened.store.is_durable] == [True]
        assert (folder / RESERVE_NAME).exists()
        journaled = opened.counts().get(Count.RECORDS_JOURNALED, 0)
        submit(opened, 1500)
        acknowledged(opened, 1501)
        assert opened.counts()[Count.RECORDS_JOURNALED] == journaled + 1
        assert opened.broken_equations() == []
        opened.store.close()


def test_an_agent_starts_on_a_full_disk_from_its_reserve(tmp_path: Path) -> None:
    """A power cycle while the disk is full leaves a device that answers, and says what to mend."""
    with small_disk(tmp_path / "disk") as folder:
        opened = open_store(folder, settings=SETTINGS)
        submit(opened, 0)
        acknowledged(opened, 1)
        opened.store.close()
        filler = fill(folder)
        again = open_store(folder, settings=SETTINGS)
        assert "the disk is full" in (again.store.problem or "")
        submit(again, 0)
        acknowledged(again, 1)
        assert (again.counts()[Count.RECORDS_RECEIVED], again.counts()[SHED]) == (2, 1)
        filler.unlink()
        wait_for(again, lambda: again.store.problem is None, "space")
        assert again.broken_equations() == []
        again.store.close()


@pytest.mark.parametrize(
    ("code", "words"),
    [(sqlite3.SQLITE_IOERR | 10 << 8, "smartctl"), (sqlite3.SQLITE_READONLY, "is the disk read-only?")],
    ids=["EIO", "read-only"],
)
def test_a_disk_that_refuses_to_write_is_said_and_outlived(tmp_path: Path, code: int, words: str) -> None:
    """Nothing counts as journaled, answers go on, the mend names the disk, and the first good commit ends it."""
    opened = open_store(tmp_path, settings=SETTINGS)
    opened.store.sweep()
    writer = opened.store._writer

    def refuse(path: Path) -> sqlite3.Connection:
        error = sqlite3.OperationalError(f"{path} refuses")
        error.sqlite_errorcode = code
        raise error

    assert writer._connection is not None
    good, writer._connect = writer._connect, refuse
    writer._connection.close()  # the next write fails, as it does on a disk that went away
    submit(opened, 0)
    wait_until(lambda: opened.store.problem, DEADLINE_S, "a problem")
    opened.clock.pass_s(0.5)
    wait_until(lambda: words in (opened.store.problem or ""), DEADLINE_S, "the problem's mend")
    assert opened.acknowledged == []
    opened.clock.pass_s(2.0)
    acknowledged(opened, 1)
    assert [opened.store.is_durable] == [False]
    assert (tmp_path / RESERVE_NAME).exists()  # it is of no use here

    writer._connect = good
    wait_for(opened, lambda: opened.store.problem is None, "a disk that writes")
    assert [opened.store.is_durable] == [True]
    assert (opened.counts().get(Count.RECORDS_JOURNALED, 0), opened.counts()[SHED]) == (0, 1)
    assert opened.broken_equations() == []
    opened.store.close()


def test_a_file_at_its_bound_sheds_until_there_are_free_pages(tmp_path: Path) -> None:
    """Whatever fills the file, it stays within its bound; delivered answers make room, and the agent goes on."""
    bound = 2 << 20
    settings = StoreSettings(limits(64 << 20), 3600.0, 1 << 18, max_file_bytes=bound, reserve_bytes=1 << 20)
    opened = open_store(tmp_path, settings=settings)
    for number in range(1500):
        submit(opened, number)
        if number % 100 == 0:
            acknowledged(opened, number + 1)
    acknowledged(opened, 1500)
    assert "has reached its bound" in (opened.store.problem or "")
    assert opened.counts()[SHED] > 0
    assert (tmp_path / FILE_NAME).stat().st_size <= bound + (128 << 12)
    assert opened.broken_equations() == []
    while waiting := opened.store.publishable("plant", 500, ()):
        opened.store.published(rows(waiting))
    wait_for(opened, lambda: opened.store.problem is None, "free pages")
    submit(opened, 1500)
    acknowledged(opened, 1501)
    assert [opened.store.is_durable] == [True]
    assert opened.broken_equations() == []
    opened.store.close()


def test_free_pages_go_back_to_the_disk_a_few_at_a_time(tmp_path: Path) -> None:
    """After a backlog the file shrinks again, in steps that delay no record."""
    opened = open_store(tmp_path, settings=StoreSettings(limits(64 << 20), 3600.0, 1 << 18))
    for number in range(3000):
        submit(opened, number)
    acknowledged(opened, 3000)
    while waiting := opened.store.publishable("plant", 500, ()):
        opened.store.published(rows(waiting))
    connection = sqlite3.connect(tmp_path / FILE_NAME)

    def pages() -> int:
        return int(connection.execute("PRAGMA page_count").fetchone()[0])

    before = pages()
    opened.store.sweep()
    after = pages()
    opened.store.sweep()
    connection.close()
    assert 0 < before - after <= room.RELEASED_PAGES + 1
    assert opened.broken_equations() == []
    opened.store.close()
