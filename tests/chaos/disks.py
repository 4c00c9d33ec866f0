"""Owns disks for an agent's state: one that can be filled up, one that the kernel turns read-only, syncs that fail.

Only root may mount; who cannot is told so (`UnableError`). What is done to a disk, and what the agent has to do, is
`disk_faults.py`.
"""

import contextlib
import errno
import os
import shutil
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.simulators.processes import run_to_end

_CHUNK_BYTES = 64 << 10
_UNMOUNT_TRIES = 50
_TRY_S = 0.1


class UnableError(Exception):
    """This machine has not what the scenario needs; says what, and how to get it."""


class Disk:
    """A mounted file system; use it as a context manager, for as long as nothing keeps a file of it open.

    Args:
        at: Where; made if missing.
        options: For `mount`.
        source: What is mounted.
    """

    def __init__(self, at: Path, options: list[str], source: str) -> None:
        self.at = at
        self._options = options
        self._source = source

    def __enter__(self) -> Self:
        """Mount it."""
        self.at.mkdir(parents=True, exist_ok=True)
        self.mount()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """Unmount it; may be called twice."""
        self.unmount()

    def mount(self) -> None:
        """Mount it.

        Raises:
            UnableError: This user may not.
        """
        done = run_to_end(["mount", *self._options, self._source, str(self.at)], cwd=Path("/"))
        if done.returncode != 0:
            raise UnableError(f"mounting needs root: {done.stderr.strip()}")

    def unmount(self) -> None:
        """Unmount it; a program that was killed a moment ago may still hold it."""
        for _ in range(_UNMOUNT_TRIES):
            if not os.path.ismount(self.at):
                return
            if run_to_end(["umount", str(self.at)], cwd=Path("/")).returncode != 0:
                time.sleep(_TRY_S)
        raise AssertionError(f"{self.at} is still in use")


class SmallDisk(Disk):
    """A disk in memory of a few MiB, which other people's files may fill.

    Args:
        at: Where.
        size_bytes: How large it is.
    """

    def __init__(self, at: Path, size_bytes: int) -> None:
        super().__init__(at, ["-t", "tmpfs", "-o", f"size={size_bytes}"], "tmpfs")
        self._foreign = at / "somebody-elses.log"

    def fill(self) -> int:
        """Write somebody else's file until nothing more fits; how many bytes it took."""
        with self._foreign.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"x" * _CHUNK_BYTES):
                pass
        with self._foreign.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"x"):
                pass
        return self._foreign.stat().st_size

    def free(self) -> None:
        """Delete that file."""
        self._foreign.unlink()


class FragileDisk(Disk):
    """An ext4 disk in a file, mounted so that the kernel makes it read-only at the first error.

    Args:
        at: Where.
        image: The file; made.
        size_bytes: How large it is.
    """

    def __init__(self, at: Path, image: Path, size_bytes: int) -> None:
        super().__init__(at, ["-o", "loop,errors=remount-ro"], str(image))
        self._image = image
        self._size_bytes = size_bytes

    def __enter__(self) -> Self:
        """Make the file system and mount it."""
        if shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            raise UnableError("mkfs.ext4 is missing: apt-get install e2fsprogs")
        with self._image.open("wb") as file:
            file.truncate(self._size_bytes)
        done = run_to_end(["mkfs.ext4", "-q", "-F", str(self._image)], cwd=Path("/"))
        assert done.returncode == 0, done.stderr
        return super().__enter__()

    def turn_read_only(self) -> None:
        """Let the kernel meet an error on it: files that are open cannot be written any more either.

        Raises:
            UnableError: This kernel offers no such error.
        """
        device = self.at.stat().st_dev
        name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
        trigger = Path("/sys/fs/ext4") / name / "trigger_fs_error"
        try:
            trigger.write_text("chaos\n")
        except OSError as error:
            raise UnableError(f"{trigger}: {error.strerror}") from error

    def mend(self) -> None:
        """What a person does: unmount, and mount it again."""
        self.unmount()
        self.mount()


class FailingSyncs:
    """Lets the syncs of a program fail with EIO, as those of a dying disk do: libfiu, loaded before its C library.

    Args:
        pipe: A path that names its control pipes.

    Raises:
        UnableError: libfiu is not installed.
    """

    def __init__(self, pipe: Path) -> None:
        self._pipe = pipe
        libraries = [f"/usr/lib/fiu/{name}" for name in ("fiu_run_preload.so", "fiu_posix_preload.so")]
        if shutil.which("fiu-ctrl") is None or not all(Path(one).exists() for one in libraries):
            raise UnableError("fiu-ctrl is missing: apt-get install fiu-utils")
        self.environ = {"LD_PRELOAD": " ".join(libraries), "FIU_CTRL_FIFO": str(pipe), "FIU_ENABLE": ""}

    def fail(self, pid: int) -> None:
        """From now on no sync of this process succeeds."""
        self._say(pid, f"enable name=posix/io/sync/*,failinfo={errno.EIO}")

    def heal(self, pid: int) -> None:
        """They succeed again."""
        self._say(pid, "disable name=posix/io/sync/*")

    def _say(self, pid: int, command: str) -> None:
        done = run_to_end(["fiu-ctrl", "-f", str(self._pipe), "-c", command, str(pid)], cwd=Path("/"))
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
