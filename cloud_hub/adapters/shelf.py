"""Owns the published packs as people see them: their documents out of the pack store, without reading weights.

Documents are named by their digests, so what was read once is kept. Verifying a whole pack is `model_packs.store`; what
devices fetch is `adapters.grpc.packs`.
"""

import asyncio

from cloud_hub.errors import StorageError
from cloud_hub.ports import PackFacts, UnreadablePack
from model_packs.certificate.document import Certificate
from model_packs.certificate.errors import CertificateError
from model_packs.digests import Digest, digest_of
from model_packs.errors import ManifestError, PackError
from model_packs.manifest import PackManifest, PackRef
from model_packs.manifest_reading import read_manifest
from model_packs.store import READ_LIMIT_BYTES, PackStore, StoredPack

_MEND = "publish the pack again: cloud-hub packs publish LAYOUT"


class StoredPackShelf:
    """The packs of the hub's own store.

    Args:
        store: The open store.
    """

    def __init__(self, store: PackStore) -> None:
        self._store = store
        self._read: dict[Digest, PackFacts] = {}

    async def packs(self) -> tuple[PackFacts | UnreadablePack, ...]:
        """List them by name and version."""
        return await asyncio.to_thread(self._packs)

    async def pack(self, ref: PackRef) -> PackFacts | UnreadablePack | None:
        """Look one up."""
        return await asyncio.to_thread(self._pack, ref)

    def _packs(self) -> tuple[PackFacts | UnreadablePack, ...]:
        return tuple(self._described(stored) for stored in self._list())

    def _pack(self, ref: PackRef) -> PackFacts | UnreadablePack | None:
        found = [self._described(stored) for stored in self._list() if stored.ref == ref]
        return found[0] if found else None

    def _list(self) -> tuple[StoredPack, ...]:
        try:
            return self._store.list()
        except (PackError, OSError) as error:
            raise StorageError(f"the pack store cannot be read: {error}") from error

    def _described(self, stored: StoredPack) -> PackFacts | UnreadablePack:
        known = self._read.get(stored.manifest_digest)
        if known is not None:
            return known
        try:
            facts = self._facts(stored)
        except (ManifestError, CertificateError) as error:
            return UnreadablePack(stored.ref, str(error), _MEND)
        except PackError as error:
            return UnreadablePack(stored.ref, error.reason, _MEND)
        self._read[stored.manifest_digest] = facts
        return facts

    def _facts(self, stored: StoredPack) -> PackFacts:
        manifest = read_manifest(self._document(stored, "pack.json", stored.digest))
        certificate = manifest.certificate_path
        return PackFacts(
            ref=stored.ref,
            digest=stored.digest,
            size_bytes=stored.size_bytes,
            manifest=manifest,
            signed_by=stored.signed_by,
            certificate=None
            if certificate is None
            else Certificate.from_json(self._file(stored, manifest, certificate)),
            card=b"\n\n".join(
                self._file(stored, manifest, file.path) for file in manifest.files if file.role == "card"
            ).decode(errors="replace"),
        )

    def _file(self, stored: StoredPack, manifest: PackManifest, path: str) -> bytes:
        return self._document(stored, path, manifest.file(path).digest)

    def _document(self, stored: StoredPack, path: str, digest: Digest) -> bytes:
        """A small file of a pack, checked."""
        data = self._store.read_blob(digest, 0, READ_LIMIT_BYTES)
        if digest_of(data) != digest:
            raise PackError(str(stored.ref), f"{path} is damaged, or larger than {READ_LIMIT_BYTES} bytes", _MEND)
        return data
