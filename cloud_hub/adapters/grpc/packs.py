"""Owns the pack service: what a name and version stand for, and blobs from any offset, for every enrolled device."""

import asyncio
import re

from cloud_hub.adapters.grpc.gate import Context, Gate, refusals_told
from cloud_hub.errors import BlobNotFoundError, BlobRangeError, PackNotFoundError, StorageError
from model_packs.digests import PATTERN, Digest
from model_packs.errors import PackError
from model_packs.layout import read_image_manifest
from model_packs.manifest import PackRef
from model_packs.store import PackStore
from protos.codec.packs import chunk_to_wire, metadata_to_wire
from protos.messages.packs import BlobChunk, BlobDescriptor, PackMetadata
from protos.tandem.v1 import packs_pb2 as pb

CHUNK_BYTES = 256 * 1024


class PackService:
    """`tandem.v1.PackService`.

    Args:
        gate: Says who calls.
        packs: The open pack store.
    """

    def __init__(self, gate: Gate, packs: PackStore) -> None:
        self._gate = gate
        self._packs = packs

    async def GetMetadata(self, request: pb.PackMetadataRequest, context: Context) -> pb.PackMetadata:  # noqa: N802 - the service's own name
        """Answer with a pack's image manifest, byte for byte, and the blobs that it names."""
        async with refusals_told(context):
            await self._gate.admit(context)
            metadata = await asyncio.to_thread(self._metadata, f"{request.name}@{request.version}")
        return metadata_to_wire(metadata)

    async def ReadBlob(self, request: pb.ReadBlobRequest, context: Context) -> None:  # noqa: N802 - the service's own name
        """Send a blob, or the part that was asked for, in pieces of at most 256 KiB."""
        async with refusals_told(context):
            await self._gate.admit(context)
            size_bytes = await asyncio.to_thread(self._size_bytes, request.digest)
            if request.offset > size_bytes:
                raise BlobRangeError(f"offset {request.offset} lies behind the end of {request.digest} ({size_bytes})")
            end = size_bytes if request.limit == 0 else min(size_bytes, request.offset + request.limit)
            offset = request.offset
            while offset < end:
                data = await asyncio.to_thread(self._read, request.digest, offset, min(CHUNK_BYTES, end - offset))
                await context.write(chunk_to_wire(BlobChunk(offset, data)))
                offset += len(data)

    def _metadata(self, name: str) -> PackMetadata:
        try:
            ref = PackRef.parse(name)
            digest = self._packs.resolve(ref)
            if digest is None:
                raise PackNotFoundError(name)
            manifest = self._packs.read_blob(digest, 0, self._packs.blob_size_bytes(digest))
        except ValueError as error:
            raise PackNotFoundError(name) from error
        except PackError as error:
            raise StorageError(str(error)) from error
        blobs = tuple(BlobDescriptor(blob.digest, blob.size_bytes) for blob in read_image_manifest(manifest).blobs)
        return PackMetadata(manifest, digest, blobs)

    def _size_bytes(self, digest: str) -> int:
        if not re.fullmatch(PATTERN, digest):
            raise BlobNotFoundError(f"{digest[:80]!r} is not a digest of the form sha256:<64 hex digits>")
        try:
            return self._packs.blob_size_bytes(Digest(digest))
        except PackError as error:
            raise BlobNotFoundError(f"blob {digest} is not stored here") from error

    def _read(self, digest: str, offset: int, limit: int) -> bytes:
        try:
            data = self._packs.read_blob(Digest(digest), offset, limit)
        except PackError as error:
            raise StorageError(str(error)) from error
        if not data:
            raise StorageError(f"blob {digest} was cut while it was read")
        return data
