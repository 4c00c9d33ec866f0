"""Owns the shared memory of callers on this machine: registered regions, and the bytes at a place in one.

A region is an object of /dev/shm that its caller made (Triton's system shared memory extension). It is read and written
through a descriptor and never mapped: a caller that shrinks its object gets an error, where touching a mapping would
end the agent. So tensors are copied once, which is still far less than sending them.
"""

import os
import re
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.errors import CallError
from model_packs.errors import TensorError
from protos.status import Status

FOLDER: Final = Path("/dev/shm")  # noqa: S108 - where shm_open(3) keeps its objects on Linux
MAX_REGIONS: Final = 64

_KEY: Final = re.compile(r"/?([^/\0]{1,255})")
_MAX_NAME_CHARS: Final = 255
_SHOWN_CHARS: Final = 80


@dataclass(frozen=True, slots=True)
class Region:
    """A part of an object of shared memory.

    Attributes:
        key: The object's name, as shm_open(3) takes it.
        offset: Where the region begins in it, in bytes.
        size: Its length in bytes.
        file: Descriptor of the object.
    """

    name: str
    key: str
    offset: int
    size: int
    file: int


class SharedMemory:
    """The registered regions; any thread may ask. Implements `protos.oip.signature.Regions`.

    Args:
        folder: Where objects of shared memory are.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._lock = threading.Lock()  # held while a region is used, so that it is not closed meanwhile
        self._regions: dict[str, Region] = {}

    def register(self, name: str, key: str, offset: int, size: int) -> None:
        """Take a region in.

        Args:
            name: How requests will name it.
            key: The object's name.
            offset: Where it begins in the object, in bytes.
            size: Its length in bytes.

        Raises:
            CallError: ALREADY_EXISTS: the name is taken; INVALID_ARGUMENT: there is no such object, or it is smaller;
                PERMISSION_DENIED: it may not be opened; RESOURCE_EXHAUSTED: there are too many regions.
        """
        match = _KEY.fullmatch(key)
        if not 0 < len(name) <= _MAX_NAME_CHARS or match is None or match[1] in {".", ".."}:
            raise _wrong(
                f"key {key[:_SHOWN_CHARS]!r} of region {name[:_SHOWN_CHARS]!r}: expected a name as of shm_open"
            )
        with self._lock:
            if name in self._regions:
                raise CallError(
                    f"region {name[:_SHOWN_CHARS]!r} is registered", "unregister it first", Status.ALREADY_EXISTS
                )
            if len(self._regions) >= MAX_REGIONS:
                raise CallError(
                    f"{MAX_REGIONS} regions are registered, the most there may be",
                    "unregister some",
                    Status.RESOURCE_EXHAUSTED,
                )
            file = self._opened(match[1], key)
            try:
                _require_size(file, key, offset, size)
            except BaseException:
                os.close(file)
                raise
            self._regions[name] = Region(name, key, offset, size, file)

    def unregister(self, name: str = "") -> None:
        """Let go of a region; of all without a name. An unknown one is no mistake."""
        with self._lock:
            for one in [name] if name else list(self._regions):
                region = self._regions.pop(one, None)
                if region is not None:
                    os.close(region.file)

    def status(self, name: str = "") -> list[Region]:
        """The regions, or the one of a name.

        Raises:
            CallError: NOT_FOUND: there is none of that name.
        """
        with self._lock:
            if not name:
                return list(self._regions.values())
            if name not in self._regions:
                raise CallError(f"no region {name[:_SHOWN_CHARS]!r} is registered", "register it", Status.NOT_FOUND)
            return [self._regions[name]]

    def read(self, region: str, offset_bytes: int, size_bytes: int) -> bytes:
        """Copy a part of a region.

        Raises:
            TensorError: There is no such region or part, or its object was shrunk.
        """
        with self._lock:
            found = self._place(region, offset_bytes, size_bytes)
            data = os.pread(found.file, size_bytes, found.offset + offset_bytes)
        if len(data) != size_bytes:
            raise TensorError(
                f"region {region!r} has become smaller than it was registered: {len(data)} bytes are left"
            )
        return data

    def write(self, region: str, offset_bytes: int, data: bytes) -> None:
        """Write into a part of a region.

        Raises:
            TensorError: There is no such region or part, or its object was shrunk.
        """
        with self._lock:
            found = self._place(region, offset_bytes, len(data))
            if os.fstat(found.file).st_size < found.offset + offset_bytes + len(data):
                raise TensorError(f"region {region!r} has become smaller than it was registered")
            os.pwrite(found.file, data, found.offset + offset_bytes)

    def close(self) -> None:
        """Let go of all; may be called twice."""
        self.unregister()

    def _place(self, region: str, offset_bytes: int, size_bytes: int) -> Region:
        found = self._regions.get(region)
        if found is None:
            raise TensorError(f"no shared memory region {region[:_SHOWN_CHARS]!r} is registered")
        if offset_bytes < 0 or size_bytes < 0 or offset_bytes + size_bytes > found.size:
            raise TensorError(
                f"region {region!r} has {found.size} bytes: {size_bytes} at offset {offset_bytes} are not all in it"
            )
        return found

    def _opened(self, file_name: str, key: str) -> int:
        try:
            file = os.open(self._folder / file_name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except PermissionError as error:
            raise CallError(
                f"shared memory {key!r} may not be opened by the agent's user",
                "let that user read and write it",
                Status.PERMISSION_DENIED,
            ) from error
        except OSError as error:
            raise _wrong(f"there is no shared memory {key!r}: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise _wrong(f"{key!r} is no shared memory")
        return file


def _require_size(file: int, key: str, offset: int, size: int) -> None:
    has = os.fstat(file).st_size
    if offset < 0 or size < 1 or offset + size > has:
        raise _wrong(f"shared memory {key!r} has {has} bytes: {size} at offset {offset} are not all in it")


def _wrong(message: str) -> CallError:
    return CallError(message, "make it first, as large as it is registered", Status.INVALID_ARGUMENT)
