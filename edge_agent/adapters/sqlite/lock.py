"""Owns the rule "one agent to one state folder": a lock file that the kernel frees when its process ends, however."""

import fcntl
from pathlib import Path
from typing import IO

from edge_agent.errors import StoreError
from model_packs.process.durable import make_folder
from protos.status import Status


class StateLock:
    """The lock of one state folder.

    Args:
        path: The lock file; its folder is made if missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def take(self) -> None:
        """Take it.

        Raises:
            StoreError: Another process holds it, or the folder cannot be written.
        """
        try:
            make_folder(self._path.parent)
            file = self._path.open("wb")
        except OSError as error:
            raise StoreError(
                f"{self._path.parent}: {error.strerror}",
                "make the state folder writable for the agent's user, or name another one as state_dir",
                Status.PERMISSION_DENIED,
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise StoreError(
                f"{self._path.parent}: another agent uses it",
                "stop the other agent, or give this one a state_dir of its own",
                Status.FAILED_PRECONDITION,
            ) from error
        self._file = file

    def release(self) -> None:
        """Let go of it; may be called twice."""
        if self._file is not None:
            self._file.close()
            self._file = None


def is_held(path: Path) -> bool:
    """Whether some process holds the lock.

    Args:
        path: The lock file.

    Returns:
        False when it does not exist or cannot be read.
    """
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
