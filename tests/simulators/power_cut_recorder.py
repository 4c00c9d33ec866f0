"""Owns seeing what SQLite does to its files: every write, truncation, sync, new and removed name, in order.

The store uses the standard library's `sqlite3`, which knows no file systems of one's own. SQLite itself does: the
library that the module is linked with takes a VFS for a default through its public C interface, here by ctypes. So
the code under test is untouched, nothing is compiled, and each call goes on to SQLite's own VFS after a note:

- contents: `sqlite3_vfs.xOpen` opens the file as ever, then its table of methods is replaced by a copy whose xWrite,
  xTruncate and xSync take notes. Files without a name (temporary ones) and those elsewhere are left alone.
- names: the system calls that the unix VFS lets tests replace (`xSetSystemCall`): `unlink`, and `openDirectory`, which
  it calls for one purpose, to sync the folder.

- what others do to the files by themselves: `write` and `sync` stand in for the system calls.

Syncs fail on demand, too, as those of a dying disk do.

SQLite's shared memory (`-shm`) is no part of it: after a cut it is worthless, and SQLite makes it anew. Whether a sync
that SQLite asks for reaches the disk is between SQLite's own VFS and the kernel.
See https://www.sqlite.org/c3ref/vfs.html and https://www.sqlite.org/c3ref/io_methods.html.
"""

import _sqlite3
import ctypes
import errno
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.simulators.power_cut import (
    Created,
    Event,
    FolderSynced,
    Promised,
    Removed,
    Synced,
    SyncFailed,
    Trace,
    Truncated,
    Written,
)
from tests.simulators.requirements import skip_or_fail

_OK = 0
_IOERR_FSYNC = 1034
_SHARED_MEMORY = "-shm"

_pointer, _int, _int64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
_Open = ctypes.CFUNCTYPE(_int, _pointer, _pointer, _pointer, _int, _pointer)
_Write = ctypes.CFUNCTYPE(_int, _pointer, _pointer, _int, _int64)
_Truncate = ctypes.CFUNCTYPE(_int, _pointer, _int64)
_Sync = ctypes.CFUNCTYPE(_int, _pointer, _int)
_Unlink = ctypes.CFUNCTYPE(_int, ctypes.c_char_p, use_errno=True)
_OpenDirectory = ctypes.CFUNCTYPE(_int, ctypes.c_char_p, _pointer, use_errno=True)
_GetSystemCall = ctypes.CFUNCTYPE(_pointer, _pointer, ctypes.c_char_p)
_SetSystemCall = ctypes.CFUNCTYPE(_int, _pointer, ctypes.c_char_p, _pointer)


class _Vfs(ctypes.Structure):
    """`sqlite3_vfs`, version 3."""

    _fields_ = (
        ("iVersion", _int),
        ("szOsFile", _int),
        ("mxPathname", _int),
        ("pNext", _pointer),
        ("zName", ctypes.c_char_p),
        ("pAppData", _pointer),
        ("xOpen", _pointer),
        *((name, _pointer) for name in ("xDelete", "xAccess", "xFullPathname")),
        *((name, _pointer) for name in ("xDlOpen", "xDlError", "xDlSym", "xDlClose")),
        *((name, _pointer) for name in ("xRandomness", "xSleep", "xCurrentTime", "xGetLastError")),
        ("xCurrentTimeInt64", _pointer),
        *((name, _pointer) for name in ("xSetSystemCall", "xGetSystemCall", "xNextSystemCall")),
    )


class _Methods(ctypes.Structure):
    """`sqlite3_io_methods`, version 3."""

    _fields_ = (
        ("iVersion", _int),
        *((name, _pointer) for name in ("xClose", "xRead", "xWrite", "xTruncate", "xSync", "xFileSize")),
        *((name, _pointer) for name in ("xLock", "xUnlock", "xCheckReservedLock", "xFileControl")),
        *((name, _pointer) for name in ("xSectorSize", "xDeviceCharacteristics")),
        *((name, _pointer) for name in ("xShmMap", "xShmLock", "xShmBarrier", "xShmUnmap")),
        *((name, _pointer) for name in ("xFetch", "xUnfetch")),
    )


class _File(ctypes.Structure):
    """`sqlite3_file`: what follows the methods is the VFS's own."""

    _fields_ = (("pMethods", ctypes.POINTER(_Methods)),)


class PowerCutRecorder:
    """Records what SQLite does in one folder, in every thread of this process; use it as a context manager.

    Connections have to be opened inside it to be seen, and closed before its end. Inside it, nobody else may open the
    folder's files in this process: closing them would free SQLite's locks.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._files: dict[str, bytes] = {}
        self._events: list[Event] = []
        self._lock = threading.Lock()
        self._names: dict[int, str] = {}  # by address of the open sqlite3_file
        self._failing_syncs = 0
        self._kept: list[object] = []  # what SQLite holds pointers to
        self._library = _sqlite_library()
        self._original = _Vfs.from_address(self._library.sqlite3_vfs_find(None))
        self._vfs = _Vfs.from_buffer_copy(self._original)
        self._vfs.zName = b"power-cut-recorder"
        self._vfs.xOpen = self._address(_Open(self._open))

    def __enter__(self) -> Self:
        """Become SQLite's default."""
        self._files = {path.name: path.read_bytes() for path in self._folder.iterdir() if self._is_recorded(path)}
        self._library.sqlite3_vfs_register(ctypes.byref(self._vfs), 1)
        self._replace_call(b"unlink", _Unlink, self._unlink)
        self._replace_call(b"openDirectory", _OpenDirectory, self._open_directory)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """Give SQLite its own default back."""
        for name in (b"unlink", b"openDirectory"):
            self._set_call(name, None)
        self._library.sqlite3_vfs_register(ctypes.byref(self._original), 1)
        self._library.sqlite3_vfs_unregister(ctypes.byref(self._vfs))

    def promise(self, promised: Promised) -> None:
        """Note that from here on somebody counts on a fact."""
        self._note(promised)

    def fail_syncs(self, times: int) -> None:
        """Let the next so many syncs of a file fail, as on a disk that could not write the pages."""
        self._failing_syncs = times

    def write(self, descriptor: int, data: bytes, offset: int) -> int:
        """As `os.pwrite`, on a file of the folder, with a note."""
        written = os.pwrite(descriptor, data, offset)
        self._note(Written(_path_of(descriptor).name, offset, data[:written]))
        return written

    def sync(self, descriptor: int) -> None:
        """As `os.fsync`, on a file of the folder or on the folder itself, with a note.

        Raises:
            OSError: It was to fail.
        """
        path = _path_of(descriptor)
        if path == self._folder:
            os.fsync(descriptor)
            self._note(FolderSynced())
        elif self._fails_now(path.name):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        else:
            os.fsync(descriptor)
            self._note(Synced(path.name))

    def trace(self) -> Trace:
        """What happened so far."""
        with self._lock:
            return Trace(self._files, tuple(self._events))

    def _note(self, event: Event) -> None:
        with self._lock:
            self._events.append(event)

    def _fails_now(self, name: str) -> bool:
        """Whether the sync that was just asked for is one of those that fail; if so, it is noted."""
        if self._failing_syncs == 0:
            return False
        self._failing_syncs -= 1
        self._note(SyncFailed(name))
        return True

    def _name(self, path: bytes) -> str | None:
        """The file's name if it is recorded."""
        found = Path(path.decode())
        return found.name if self._is_recorded(found) else None

    def _is_recorded(self, path: Path) -> bool:
        return path.parent == self._folder and not path.name.endswith(_SHARED_MEMORY)

    def _open(self, vfs: int, path: int | None, file: int, flags: int, out_flags: int) -> int:
        del vfs
        name = None if path is None else self._name(ctypes.string_at(path))
        is_new = name is not None and not (self._folder / name).exists()
        status = int(_Open(self._original.xOpen)(ctypes.addressof(self._original), path, file, flags, out_flags))
        if status == _OK and name is not None:
            if is_new:
                self._note(Created(name))
            self._names[file] = name
            opened = _File.from_address(file)
            opened.pMethods = ctypes.pointer(self._noting(opened.pMethods.contents))
        return status

    def _noting(self, original: _Methods) -> _Methods:
        """The same methods, with a note of each change."""
        methods = _Methods.from_buffer_copy(original)
        write, truncate, sync = _Write(original.xWrite), _Truncate(original.xTruncate), _Sync(original.xSync)

        def on_write(file: int, data: int, size: int, offset: int) -> int:
            status = int(write(file, data, size, offset))
            if status == _OK:
                self._note(Written(self._names[file], offset, ctypes.string_at(data, size)))
            return status

        def on_truncate(file: int, size: int) -> int:
            status = int(truncate(file, size))
            if status == _OK:
                self._note(Truncated(self._names[file], size))
            return status

        def on_sync(file: int, flags: int) -> int:
            if self._fails_now(self._names[file]):
                return _IOERR_FSYNC
            status = int(sync(file, flags))
            if status == _OK:
                self._note(Synced(self._names[file]))
            return status

        methods.xWrite = self._address(_Write(on_write))
        methods.xTruncate = self._address(_Truncate(on_truncate))
        methods.xSync = self._address(_Sync(on_sync))
        self._kept.append(methods)
        return methods

    def _replace_call(self, name: bytes, kind: Any, noting: Any) -> None:  # noqa: ANN401 - ctypes' own types have none
        """Put a function that takes the original first in the place of a system call of SQLite's unix VFS."""
        original = kind(_GetSystemCall(self._original.xGetSystemCall)(ctypes.addressof(self._original), name))
        self._set_call(name, self._address(kind(lambda *arguments: noting(original, *arguments))))

    def _set_call(self, name: bytes, address: int | None) -> None:
        status = _SetSystemCall(self._original.xSetSystemCall)(ctypes.addressof(self._original), name, address)
        assert status == _OK, f"SQLite's VFS has no system call {name!r} that could be replaced"

    def _unlink(self, original: Any, path: bytes) -> int:  # noqa: ANN401 - as above
        status = int(original(path))
        name = self._name(path)
        if status == _OK and name is not None:
            self._note(Removed(name))
        return status

    def _open_directory(self, original: Any, path: bytes, out_descriptor: int) -> int:  # noqa: ANN401 - as above
        status = int(original(path, out_descriptor))
        if status == _OK and Path(path.decode()).parent == self._folder:
            self._note(FolderSynced())
        return status

    def _address(self, function: Any) -> int | None:  # noqa: ANN401 - as above
        self._kept.append(function)
        return ctypes.cast(function, _pointer).value


def _path_of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


def _sqlite_library() -> ctypes.CDLL:
    """The very library that `sqlite3` uses; where its functions cannot be reached the test is skipped by name."""
    library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
    if not hasattr(library, "sqlite3_vfs_register"):
        skip_or_fail("this Python hides its SQLite: use one whose sqlite3 module is linked with libsqlite3")
    library.sqlite3_vfs_find.restype = _pointer
    return library
