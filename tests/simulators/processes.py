"""Owns real processes under test: start, logs, waiting for a line, signals. What they do is their own business."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.simulators.waiting import wait_until

_STOP_DEADLINE_S = 15.0
_TAIL_LINES = 30


def installed_program(name: str) -> str:
    """The console script ``name`` that is installed beside the running interpreter."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise FileNotFoundError(f"{path}: run the tests with `make test`, which installs the programs")
    return str(path)


class Process:
    """One real process in a process group of its own, its output in a log file.

    ``start()`` may be called again after the process ended: the log goes on where it was.
    """

    def __init__(
        self, argv: Sequence[str], *, log_path: Path, cwd: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        self.argv = tuple(argv)
        self.log_path = log_path
        self._cwd = cwd
        self._environ = {**os.environ, **(environ or {})}
        self._popen: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def start(self) -> None:
        """Start it; stdout and stderr are appended to ``log_path``."""
        if self.is_running:
            raise RuntimeError(f"{self.argv[0]} is already running")
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._popen = subprocess.Popen(
                self.argv,
                cwd=self._cwd,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        """True between ``start()`` and the end of the process."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the running process."""
        if self._popen is None:
            raise RuntimeError(f"{self.argv[0]} was never started")
        return self._popen.pid

    @property
    def log(self) -> str:
        """What it has printed since its latest start."""
        if not self.log_path.exists():
            return ""
        return self.log_path.read_bytes()[self._log_start :].decode(errors="replace")

    def wait_for_log(self, text: str, deadline_s: float = 20.0) -> str:
        """Wait until a line of the log since the latest start holds ``text``; return that line."""

        def found() -> str | None:
            for line in self.log.splitlines():
                if text in line:
                    return line
            if not self.is_running:
                raise AssertionError(self._ended(f"before it printed {text!r}"))
            return None

        line = wait_until(found, deadline_s, f"{text!r} in {self.log_path}:\n{self._tail()}")
        return line or ""

    def wait(self, deadline_s: float) -> int:
        """Wait for the process to end by itself; return its exit status."""
        if self._popen is None:
            raise RuntimeError(f"{self.argv[0]} was never started")
        try:
            return self._popen.wait(deadline_s)
        except subprocess.TimeoutExpired as exc:
            raise AssertionError(f"still running after {deadline_s:g} s: {self.argv}\n{self._tail()}") from exc

    def terminate(self, deadline_s: float = _STOP_DEADLINE_S) -> int:
        """Ask it to stop (SIGTERM) and return its exit status."""
        if self._popen is not None and self.is_running:
            self._popen.send_signal(signal.SIGTERM)
        return self.wait(deadline_s)

    def kill(self) -> None:
        """End the whole process group at once (SIGKILL); may be called at any time, also twice."""
        if self._popen is None:
            return
        with contextlib.suppress(ProcessLookupError):  # the group may be gone already
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait(_STOP_DEADLINE_S)

    def _ended(self, when: str) -> str:
        status = None if self._popen is None else self._popen.returncode
        return f"{self.argv[0]} ended with status {status} {when}; {self.log_path}:\n{self._tail()}"

    def _tail(self) -> str:
        return "\n".join(self.log.splitlines()[-_TAIL_LINES:])


def run_to_end(
    argv: Sequence[str], *, cwd: Path, deadline_s: float = 60.0, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return status, stdout and stderr; the caller judges the status."""
    return subprocess.run(
        list(argv),
        cwd=cwd,
        env={**os.environ, **(environ or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=deadline_s,
        check=False,
    )
