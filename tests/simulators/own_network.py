"""Owns a network namespace with nothing but a loopback interface: programs in it meet nobody else's ports.

Only root may make one, and not in every container; who cannot have one uses the machine's own network. Used where
programs must run with their default ports.
"""

import shutil
import sys
from pathlib import Path

from tests.simulators.processes import Process, run_to_end

# Brings `lo` up (SIOCSIFFLAGS, IFF_UP | IFF_RUNNING; see netdevice(7)), says so, and keeps the namespace.
_HOLDER = """
import fcntl, socket, struct, threading
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))
print("up", flush=True)
threading.Event().wait()
"""


class OwnNetwork:
    """A network namespace that lives as long as this object is open."""

    def __init__(self, log_path: Path) -> None:
        argv = ["unshare", "--net", "--", sys.executable, "-c", _HOLDER]
        self._holder = Process(argv, log_path=log_path, cwd=log_path.parent)

    @staticmethod
    def is_possible() -> bool:
        """True when this user may make one."""
        if shutil.which("unshare") is None or shutil.which("nsenter") is None:
            return False
        return run_to_end(["unshare", "--net", "--", "true"], cwd=Path("/")).returncode == 0

    def open(self) -> None:
        """Make it; returns when its loopback interface is up."""
        self._holder.start()
        self._holder.wait_for_log("up")

    @property
    def prefix(self) -> tuple[str, ...]:
        """What to put before a command so that it runs inside."""
        return ("nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--")

    def close(self) -> None:
        """Let it go; may be called twice."""
        self._holder.kill()
