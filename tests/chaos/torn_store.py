"""Owns the scenario in which the agent's database is cut short or spoilt after a kill.

Copies of what a kill left are damaged and opened as the agent opens them; then the agent itself starts on two of them.
What a power cut may do is torn writes after the last sync, so only the last commit of the log may be missing then
(https://www.sqlite.org/fileformat2.html#the_write_ahead_log). Damage anywhere else is a broken disk's: no file system
promises anything then, and the agent has to start all the same.
"""

import random
import shutil
import sqlite3
import struct
from contextlib import closing
from functools import partial
from pathlib import Path

from edge_agent.adapters.sqlite import quarantine
from tests.chaos.ledger import id_of
from tests.chaos.plant import DEADLINE_S, DEVICE, ChaosError, Plant, Setting, line, state_of
from tests.simulators.waiting import wait_until
from tests.unit.edge_agent.adapters.sqlite.builders import open_store, record_unit

_RATE_HZ = 60.0
_STREAM_S = 3.0
_COPIES = 20
_FLIPS = 24
_STARTS = 2
_NAME = "edge.db"
_LOG = f"{_NAME}-wal"
_LOG_HEAD_BYTES, _FRAME_HEAD_BYTES = 32, 24
_PAGE_BYTES, _SCHEMA_PAGES = 4096, 8
_BACKFILLED_AT = 96  # in edge.db-shm: how many frames of the log are in the file already


def torn_store(setting: Setting) -> str:
    """Torn or spoilt after a kill: what was synced is there, or the file is put aside; no start is ever refused."""
    with Plant(setting) as plant:
        state, left = state_of(setting), setting.folder / "left"
        plant.hub_link.down()
        plant.start_agent()
        _live_and_die(plant)
        shutil.copytree(state, left)
        scratch = setting.folder / "copy"
        copies = setting.times(_COPIES)
        for _ in range(copies):
            _open_torn(left, scratch, plant.chance)
        aside = sum(_open_spoilt(left, scratch, plant.chance) for _ in range(copies))
        _spoil_pages(state / _NAME)
        plant.start_agent()
        plant.require(quarantine.aside(state / _NAME).exists(), "the agent began on spoilt pages")
        _live_and_die(plant)
        synced = _tear(state, plant.chance)
        plant.start_agent()
        plant.require(plant.store.seen_predictions() >= synced, "something is missing that was synced")
        plant.hub_link.up()
        plant.oracle.send(50)
        plant.oracle.settle()
        plant.quieten()
        kept = plant.store.seen_predictions()
        damaged = [sent for sent in plant.oracle.acked if id_of(DEVICE, sent) not in kept]
        found, figures = plant.finish(excused=damaged, drained=False)
        return line(
            found,
            f"{copies} copies torn at their end: every commit before it is there",
            f"{copies} spoilt anywhere: all open, {aside} put aside",
            f"the agent started on one of each; {len(damaged)} questions lay in the damage",
            *figures,
        )


def _live_and_die(plant: Plant) -> None:
    with plant.oracle.streaming(_RATE_HZ):
        plant.pause(_STREAM_S * plant.setting.scale)
        plant.agent.process.kill()
    plant.oracle.settle()


def _open_torn(left: Path, scratch: Path, chance: random.Random) -> None:
    """Open a copy whose last commit is torn.

    Raises:
        ChaosError: It does not hold just what was committed before.
    """
    _copy(left, scratch)
    synced = _tear(scratch, chance)
    opened = open_store(scratch)
    broken = opened.broken_equations()
    opened.store.close()
    if quarantine.aside(scratch / _NAME).exists():
        raise ChaosError("a torn end was taken for damage")
    found = _predictions(scratch)
    if not found >= synced or broken:
        raise ChaosError(f"{len(synced - found)} predictions are missing, and {broken} do not hold")


def _open_spoilt(left: Path, scratch: Path, chance: random.Random) -> bool:
    """Open a copy that is damaged anywhere, and commit to it; whether it had to be put aside.

    Raises:
        ChaosError: Nothing could be committed at the second start either.
    """
    _copy(left, scratch)
    path = scratch / chance.choice((_NAME, _LOG))
    if chance.random() < 0.5:
        with path.open("r+b") as file:
            file.truncate(chance.randrange(path.stat().st_size))
    else:
        _flip(path, chance, 0, path.stat().st_size)
    for start in range(_STARTS):
        opened = open_store(scratch)
        opened.store.submit(record_unit(opened.store, f"after-{start}".encode()))
        wait_until(partial(bool, opened.acknowledged), DEADLINE_S, "an acknowledgement")
        is_well = opened.store.is_durable and not quarantine.is_marked(scratch / _NAME)
        opened.store.close()
        if is_well:
            return quarantine.aside(scratch / _NAME).exists()
    raise ChaosError(f"after {_STARTS} starts nothing is committed: {opened.store.problem}")


def _tear(folder: Path, chance: random.Random) -> set[str]:
    """Tear the last commit of the log, at whose sync the power failed; the predictions of every commit before it."""
    log = folder / _LOG
    start, end = _last_commit(log, folder / f"{_NAME}-shm")
    before = folder.with_name(f"{folder.name}-before")
    _copy(folder, before)
    with (before / _LOG).open("r+b") as file:
        file.truncate(start)
    if chance.random() < 0.5:
        with log.open("r+b") as file:
            file.truncate(chance.randrange(start, end) if start < end else end)
    elif start < end:
        _flip(log, chance, start, end)
    return _predictions(before)


def _last_commit(log: Path, index: Path) -> tuple[int, int]:
    """Where the last commit of a log begins and ends, in bytes; what is in the file already is synced."""
    data = log.read_bytes()
    (page_bytes,), salts = struct.unpack(">I", data[8:12]), data[16:24]
    frame_bytes = _FRAME_HEAD_BYTES + page_bytes
    ends = [_LOG_HEAD_BYTES]
    for at in range(_LOG_HEAD_BYTES, len(data) - frame_bytes + 1, frame_bytes):
        if data[at + 8 : at + 16] != salts:
            break  # of an earlier turn of the log
        if struct.unpack(">I", data[at + 4 : at + 8])[0]:
            ends.append(at + frame_bytes)
    (backfilled,) = struct.unpack("=I", index.read_bytes()[_BACKFILLED_AT : _BACKFILLED_AT + 4])
    start = max(ends[-2] if len(ends) > 1 else ends[-1], _LOG_HEAD_BYTES + backfilled * frame_bytes)
    return min(start, ends[-1]), ends[-1]


def _flip(path: Path, chance: random.Random, start: int, end: int) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(_FLIPS):
        data[chance.randrange(start, end)] ^= chance.randint(1, 255)
    path.write_bytes(data)


def _spoil_pages(path: Path) -> None:
    """Overwrite the head of every page past the first ones, where the schema stands."""
    data = bytearray(path.read_bytes())
    for start in range(_SCHEMA_PAGES * _PAGE_BYTES, len(data), _PAGE_BYTES):
        data[start : start + 16] = b"\x5a" * 16
    path.write_bytes(data)


def _copy(folder: Path, to: Path) -> None:
    """The database alone: an index in shared memory is made anew."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    for name in (_NAME, _LOG, f"{_NAME}-shm"):
        shutil.copy(folder / name, to)


def _predictions(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / _NAME)) as store:
        return {str(name) for (name,) in store.execute("SELECT id FROM prediction")}
