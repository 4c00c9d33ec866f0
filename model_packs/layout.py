"""Owns the documents of an OCI image layout that carries packs: index, image manifest, CNCF ModelPack config.

Pure: bytes in, values out. Where they lie on disk is `store.py`. Media types follow the CNCF ModelPack specification
and the OCI image specification 1.1; pack.json is one extra layer of our own type.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from model_packs import digests
from model_packs.digests import Digest
from model_packs.manifest import PackManifest, PackRef
from model_packs.signing import Signature, read_signature
from model_packs.strict_json import JsonValue, Table, canonical, parse

INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE: Final = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE: Final = "application/vnd.cncf.model.config.v1+json"
PACK_TYPE: Final = "application/vnd.tandem.pack.v1+json"
LAYER_TYPES: Final = {
    "weights": "application/vnd.cncf.model.weight.v1.raw",
    "certificate": "application/vnd.cncf.model.weight.config.v1.raw",
    "golden": "application/vnd.cncf.model.dataset.v1.raw",
    "card": "application/vnd.cncf.model.doc.v1.raw",
    "other": "application/vnd.cncf.model.weight.config.v1.raw",
}
"""Media type of a layer by the role of its file."""

FILEPATH: Final = "org.cncf.model.filepath"
REF_NAME: Final = "org.opencontainers.image.ref.name"
SIGNATURES: Final = "org.tandem.signatures"
PACK_JSON: Final = "pack.json"

OCI_LAYOUT: Final = canonical({"imageLayoutVersion": "1.0.0"})
MAX_DOCUMENT_BYTES: Final = 4 << 20
MAX_BLOB_BYTES: Final = 4 << 30
MAX_SIGNATURES: Final = 16


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference to a blob.

    Attributes:
        media_type: What it is.
        digest: Digest of its bytes.
        size_bytes: Their number.
        annotations: Free text by name.
    """

    media_type: str
    digest: Digest
    size_bytes: int
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    def to_json(self) -> dict[str, JsonValue]:
        """Write the descriptor.

        Returns:
            The OCI object.
        """
        document: dict[str, JsonValue] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size_bytes}
        return {**document, "annotations": dict(self.annotations)} if self.annotations else document


@dataclass(frozen=True, slots=True)
class ImageManifest:
    """An OCI image manifest of a pack.

    Attributes:
        config: The CNCF ModelPack config blob.
        layers: pack.json and the pack's files.
        signatures: Signatures of pack.json.
        annotations: The other annotations.
    """

    config: Descriptor
    layers: tuple[Descriptor, ...]
    signatures: tuple[Signature, ...]
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Every blob that the manifest names."""
        return (self.config, *self.layers)

    @property
    def pack_layer(self) -> Descriptor:
        """The layer with pack.json.

        Raises:
            ValueError: There is not exactly one.
        """
        found = [layer for layer in self.layers if layer.media_type == PACK_TYPE]
        if len(found) != 1:
            raise ValueError(f"{len(found)} layers of type {PACK_TYPE}; a pack has exactly one")
        return found[0]

    def signed(self, signature: Signature) -> "ImageManifest":
        """Add a signature; an older one by the same key is replaced.

        Args:
            signature: The signature.

        Returns:
            The manifest with it.
        """
        others = (old for old in self.signatures if old.key_id != signature.key_id)
        together = tuple(sorted((*others, signature), key=lambda item: item.key_id))
        return ImageManifest(self.config, self.layers, together, self.annotations)

    def to_bytes(self) -> bytes:
        """Write the manifest.

        Returns:
            Canonical JSON; its digest is the manifest digest.
        """
        annotations = dict(self.annotations)
        if self.signatures:
            annotations[SIGNATURES] = canonical([signature.to_json() for signature in self.signatures]).decode()
        document: dict[str, JsonValue] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": self.config.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
        }
        return canonical({**document, "annotations": annotations} if annotations else document)


def describe_pack(manifest: PackManifest) -> tuple[ImageManifest, bytes]:
    """Build the OCI documents of an unsigned pack.

    Args:
        manifest: The pack.

    Returns:
        The image manifest and the bytes of its config blob.
    """
    pack_json = manifest.canonical_json()
    files = [
        Descriptor(LAYER_TYPES[file.role], file.digest, file.size_bytes, {FILEPATH: file.path})
        for file in manifest.files
    ]
    pack_layer = Descriptor(PACK_TYPE, digests.digest_of(pack_json), len(pack_json), {FILEPATH: PACK_JSON})
    layers = (pack_layer, *files)
    config = canonical(
        {
            "descriptor": {
                "name": manifest.ref.name,
                "version": manifest.ref.version,
                "family": manifest.family,
                "licenses": [manifest.license],
            },
            "config": {"format": "onnx", "precision": manifest.variants[0].precision},
            "modelfs": {"type": "layers", "diffIds": [layer.digest for layer in layers]},
        }
    )
    descriptor = Descriptor(CONFIG_TYPE, digests.digest_of(config), len(config))
    return ImageManifest(descriptor, layers, ()), config


def read_image_manifest(data: bytes) -> ImageManifest:
    """Read an image manifest from untrusted bytes.

    Args:
        data: Its JSON.

    Returns:
        The manifest; unknown keys, which the OCI specification allows, are dropped.

    Raises:
        ValueError: It is no manifest of a pack; every problem is listed.
    """
    problems: list[str] = []
    table = Table(parse(data, MAX_DOCUMENT_BYTES), "", problems)
    table.integer("schemaVersion", 2, 2)
    table.text("artifactType", choices=(ARTIFACT_TYPE,))
    config = _read_descriptor(table.table("config"))
    layers = tuple(_read_descriptor(item) for item in table.tables("layers"))
    annotations = table.mapping("annotations") if table.has("annotations") else {}
    signatures = _read_signatures(annotations.pop(SIGNATURES, "[]"), problems)
    if problems:
        raise ValueError("; ".join(problems))
    return ImageManifest(config, layers, signatures, annotations)


def _read_signatures(text: str, problems: list[str]) -> tuple[Signature, ...]:
    try:
        value = parse(text.encode(), MAX_DOCUMENT_BYTES)
    except ValueError as error:
        problems.append(f"annotations.{SIGNATURES}: {error}")
        return ()
    holder = Table({SIGNATURES: value}, "annotations", problems)
    signatures = tuple(read_signature(item) for item in holder.tables(SIGNATURES))
    if len(signatures) > MAX_SIGNATURES:
        problems.append(f"annotations.{SIGNATURES}: at most {MAX_SIGNATURES} signatures")
    return signatures


def _read_descriptor(table: Table) -> Descriptor:
    return Descriptor(
        media_type=table.text("mediaType", r"[\w.+/-]{1,200}"),
        digest=Digest(table.text("digest", digests.PATTERN)),
        size_bytes=table.integer("size", 0, MAX_BLOB_BYTES),
        annotations=table.mapping("annotations") if table.has("annotations") else {},
    )


def write_index(packs: Mapping[PackRef, Descriptor]) -> bytes:
    """Write index.json.

    Args:
        packs: The image manifest of each pack.

    Returns:
        Canonical JSON, packs in order of name and version.
    """
    manifests = [
        Descriptor(MANIFEST_TYPE, item.digest, item.size_bytes, {REF_NAME: str(ref)}).to_json()
        | {"artifactType": ARTIFACT_TYPE}
        for ref, item in sorted(packs.items())
    ]
    return canonical({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests})


def read_index(data: bytes) -> dict[PackRef, Descriptor]:
    """Read index.json from untrusted bytes.

    Args:
        data: Its JSON.

    Returns:
        The image manifests by pack.

    Raises:
        ValueError: It is no index of packs; every problem is listed.
    """
    problems: list[str] = []
    table = Table(parse(data, MAX_DOCUMENT_BYTES), "", problems)
    table.integer("schemaVersion", 2, 2)
    packs: dict[PackRef, Descriptor] = {}
    for item in table.tables("manifests"):
        descriptor = _read_descriptor(item)
        name = descriptor.annotations.get(REF_NAME, "")
        try:
            ref = PackRef.parse(name)
        except ValueError as error:
            item.note(f"annotations.{REF_NAME}", str(error))
            continue
        if ref in packs:
            item.note("", f"{ref} stands there twice")
        packs[ref] = descriptor
    if problems:
        raise ValueError("; ".join(problems))
    return packs
