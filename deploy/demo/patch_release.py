"""Owns the pack that nobody may run: a patch of the second student, built and published as it should be, then damaged.

`build` makes a good pack: the same network under the next version, with a note inside its graph. `damage` is the disk,
or the hand, that changes one byte of the weights in the hub's store after the hub has signed it. A device must find
that out by itself.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

from deploy.demo.baselines import layout
from deploy.demo.fleet import NEXT_EDGE_PACK, PATCH
from model_packs.digests import Digest, digest_of
from model_packs.layout import describe_pack
from model_packs.manifest import PackFile, PackManifest, PackRef
from model_packs.pack import Pack
from model_packs.store import PackStore

_NOTE: Final = b"patch 1"
_DOC_STRING_FIELD: Final = bytes([6 << 3 | 2])  # onnx.proto: ModelProto.doc_string is field 6, length-delimited


def build(out: Path) -> PackRef:
    """Build the patch.

    Args:
        out: The OCI image layout to write.

    Returns:
        Its name and version.

    Raises:
        PackError: The second student's layout is damaged.
        OSError: The disk refuses.
    """
    shipped = PackStore(layout(NEXT_EDGE_PACK)).load(NEXT_EDGE_PACK, None)
    contents = _contents(shipped)
    manifest = _manifest(shipped.manifest, contents)
    image, config = describe_pack(manifest)
    store = PackStore(out)
    store.open()
    for data in (config, manifest.canonical_json(), *contents.values()):
        store.write_blob(data)
    store.add_manifest(PATCH, image.to_bytes())
    return PATCH


def damage(packs: Path, ref: PackRef) -> Digest:
    """Change one byte of a pack's weights on disk.

    Args:
        packs: A pack store.
        ref: A pack in it.

    Returns:
        The digest that the bytes do not have any more.

    Raises:
        PackError: The pack is not there, or damaged already.
        OSError: The disk refuses.
    """
    store = PackStore(packs)
    graph = store.load(ref, None).manifest.variants[0].graph_digest
    path = store.blob_path(graph)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.chmod(0o644)
    path.write_bytes(data)
    return graph


def _contents(shipped: Pack) -> dict[str, bytes]:
    """The patch's files by path: the weights with a note, and the certificate for that graph."""
    weights = shipped.manifest.variants[0].file
    contents = {file.path: shipped.read(file.path) for file in shipped.manifest.files}
    contents[weights] += _DOC_STRING_FIELD + bytes([len(_NOTE)]) + _NOTE
    if shipped.certificate is not None and shipped.manifest.certificate_path is not None:
        certificate = replace(shipped.certificate, graph_digest=digest_of(contents[weights]))
        contents[shipped.manifest.certificate_path] = certificate.to_json()
    return contents


def _manifest(shipped: PackManifest, contents: dict[str, bytes]) -> PackManifest:
    files = (
        PackFile(file.path, digest_of(contents[file.path]), len(contents[file.path]), file.role)
        for file in shipped.files
    )
    variants = (replace(variant, graph_digest=digest_of(contents[variant.file])) for variant in shipped.variants)
    return replace(shipped, ref=PATCH, files=tuple(files), variants=tuple(variants))
