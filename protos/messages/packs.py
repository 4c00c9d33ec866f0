"""Packs on the wire: what a name and version stand for, and pieces of blobs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BlobDescriptor:
    """One blob that a pack needs."""

    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PackMetadata:
    """A pack's OCI image manifest, byte for byte, and the blobs that it names."""

    manifest: bytes
    manifest_digest: str
    blobs: tuple[BlobDescriptor, ...]


@dataclass(frozen=True, slots=True)
class BlobChunk:
    """A piece of a blob and where it starts."""

    offset: int
    data: bytes
