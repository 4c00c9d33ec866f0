"""Owns a bound on a program's memory: a control group of its own, where this user may make one."""

import contextlib
import os
import time
from pathlib import Path

_V1, _V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
_TRIES, _TRY_S = 50, 0.1


class MemoryLimit:
    """A control group; use `prefix` before a command, and `close` when its programs have ended.

    Args:
        limit_bytes: The kernel kills whoever in it needs more; pages of files that it can read again do not count.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._group: Path | None = None

    def open(self) -> bool:
        """Make it; False when this user may not: then nothing is limited."""
        for root, name in ((_V1, "memory.limit_in_bytes"), (_V2, "memory.max")):
            group = root / f"tandem-chaos-{os.getpid()}"
            with contextlib.suppress(OSError):
                group.mkdir()
                self._group = group
                (group / name).write_text(str(self._limit_bytes))
                return True
            self.close()
        return False

    @property
    def prefix(self) -> tuple[str, ...]:
        """What to put before a command so that it runs inside."""
        if self._group is None:
            return ()
        return ("sh", "-c", f'echo $$ > {self._group}/cgroup.procs && exec "$@"', "sh")

    def close(self) -> None:
        """Let it go; may be called twice."""
        for _ in range(_TRIES):
            if self._group is None:
                return
            with contextlib.suppress(OSError):
                self._group.rmdir()
                self._group = None
                return
            time.sleep(_TRY_S)  # a program that was killed a moment ago is still in it
