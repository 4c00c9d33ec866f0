"""Owns packs on disk: an OCI image layout with many of them, changed atomically, checked whenever one is loaded.

The documents inside are `layout.py`, the blobs `blobs.py`, the checks `admission.py`, a loaded pack `pack.py`. Where
packs come from and which one runs is decided elsewhere. Threads and processes may share one store.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from model_packs.admission import check_content, parse_image, require_signature
from model_packs.blobs import BlobFolder, BlobReceiver
from model_packs.digests import Digest
from model_packs.errors import BlobError, DamagedPackError, PackError, VersionTakenError
from model_packs.layout import (
    MANIFEST_TYPE,
    MAX_DOCUMENT_BYTES,
    OCI_LAYOUT,
    Descriptor,
    ImageManifest,
    read_index,
    write_index,
)
from model_packs.manifest import PackRef
from model_packs.manifest_reading import MAX_PACK_JSON_BYTES
from model_packs.pack import Pack
from model_packs.process.durable import make_folder, write_file
from model_packs.signing import KeyId, PublicKey, Signature, SiteKey

READ_LIMIT_BYTES: Final = 1 << 20
_INDEX, _LAYOUT_MARK, _BLOBS = "index.json", "oci-layout", "blobs"
_REFETCH = "fetch or build the pack again"


@dataclass(frozen=True, slots=True)
class StoredPack:
    """What the store knows about a pack without checking its blobs.

    Attributes:
        ref: Name and version.
        digest: The pack digest (of pack.json).
        manifest_digest: Digest of the OCI image manifest; what a delivery names.
        size_bytes: All blobs together.
        signed_by: Keys whose signatures came along; they are checked by `load`.
    """

    ref: PackRef
    digest: Digest
    manifest_digest: Digest
    size_bytes: int
    signed_by: tuple[KeyId, ...]


class PackStore:
    """An OCI image layout with packs.

    Args:
        root: Its folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = BlobFolder(root)
        self._index_path = root / _INDEX

    @property
    def is_made(self) -> bool:
        """Whether anything of a layout is here: `open` made it, or it was brought; other files may share its folder."""
        return any((self.root / name).exists() for name in (_INDEX, _LAYOUT_MARK, _BLOBS))

    def open(self) -> None:
        """Create the layout if there is none, and check that the index can be read.

        Raises:
            PackError: The index is damaged.
            OSError: The folder cannot be created.
        """
        make_folder(self.root)
        with self._locked():
            self._blobs.create()
            if not self._index_path.exists():
                write_file(self.root / _LAYOUT_MARK, OCI_LAYOUT)
                write_file(self._index_path, write_index({}))
        self._index()

    def list(self) -> tuple[StoredPack, ...]:
        """List the packs.

        Returns:
            What is known of each, by name and version.

        Raises:
            PackError: The index or a manifest is damaged.
        """
        return tuple(self._stored(ref, descriptor) for ref, descriptor in sorted(self._index().items()))

    def refs(self) -> dict[PackRef, Digest]:
        """Name the packs, reading no more than the index: a damaged pack is named like any other.

        Returns:
            The digest of each one's image manifest, by name and version.

        Raises:
            PackError: The index is damaged.
        """
        return {ref: descriptor.digest for ref, descriptor in sorted(self._index().items())}

    def resolve(self, ref: PackRef) -> Digest | None:
        """Find a pack.

        Args:
            ref: Name and version.

        Returns:
            Digest of its image manifest; None if it is not here.

        Raises:
            PackError: The index is damaged.
        """
        descriptor = self._index().get(ref)
        return None if descriptor is None else descriptor.digest

    def has_whole_blob(self, digest: Digest, size_bytes: int) -> bool:
        """Tell whether a blob is here and undamaged; reads all of it.

        Args:
            digest: The blob.
            size_bytes: What its descriptor says.

        Returns:
            False if it has to be brought here (again).
        """
        return self._blobs.is_whole(digest, size_bytes)

    def blob_path(self, digest: Digest) -> Path:
        """Find a blob's file.

        Args:
            digest: The blob.

        Returns:
            Its path.

        Raises:
            BlobError: It is not here.
        """
        return self._blobs.path(digest)

    def blob_size_bytes(self, digest: Digest) -> int:
        """Tell how large a blob is.

        Args:
            digest: The blob.

        Returns:
            The size of its file.

        Raises:
            BlobError: It is not here.
        """
        return self._blobs.path(digest).stat().st_size

    def read_blob(self, digest: Digest, offset: int, limit: int) -> bytes:
        """Read a part of a blob, e.g. to send it.

        Args:
            digest: The blob.
            offset: First byte.
            limit: Most bytes to return; capped at `READ_LIMIT_BYTES`.

        Returns:
            The bytes; none at or past the end.

        Raises:
            BlobError: It is not here.
        """
        return self._blobs.read_range(digest, max(offset, 0), min(limit, READ_LIMIT_BYTES))

    def receive(self, digest: Digest, size_bytes: int) -> BlobReceiver:
        """Begin, or resume after an interruption, receiving a blob.

        Args:
            digest: What it will be.
            size_bytes: How many bytes it has.

        Returns:
            The receiver; send bytes from its `offset` on, then `commit`.

        Raises:
            BlobError: The same blob is being received already.
            OSError: The disk refuses.
        """
        return self._blobs.receive(digest, size_bytes)

    def partial_bytes(self, digest: Digest) -> int:
        """Tell how much of a blob an interrupted transfer left here.

        Args:
            digest: The blob.

        Returns:
            Bytes that `receive` would not ask for again.
        """
        return self._blobs.partial_bytes(digest)

    def write_blob(self, data: bytes) -> Digest:
        """Store a blob that is in memory.

        Args:
            data: Its bytes.

        Returns:
            Its digest.

        Raises:
            OSError: The disk refuses.
        """
        return self._blobs.write(data)

    def copy_blob(self, digest: Digest, source: Path) -> None:
        """Copy a blob from a file of this machine.

        Args:
            digest: What it must be.
            source: The file.

        Raises:
            BlobError: The file holds other bytes.
            OSError: A disk refuses.
        """
        self._blobs.copy_in(digest, source)

    def add_manifest(self, ref: PackRef, manifest_bytes: bytes) -> Digest:
        """Make a pack whose blobs are all here visible.

        Args:
            ref: Name and version that it must carry.
            manifest_bytes: Its OCI image manifest.

        Returns:
            Digest of the image manifest.

        Raises:
            PackError: The pack is damaged, contradicts `ref`, or the version is here already with other content.
            OSError: The disk refuses.
        """
        image = parse_image(str(ref), manifest_bytes)
        check_content(ref, image, self._blobs)
        with self._locked():
            packs = self._index()
            known = self._known_digest(ref, packs)
            if known not in (None, image.pack_layer.digest):
                mend = "a version never changes: raise it, or remove the old layout"
                raise VersionTakenError(str(ref), f"{self.root} holds this version with other content", mend)
            digest = self._blobs.write(manifest_bytes)
            packs[ref] = Descriptor(MANIFEST_TYPE, digest, len(manifest_bytes))
            write_file(self._index_path, write_index(packs))
        return digest

    def remove(self, ref: PackRef) -> None:
        """Forget a pack, durably; its bytes go with the next `collect`. An unknown pack is no error.

        Args:
            ref: The pack.

        Raises:
            PackError: The index is damaged.
            OSError: The disk refuses; the pack is still here, whole.
        """
        with self._locked():
            packs = self._index()
            if packs.pop(ref, None) is not None:
                write_file(self._index_path, write_index(packs))

    def collect(self) -> int:
        """Remove every blob that no pack names, and what unfinished or killed work left behind.

        A crash in the middle leaves packs whole and some garbage for the next call. While somebody fetches
        (`fetching`), nothing is removed.

        Returns:
            Bytes that are free now.

        Raises:
            PackError: The index or a manifest is damaged: nothing is removed.
            OSError: The disk refuses.
        """
        with self._locked(), self._alone() as is_alone:
            if not is_alone:
                return 0
            kept: set[Digest] = set()
            for ref, descriptor in self._index().items():
                image = parse_image(str(ref), self._manifest_bytes(ref, descriptor))
                kept |= {descriptor.digest, *(blob.digest for blob in image.blobs)}
            for leftover in self.root.glob(f".{self._index_path.name}.*.tmp"):
                leftover.unlink()
            return self._blobs.remove_but(kept)

    @contextmanager
    def fetching(self) -> Iterator[None]:
        """Hold `collect` off while blobs arrive that no pack names yet; many may fetch at once.

        Raises:
            OSError: The folder is not there.
        """
        with self._folder_lock(self.root / "blobs", fcntl.LOCK_SH):
            yield

    def import_layout(self, path: Path) -> PackRef:
        """Copy the one pack of another layout into this one, after checking every byte of that layout.

        A pack that is here already keeps its signatures; what is damaged of it here is replaced.

        Args:
            path: The other layout.

        Returns:
            The pack.

        Raises:
            PackError: The layout is damaged or holds not exactly one pack, or the version is here with other content.
            OSError: A disk refuses.
        """
        source = PackStore(path)
        packs = source.list()
        if len(packs) != 1:
            raise PackError(str(path), f"holds {len(packs)} packs", "give a layout with exactly one pack")
        try:
            source.copy_to(self, packs[0].ref)
        except DamagedPackError as error:
            mend = f"bring a whole copy of the layout {path} here, or build it again with `model-pack build`"
            raise DamagedPackError(error.ref, error.reason, mend) from error
        return packs[0].ref

    def copy_to(self, target: "PackStore", ref: PackRef) -> None:
        """Copy one pack, checked down to the last byte, into another open store; what is damaged there is replaced.

        Args:
            target: The other store.
            ref: The pack.

        Raises:
            PackError: The pack is unknown or damaged, or the target has the version with other content.
            OSError: A disk refuses.
        """
        image = self._image(ref)
        check_content(ref, image, self._blobs)
        for blob in image.blobs:
            if not target.has_whole_blob(blob.digest, blob.size_bytes):
                target.copy_blob(blob.digest, self.blob_path(blob.digest))
        for signature in target.signatures(ref, image.pack_layer.digest):
            image = image.signed(signature)
        target.add_manifest(ref, image.to_bytes())

    def signatures(self, ref: PackRef, digest: Digest) -> tuple[Signature, ...]:
        """Return the signatures stored with a pack.

        Args:
            ref: The pack.
            digest: The pack digest that they must belong to.

        Returns:
            The signatures; none if the pack is not here with that digest, or its manifest is damaged.

        Raises:
            PackError: The index is damaged.
        """
        if self.resolve(ref) is None:
            return ()
        try:
            image = self._image(ref)
        except DamagedPackError:
            return ()
        return image.signatures if image.pack_layer.digest == digest else ()

    def sign(self, ref: PackRef, key: SiteKey) -> Digest:
        """Sign a pack; signing again with the same key changes nothing.

        Args:
            ref: The pack.
            key: The site key.

        Returns:
            Digest of the image manifest that carries the signature.

        Raises:
            PackError: The pack is unknown or damaged.
            OSError: The disk refuses.
        """
        image = self._image(ref)
        pack_json = self._blobs.read(image.pack_layer.digest, MAX_PACK_JSON_BYTES)
        return self.add_manifest(ref, image.signed(key.sign(pack_json)).to_bytes())

    def load(self, ref: PackRef, trusted: Sequence[PublicKey] | None) -> Pack:
        """Load a pack after checking all of it, in the steps of docs/pack-format.md.

        1. Read the index and the image manifest; check the manifest's digest.
        2. Read pack.json; check its digest and, against `trusted`, its signature.
        3. Read pack.json's content strictly; its name and version must be those asked for.
        4. The layers must be exactly the files that pack.json names, with the same digests and sizes.
        5. Check the size and digest of every blob.

        Args:
            ref: Name and version.
            trusted: A valid signature by one of these keys is required; None checks digests only (for tools).

        Returns:
            The pack.

        Raises:
            PackError: It is unknown, damaged or not signed by a trusted key; names the file and the mend.
        """
        image = self._image(ref)
        if trusted is not None:
            require_signature(ref, image, self._blobs, trusted)
        manifest = check_content(ref, image, self._blobs)
        files = {file.path: self._blobs.path(file.digest) for file in manifest.files}
        return Pack(manifest, files, tuple(signature.key_id for signature in image.signatures))

    def _known_digest(self, ref: PackRef, packs: Mapping[PackRef, Descriptor]) -> Digest | None:
        """The digest of the pack that is here under this name; None too if its manifest is damaged: it is healed."""
        try:
            return self._stored(ref, packs[ref]).digest if ref in packs else None
        except DamagedPackError:
            return None

    def _stored(self, ref: PackRef, descriptor: Descriptor) -> StoredPack:
        image = parse_image(str(ref), self._manifest_bytes(ref, descriptor))
        return StoredPack(
            ref=ref,
            digest=image.pack_layer.digest,
            manifest_digest=descriptor.digest,
            size_bytes=descriptor.size_bytes + sum(blob.size_bytes for blob in image.blobs),
            signed_by=tuple(signature.key_id for signature in image.signatures),
        )

    def _image(self, ref: PackRef) -> ImageManifest:
        packs = self._index()
        if ref not in packs:
            known = ", ".join(str(other) for other in sorted(packs)) or "no packs"
            raise PackError(str(ref), f"not in {self.root}, which holds {known}", "check the name and the version")
        return parse_image(str(ref), self._manifest_bytes(ref, packs[ref]))

    def _manifest_bytes(self, ref: PackRef, descriptor: Descriptor) -> bytes:
        try:
            return self._blobs.read(descriptor.digest, MAX_DOCUMENT_BYTES)
        except BlobError as error:
            raise DamagedPackError(str(ref), f"image manifest: {error.reason}", error.mend) from error

    def _index(self) -> dict[PackRef, Descriptor]:
        try:
            return read_index(self._index_path.read_bytes())
        except OSError as error:
            reason = f"index.json cannot be read: {error.strerror}"
            raise PackError(str(self.root), reason, "give the folder of a pack layout") from error
        except ValueError as error:
            raise PackError(str(self.root), f"index.json: {error}", _REFETCH) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the store's lock, so that two writers (threads or programs) never lose each other's index entry."""
        with self._folder_lock(self.root, fcntl.LOCK_EX):
            yield

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        try:
            with self._folder_lock(self.root / "blobs", fcntl.LOCK_EX | fcntl.LOCK_NB):
                yield True
        except BlockingIOError:
            yield False

    @contextmanager
    def _folder_lock(self, folder: Path, how: int) -> Iterator[None]:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)
