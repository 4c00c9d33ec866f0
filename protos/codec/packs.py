"""Packs on the wire between their frozen values and their generated classes."""

from protos.messages.packs import BlobChunk, BlobDescriptor, PackMetadata
from protos.tandem.v1 import packs_pb2 as pb


def metadata_to_wire(metadata: PackMetadata) -> pb.PackMetadata:
    """A pack's manifest and the blobs that it names."""
    blobs = [pb.BlobDescriptor(digest=blob.digest, size_bytes=blob.size_bytes) for blob in metadata.blobs]
    return pb.PackMetadata(manifest=metadata.manifest, manifest_digest=metadata.manifest_digest, blobs=blobs)


def metadata_from_wire(wire: pb.PackMetadata) -> PackMetadata:
    """A pack's manifest and the blobs that it names; digests are checked by the store that receives them."""
    blobs = tuple(BlobDescriptor(digest=blob.digest, size_bytes=blob.size_bytes) for blob in wire.blobs)
    return PackMetadata(manifest=wire.manifest, manifest_digest=wire.manifest_digest, blobs=blobs)


def chunk_to_wire(chunk: BlobChunk) -> pb.BlobChunk:
    """A piece of a blob."""
    return pb.BlobChunk(offset=chunk.offset, data=chunk.data)


def chunk_from_wire(wire: pb.BlobChunk) -> BlobChunk:
    """A piece of a blob."""
    return BlobChunk(offset=wire.offset, data=wire.data)
