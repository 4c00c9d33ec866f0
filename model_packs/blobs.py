"""Owns a folder of blobs named by their digest: durable writes, checked reads, resumable receiving.

Which blobs belong to which pack is `store.py`.
"""

import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from model_packs.digests import Digest, digest_of, digest_of_file, hex_of, parse_digest
from model_packs.errors import BlobError, WrongBytesError
from model_packs.process.durable import fsync_dir, make_folder, write_file

SYNC_EVERY_BYTES: Final = 4 << 20
_CHUNK_BYTES = 1 << 20
_REFETCH = (
    "bring the pack here again: `edge-agent enrol` on a device, `cloud-hub packs publish LAYOUT` on a hub, "
    "`model-pack build` where it is built"
)


class BlobFolder:
    """Blobs of one OCI layout: `blobs/sha256/<hex>`, and `ingest/<hex>.part` for those on their way.

    Args:
        root: The layout's folder.
    """

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs" / "sha256"
        self._ingest = root / "ingest"

    def create(self) -> None:
        """Create the folders.

        Raises:
            OSError: They cannot be created.
        """
        make_folder(self._blobs)

    def path(self, digest: Digest) -> Path:
        """Find a blob's file.

        Args:
            digest: The blob.

        Returns:
            Its path.

        Raises:
            BlobError: It is not here, or is no regular file.
        """
        path = self._path(digest)
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError as error:
            raise BlobError(digest, "the blob is missing", _REFETCH) from error
        if not stat.S_ISREG(mode):
            raise BlobError(digest, f"{path} is no regular file", _REFETCH)
        return path

    def read(self, digest: Digest, max_bytes: int) -> bytes:
        """Read and check a small blob.

        Args:
            digest: The blob.
            max_bytes: Refuse a larger one.

        Returns:
            Its bytes.

        Raises:
            BlobError: It is missing, larger, or its content has another digest.
        """
        path = self.path(digest)
        if path.stat().st_size > max_bytes:
            raise BlobError(digest, f"larger than {max_bytes} bytes", _REFETCH)
        data = path.read_bytes()
        if digest_of(data) != digest:
            raise BlobError(digest, f"{path} holds other bytes", _REFETCH)
        return data

    def read_range(self, digest: Digest, offset: int, limit: int) -> bytes:
        """Read a part of a blob, unchecked: who receives it checks the whole.

        Args:
            digest: The blob.
            offset: First byte.
            limit: Most bytes to return.

        Returns:
            The bytes; none at or past the end.

        Raises:
            BlobError: It is missing.
        """
        with self.path(digest).open("rb") as file:
            file.seek(offset)
            return file.read(limit)

    def check(self, digest: Digest, size_bytes: int) -> None:
        """Check a blob's size and content in constant memory.

        Args:
            digest: The blob.
            size_bytes: What its descriptor says.

        Raises:
            BlobError: It is missing, has another size or another content.
        """
        path = self.path(digest)
        found_bytes = path.stat().st_size
        if found_bytes != size_bytes:
            raise BlobError(digest, f"{path} has {found_bytes} bytes instead of {size_bytes}", _REFETCH)
        if digest_of_file(path) != digest:
            raise BlobError(digest, f"{path} holds other bytes", _REFETCH)

    def is_whole(self, digest: Digest, size_bytes: int) -> bool:
        """Tell whether a blob is here and undamaged.

        Args:
            digest: The blob.
            size_bytes: What its descriptor says.

        Returns:
            False if it has to be brought here (again).
        """
        try:
            self.check(digest, size_bytes)
        except BlobError:
            return False
        return True

    def write(self, data: bytes) -> Digest:
        """Store bytes durably; a damaged blob of that name is replaced.

        Args:
            data: The blob.

        Returns:
            Its digest.

        Raises:
            OSError: The disk is full or refuses.
        """
        digest = digest_of(data)
        if not self.is_whole(digest, len(data)):
            write_file(self._path(digest), data)
        return digest

    def copy_in(self, digest: Digest, source: Path) -> None:
        """Copy a blob from another folder of this machine, checked and durable; many may copy the same one at once.

        Args:
            digest: What it must be.
            source: The file to copy.

        Raises:
            BlobError: The file holds other bytes.
            OSError: A disk refuses.
        """
        make_folder(self._ingest)
        temporary = self._ingest / f"{hex_of(parse_digest(digest))}.{secrets.token_hex(4)}.tmp"
        try:
            with source.open("rb") as old, temporary.open("xb") as new:
                shutil.copyfileobj(old, new, _CHUNK_BYTES)
                new.flush()
                os.fsync(new.fileno())
            if digest_of_file(temporary) != digest:
                raise BlobError(digest, f"{source} holds other bytes", _REFETCH)
            temporary.rename(self._path(digest))
        finally:
            temporary.unlink(missing_ok=True)
        fsync_dir(self._blobs)

    def partial_bytes(self, digest: Digest) -> int:
        """Tell how much of a blob an interrupted transfer left here.

        Args:
            digest: The blob.

        Returns:
            Bytes that `receive` would not ask for again; 0 if there is no part.
        """
        try:
            return self._part(digest).stat().st_size
        except FileNotFoundError:
            return 0

    def remove_but(self, kept: Collection[Digest]) -> int:
        """Remove every blob that is not named, every unfinished one, and what killed writers left.

        Args:
            kept: Blobs that stay.

        Returns:
            Bytes that are free now.

        Raises:
            OSError: The disk refuses.
        """
        names = {hex_of(digest) for digest in kept}
        freed_bytes = 0
        for folder in (self._blobs, self._ingest):
            found = [path for path in folder.iterdir() if path.name not in names] if folder.is_dir() else []
            for path in found:
                freed_bytes += path.lstat().st_size
                path.unlink()
            if found:
                fsync_dir(folder)
        return freed_bytes

    def receive(self, digest: Digest, size_bytes: int) -> "BlobReceiver":
        """Begin, or resume, receiving a blob.

        Args:
            digest: What it will be, checked at commit.
            size_bytes: How many bytes it has.

        Returns:
            The receiver; send bytes from its `offset` on.

        Raises:
            BlobError: Another receiver of the same blob is open.
            OSError: The disk refuses.
        """
        make_folder(self._ingest)
        return BlobReceiver(digest, size_bytes, self._part(digest), self._path(digest))

    def _part(self, digest: Digest) -> Path:
        return self._ingest / f"{hex_of(parse_digest(digest))}.part"

    def _path(self, digest: Digest) -> Path:
        return self._blobs / hex_of(parse_digest(digest))


class BlobReceiver:
    """One blob on its way in. Use it in a `with` block; without `commit` the part stays and can be resumed.

    Args:
        digest: What the whole must be.
        size_bytes: How many bytes it has.
        part: Where received bytes are gathered.
        final: Where the blob goes.
    """

    def __init__(self, digest: Digest, size_bytes: int, part: Path, final: Path) -> None:
        self._digest = digest
        self._size_bytes = size_bytes
        self._part = part
        self._final = final
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        self._file = os.fdopen(descriptor, "r+b")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not part.exists() or not os.path.samestat(os.fstat(descriptor), part.stat()):
                # Another receiver committed between our open and our lock: this file is its finished blob now.
                raise BlockingIOError  # noqa: TRY301 - the same answer as for a lock that is held
        except BlockingIOError as error:
            self._file.close()
            raise BlobError(digest, "is being received already", "let the other transfer finish") from error
        self._offset = self._file.seek(0, os.SEEK_END)
        if self._offset > size_bytes:  # a part of something else, or a claim that changed: begin anew
            self._file.truncate(0)
            self._offset = self._file.seek(0)
        self._unsynced_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def offset(self) -> int:
        """How many bytes are here; the next `append` continues there."""
        return self._offset

    def append(self, data: bytes) -> None:
        """Take the next bytes; they are synced to disk every few megabytes.

        Args:
            data: Bytes from `offset` on.

        Raises:
            WrongBytesError: More bytes than announced.
            OSError: The disk is full or refuses.
        """
        if self._offset + len(data) > self._size_bytes:
            raise WrongBytesError(self._digest, f"more than the announced {self._size_bytes} bytes arrive", _REFETCH)
        self._file.write(data)
        self._offset += len(data)
        self._unsynced_bytes += len(data)
        if self._unsynced_bytes >= SYNC_EVERY_BYTES:
            self._sync()

    def commit(self) -> None:
        """Check the whole and put it in its place, durably; a wrong part is removed, so that a retry begins anew.

        Raises:
            BlobError: Bytes are missing.
            WrongBytesError: The whole has another digest.
            OSError: The disk is full or refuses.
        """
        if self._offset != self._size_bytes:
            raise BlobError(self._digest, f"{self._offset} of {self._size_bytes} bytes are here", "resume the transfer")
        self._sync()
        if digest_of_file(self._part) != self._digest:
            self._part.unlink()
            self.close()
            raise WrongBytesError(self._digest, "the received bytes have another digest", _REFETCH)
        self._part.rename(self._final)
        fsync_dir(self._final.parent)
        fsync_dir(self._part.parent)
        self.close()

    def close(self) -> None:
        """Let go of the part; a second call does nothing."""
        self._file.close()

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._unsynced_bytes = 0
