"""Owns packs whose model is another server's, for tests: a small file in the graph's place."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from model_packs.digests import digest_of
from model_packs.manifest import PackManifest, PackRef, Variant
from model_packs.pack import Pack
from model_packs.pack_spec import VariantEntry
from model_packs.tensors import TensorSpec
from tests.simulators.oip_model_server import MODEL
from tests.simulators.packs import build_tiny

FILE = "remote.json"


def oip_pack(folder: Path, document: object = None, **changes: Any) -> Pack:  # noqa: ANN401 - as dataclasses.replace
    """Build the tiny pack with another server's model.

    Args:
        folder: An existing folder.
        document: The file in the graph's place; by default it means the model of `OipModelServer`.
        **changes: Fields of `SPEC` to change.

    Returns:
        The pack.
    """
    (folder / "sources").mkdir(exist_ok=True)
    text = json.dumps(document or {"schema": "tandem.remote/1", "model": MODEL, "version": "1"})
    (folder / "sources" / FILE).write_text(text)
    return build_tiny(folder, variants=(VariantEntry(id="fp32", engine="oip", file=FILE),), **changes)


def remote_manifest(
    folder: Path, engine: str, document: object, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> tuple[PackManifest, Path]:
    """Describe a pack with any tensors.

    Args:
        folder: An existing folder.
        engine: Its variant's engine.
        document: The file in the graph's place.
        inputs: What it takes.
        outputs: What it gives.

    Returns:
        The manifest, and where its file lies.
    """
    data = json.dumps(document).encode()
    (folder / FILE).write_bytes(data)
    variant = Variant("there", engine, "fp32", FILE, digest_of(data), 0)
    tiny = oip_pack(folder).manifest
    manifest = replace(
        tiny,
        ref=PackRef("texts-hub", "1.0.0"),
        role="hub",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        variants=(variant,),
    )
    return manifest, folder / FILE
