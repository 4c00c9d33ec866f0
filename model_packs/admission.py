"""Owns the checks that a pack must pass before it becomes visible in a store or is loaded from it.

Keeping packs is `store.py`, which calls these in the order of docs/pack-format.md. The schema of pack.json is
`manifest_reading.py`; signatures are `signing.py`.
"""

from collections.abc import Sequence

from model_packs.blobs import BlobFolder
from model_packs.errors import BlobError, DamagedPackError, ManifestError, PackError, SigningError, UntrustedPackError
from model_packs.layout import FILEPATH, PACK_JSON, ImageManifest, read_image_manifest
from model_packs.manifest import PackManifest, PackRef
from model_packs.manifest_reading import MAX_PACK_JSON_BYTES, read_manifest
from model_packs.signing import PublicKey, check_signed_by_one_of

_REFETCH = "fetch or build the pack again"


def parse_image(ref: str, data: bytes) -> ImageManifest:
    """Read an image manifest that must have exactly one pack.json.

    Args:
        ref: The pack, for messages.
        data: The image manifest's bytes.

    Returns:
        The image manifest.

    Raises:
        PackError: It is no image manifest of a pack.
    """
    try:
        image = read_image_manifest(data)
        _ = image.pack_layer
    except ValueError as error:
        raise PackError(ref, f"image manifest: {error}", _REFETCH) from error
    return image


def require_signature(ref: PackRef, image: ImageManifest, blobs: BlobFolder, trusted: Sequence[PublicKey]) -> None:
    """Require a valid signature of pack.json by a trusted key.

    Args:
        ref: The pack.
        image: Its image manifest, with the signatures that came along.
        blobs: Where its blobs are.
        trusted: The keys that count.

    Raises:
        DamagedPackError: pack.json is damaged.
        UntrustedPackError: No trusted key signed it.
    """
    try:
        pack_json = blobs.read(image.pack_layer.digest, MAX_PACK_JSON_BYTES)
        check_signed_by_one_of(pack_json, image.signatures, trusted)
    except BlobError as error:
        raise DamagedPackError(str(ref), f"{PACK_JSON}: {error.reason}", error.mend) from error
    except SigningError as error:
        raise UntrustedPackError(str(ref), f"{PACK_JSON}: {error.reason}", error.mend) from error


def check_content(ref: PackRef, image: ImageManifest, blobs: BlobFolder) -> PackManifest:
    """Check everything that digests can tell: pack.json, its layers, every blob.

    Args:
        ref: Name and version that pack.json must carry.
        image: The image manifest.
        blobs: Where the blobs are.

    Returns:
        The manifest.

    Raises:
        DamagedPackError: A blob is missing or damaged; the message names the file.
        PackError: Something is not what pack.json names.
    """
    name = PACK_JSON
    try:
        manifest = read_manifest(blobs.read(image.pack_layer.digest, MAX_PACK_JSON_BYTES))
        if manifest.ref != ref:
            raise PackError(str(ref), f"{PACK_JSON} names {manifest.ref}", _REFETCH)
        _compare_layers(image, manifest)
        for blob in image.blobs:
            name = blob.annotations.get(FILEPATH, "config")
            blobs.check(blob.digest, blob.size_bytes)
    except ManifestError as error:
        raise PackError(str(ref), str(error), "build the pack again with model-pack build") from error
    except BlobError as error:
        raise DamagedPackError(str(ref), f"{name}: {error.reason}", error.mend) from error
    return manifest


def _compare_layers(image: ImageManifest, manifest: PackManifest) -> None:
    """Require that the layers are exactly what the signed pack.json names, so that nothing unsigned rides along."""
    ref = str(manifest.ref)
    layers = [layer for layer in image.layers if layer is not image.pack_layer]
    paths = [layer.annotations.get(FILEPATH, "") for layer in layers]
    if sorted(paths) != [file.path for file in manifest.files]:
        raise PackError(ref, f"its layers ({', '.join(paths)}) are not the files that {PACK_JSON} names", _REFETCH)
    for layer, path in zip(layers, paths, strict=True):
        named = manifest.file(path)
        if (layer.digest, layer.size_bytes) != (named.digest, named.size_bytes):
            raise PackError(ref, f"{path}: {PACK_JSON} names another digest or size than the layer", _REFETCH)
