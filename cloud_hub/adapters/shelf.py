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
from model_packs.layout import read_image_manifest
from model_packs.manifest import PackManifest, PackRef
from model_packs.manifest_reading import read_manifest
from model_packs.store import READ_LIMIT_BYTES, PackStore

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
        return tuple(self._described(ref, digest) for ref, digest in self._refs().items())

    def _pack(self, ref: PackRef) -> PackFacts | UnreadablePack | None:
        digest = self._refs().get(ref)
        return None if digest is None else self._described(ref, digest)

    def _refs(self) -> dict[PackRef, Digest]:
        try:
            return self._store.refs()
        except PackError as error:
            raise StorageError(f"the pack store cannot be read: {error}") from error

    def _described(self, ref: PackRef, manifest_digest: Digest) -> PackFacts | UnreadablePack:
        known = self._read.get(manifest_digest)
        if known is not None:
            return known
        try:
            facts = self._facts(ref, manifest_digest)
        except PackError as error:
            return UnreadablePack(ref, error.reason, _MEND)
        except (ManifestError, CertificateError, ValueError) as error:
            return UnreadablePack(ref, str(error), _MEND)
        self._read[manifest_digest] = facts
        return facts

    def _facts(self, ref: PackRef, manifest_digest: Digest) -> PackFacts:
        image_manifest = self._document(ref, "the image manifest", manifest_digest)
        image = read_image_manifest(image_manifest)
        digest = image.pack_layer.digest
        manifest = read_manifest(self._document(ref, "pack.json", digest))
        certificate = manifest.certificate_path
        cards = [file.path for file in manifest.files if file.role == "card"]
        return PackFacts(
            ref=ref,
            digest=digest,
            size_bytes=len(image_manifest) + sum(blob.size_bytes for blob in image.blobs),
            manifest=manifest,
            signed_by=tuple(signature.key_id for signature in image.signatures),
            certificate=None if certificate is None else Certificate.from_json(self._file(manifest, certificate)),
            card="\n\n".join(self._file(manifest, path).decode(errors="replace") for path in cards),
        )

    def _file(self, manifest: PackManifest, path: str) -> bytes:
        return self._document(manifest.ref, path, manifest.file(path).digest)

    def _document(self, ref: PackRef, name: str, digest: Digest) -> bytes:
        """A small file of a pack, checked."""
        data = self._store.read_blob(digest, 0, READ_LIMIT_BYTES)
        if digest_of(data) != digest:
            raise PackError(str(ref), f"{name} is damaged, or larger than {READ_LIMIT_BYTES} bytes", _MEND)
        return data
