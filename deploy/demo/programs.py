"""Owns the processes of the demo: starting the installed programs, their logs, killing them; and that none is left.

Each program leads a process group of its own, and asks Linux to be ended when the demo's main thread ends, so that even
a SIGKILL of the demo leaves nothing behind. What the programs are for is `story`'s business.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

T = TypeVar("T")

_STOP_DEADLINE_S: Final = 15.0
_TAIL_LINES: Final = 15
_POLL_S: Final = 0.05
_ONE_SHOT_DEADLINE_S: Final = 90.0

# Asks the kernel for SIGKILL when the parent's thread ends (PR_SET_PDEATHSIG = 1), then becomes the program. The parent
# may have died before the request: then our parent's pid is no longer its pid.
_GUARD: Final = """
import os, signal, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class ProgramError(Exception):
    """A program did not do what the demo needs; the message holds its last log lines and the path of the log."""


def installed(name: str) -> str:
    """The path of a console script beside the running interpreter.

    Raises:
        ProgramError: It is not installed.
    """
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise ProgramError(f"{path} does not exist: start the demo with `make demo`, which installs the programs")
    return str(path)


class Program:
    """One long-running program. Start it from the main thread only: it ends with the thread that started it.

    Args:
        name: What people call it.
        argv: Absolute path and arguments.
        log_path: Where its output goes; a restart appends.
    """

    def __init__(self, name: str, argv: Sequence[str], log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self._argv = tuple(argv)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; its readiness is for the caller to wait for."""
        guarded = [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid()), *self._argv]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                guarded, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """The process id of its latest start.

        Raises:
            ProgramError: It was never started.
        """
        if self._process is None:
            raise ProgramError(f"{self.name} was never started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def wait_until(self, fact: Callable[[], T], what: str, deadline_s: float) -> T:
        """Wait for something that this program brings about.

        Args:
            fact: Asked again and again; a true value ends the wait.
            what: The fact in words.
            deadline_s: How long to wait.

        Returns:
            The first true value.

        Raises:
            ProgramError: The program ended, or the deadline passed.
        """
        last_s = time.monotonic() + deadline_s
        while True:
            value = fact()
            if value:
                return value
            if not self.is_running:
                raise ProgramError(f"{self.name} ended before {what}\n{self.log_tail()}")
            if time.monotonic() > last_s:
                raise ProgramError(f"{self.name}: not within {deadline_s:.0f} s: {what}\n{self.log_tail()}")
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """End its whole group at once (SIGKILL); may be called at any time, also twice."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def stop(self) -> bool:
        """Ask it to stop (SIGTERM); past a deadline, kill it. May be called twice.

        Returns:
            Whether it was not running any more, or stopped by itself with exit code 0.
        """
        if self._process is None or not self.is_running:
            return True
        self._signal(signal.SIGTERM)
        try:
            return self._process.wait(_STOP_DEADLINE_S) == 0
        except subprocess.TimeoutExpired:
            self.kill()
            return False

    def log_tail(self) -> str:
        """Its last log lines and where the rest is."""
        return tail(self.log_path)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it may have ended since
                os.killpg(self._process.pid, number)


def tail(log_path: Path) -> str:
    """The last lines of a log and its path, for an error message."""
    lines = log_path.read_text(errors="replace").splitlines()[-_TAIL_LINES:] if log_path.exists() else []
    return "\n".join([f"  last lines of {log_path}:", *(f"    {line}" for line in lines)])


def run(argv: Sequence[str], log_path: Path, accepted: Sequence[int] = (0,)) -> str:
    """Run a command to its end; its stderr goes to a log.

    Args:
        argv: Absolute path and arguments.
        log_path: The log; appended to.
        accepted: Exit codes that are no failure.

    Returns:
        What it printed to stdout.

    Raises:
        ProgramError: It failed, or did not end in time.
    """
    with log_path.open("ab") as log:
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                timeout=_ONE_SHOT_DEADLINE_S,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise ProgramError(f"`{_shown(argv)}` did not end within {exc.timeout:.0f} s\n{tail(log_path)}") from exc
    if done.returncode not in accepted:
        raise ProgramError(f"`{_shown(argv)}` ended with status {done.returncode}\n{tail(log_path)}")
    return done.stdout.decode(errors="replace")


def run_json(argv: Sequence[str], log_path: Path, accepted: Sequence[int] = (0,)) -> dict[str, Any]:
    """Run a command whose stdout is one JSON object.

    Args:
        argv: Absolute path and arguments.
        log_path: The log of its stderr.
        accepted: Exit codes that are no failure.

    Returns:
        The object.

    Raises:
        ProgramError: It failed, or its stdout is no JSON object.
    """
    text = run(argv, log_path, accepted)
    try:
        document = json.loads(text)
    except ValueError as exc:
        raise ProgramError(f"`{_shown(argv)}` printed no JSON: {text[:200]!r}\n{tail(log_path)}") from exc
    if not isinstance(document, dict):
        raise ProgramError(f"`{_shown(argv)}` printed no JSON object: {text[:200]!r}\n{tail(log_path)}")
    return document


def _shown(argv: Sequence[str]) -> str:
    return " ".join([Path(argv[0]).name, *argv[1:]])
