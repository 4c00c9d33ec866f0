"""Owns writing that survives a power cut: temporary file, fsync, rename, fsync of the folder.

What to write and where stays with the caller. Every function blocks on the disk.
"""

import os
import secrets
from pathlib import Path

PUBLIC_MODE = 0o644
PRIVATE_MODE = 0o600


def fsync_dir(path: Path) -> None:
    """Make the names inside a folder durable (a rename is not, until its folder is synced).

    Args:
        path: The folder.

    Raises:
        OSError: The folder cannot be opened or the disk refuses the sync.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Create a folder and its parents, and make each new name durable; an existing folder is fine.

    Args:
        path: The folder to create.

    Raises:
        OSError: A part of the path is a file, or the disk refuses.
    """
    missing = [part for part in (path, *path.parents) if not part.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for part in reversed(missing):
        fsync_dir(part.parent)


def write_file(path: Path, data: bytes, mode: int = PUBLIC_MODE) -> None:
    """Replace a file's content atomically: a reader, or a restart, sees the old bytes or the new ones.

    Args:
        path: The file; its folder must exist.
        data: The whole new content.
        mode: Permission bits, set before any byte is written.

    Raises:
        OSError: The disk is full, the folder is missing or not writable; the old content is untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_dir(path.parent)


def private_file(path: Path, data: bytes) -> None:
    """Write a secret (a key, a token) so that only its owner can read it, durably and atomically.

    Args:
        path: The file; its folder must exist.
        data: The whole content.

    Raises:
        OSError: As for `write_file`.
    """
    write_file(path, data, mode=PRIVATE_MODE)
