"""Owns the doctor's look at the machine: the state folder's disk and the outbox. It leaves nothing behind."""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from edge_agent.adapters.sqlite.age import Stamp
from edge_agent.adapters.sqlite.lock import is_held
from edge_agent.adapters.sqlite.reading import Reader
from edge_agent.adapters.sqlite.store import FILE_NAME, LOCK_NAME
from edge_agent.config import Config
from edge_agent.errors import StoreError
from edge_agent.examination.findings import Finding, failed, ok, warning
from edge_agent.ports import Clock
from model_packs.process.exits import Exit

MIN_FREE_BYTES = 64 << 20
SLOW_FSYNC_S = 0.05
FULL_SHARE = 0.8

_FSYNCS = 8
_BLOCK = b"\0" * 4096
_MIB = 1 << 20
_FORGETFUL = frozenset({"tmpfs", "ramfs", "overlay", "aufs"})
_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"})
_MOUNTS = Path("/proc/self/mounts")


def examine_machine(config: Config, clock: Clock) -> Iterator[Finding]:
    """Look at the state folder's disk and at the outbox.

    Args:
        config: Says where the state is, and how large it may grow.
        clock: For ages.
    """
    folder = config.agent.device.state_dir
    place = next(part for part in (folder, *folder.absolute().parents) if part.is_dir())
    if not os.access(place, os.W_OK):
        mend = "make it writable for the agent's user, or name another one as device.state_dir"
        yield failed("disk", f"{place} is not writable for this user", mend, Exit.CONFIG)
        return
    yield _space(place, config.agent.outbox.max_bytes)
    yield _filesystem(place)
    yield _fsync(place)
    yield _outbox(folder / FILE_NAME, config.agent.outbox.max_bytes, clock)


def agent_is_running(config: Config) -> bool:
    """Whether an agent holds this state folder's lock."""
    return is_held(config.agent.device.state_dir / LOCK_NAME)


def _space(place: Path, outbox_bytes: int) -> Finding:
    free = shutil.disk_usage(place).free
    message = f"{free // _MIB} MiB free in {place}; the outbox may take {outbox_bytes // _MIB} MiB"
    if free < MIN_FREE_BYTES:
        return failed("disk space", message, "free some space: the agent answers on, but keeps nothing")
    if free < 2 * outbox_bytes:
        return warning("disk space", message, "free some space, or lower outbox.max_bytes")
    return ok("disk space", message)


def _filesystem(place: Path) -> Finding:
    kind = filesystem_of(place, _MOUNTS.read_text(encoding="utf-8") if _MOUNTS.exists() else "")
    message = f"{place} is on {kind}"
    if kind in _FORGETFUL:
        return warning("filesystem", f"{message}, which may forget everything at a restart", "use a disk for state_dir")
    if kind in _REMOTE:
        return warning("filesystem", f"{message}, where locks and fsync are not dependable", "use a local disk")
    return ok("filesystem", message)


def filesystem_of(path: Path, mounts: str) -> str:
    """The type of the filesystem that holds a path.

    Args:
        path: Any path.
        mounts: Content of /proc/self/mounts.

    Returns:
        Its type, from the longest mount point above the path; "unknown" if none is.
    """
    best, kind = "", "unknown"
    resolved = path.resolve()
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) > 2 and resolved.is_relative_to(fields[1]) and len(fields[1]) >= len(best):  # noqa: PLR2004 - device, mount point, type
            best, kind = fields[1], fields[2]
    return kind


def _fsync(place: Path) -> Finding:
    times_s = []
    with tempfile.NamedTemporaryFile(dir=place, prefix=".doctor-") as file:
        for _ in range(_FSYNCS):
            began_s = time.perf_counter()
            file.write(_BLOCK)
            file.flush()
            os.fsync(file.fileno())
            times_s.append(time.perf_counter() - began_s)
    median_s = statistics.median(times_s)
    message = f"{median_s * 1000:.1f} ms (median of {_FSYNCS}) to make 4 KiB durable in {place}"
    if median_s > SLOW_FSYNC_S:
        return warning("fsync", message, "answers do not wait for it, acknowledgements do; use a faster disk")
    return ok("fsync", message)


def _outbox(path: Path, max_bytes: int, clock: Clock) -> Finding:
    if not path.exists():
        return ok("outbox", "empty: the agent has not run here yet")
    reader = Reader(path)
    try:
        reader.open()
        uses = reader.outbox(Stamp.now(clock))
    except StoreError as error:
        return failed("outbox", error.message, error.mend)
    finally:
        reader.close()
    used = sum(use.bytes for use in uses)
    ages_s = [use.oldest_age_s for use in uses if use.oldest_age_s is not None]
    age = f", the oldest {max(ages_s):.0f} s old" if ages_s else ""
    message = f"{sum(use.items for use in uses)} items, {used / max_bytes:.1%} of {max_bytes // _MIB} MiB{age}"
    if used > FULL_SHARE * max_bytes:
        return warning("outbox", message, "bring hub and broker back, or raise outbox.max_bytes: the oldest give way")
    return ok("outbox", message)
