"""Owns what every engine asks of a graph before it trusts it: its bytes, and that it is the graph of its manifest.

Reading it into an engine is the engine's adapter; the walk for external data is `onnx_scan.py`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from model_packs.digests import digest_of
from model_packs.engines.onnx_scan import names_external_data
from model_packs.errors import EngineError
from model_packs.manifest import PackManifest, Variant
from model_packs.tensors import DYNAMIC, TensorSpec


def name_of(manifest: PackManifest, variant: Variant) -> str:
    """Name a variant's file in messages.

    Args:
        manifest: The pack.
        variant: The variant.

    Returns:
        `name@version (file)`.
    """
    return f"{manifest.ref} ({variant.file})"


def read_file(manifest: PackManifest, variant: Variant, path: Path) -> bytes:
    """Read a variant's file once, so that the bytes that are checked are the bytes that are loaded.

    Args:
        manifest: The pack.
        variant: The variant.
        path: Where its file lies.

    Returns:
        Its bytes; their digest is the manifest's.

    Raises:
        EngineError: It cannot be read, or holds other bytes.
    """
    mend = "fetch or build the pack again"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EngineError(f"{name_of(manifest, variant)}: cannot be read: {error.strerror}", mend) from error
    if digest_of(data) != variant.graph_digest:
        raise EngineError(f"{name_of(manifest, variant)}: the graph's digest is not the manifest's", mend)
    return data


def read_graph(manifest: PackManifest, variant: Variant, path: Path) -> bytes:
    """Read an ONNX graph that is whole in itself.

    Args:
        manifest: The pack.
        variant: The variant.
        path: Where its graph lies.

    Returns:
        The graph.

    Raises:
        EngineError: As for `read_file`, or it keeps weights in other files.
    """
    graph = read_file(manifest, variant, path)
    if names_external_data(graph):
        raise EngineError(
            f"{name_of(manifest, variant)}: the graph keeps weights in other files",
            "export it with its weights inside (no external data)",
        )
    return graph


def check_io(
    manifest: PackManifest, variant: Variant, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> None:
    """Compare what the loaded graph takes and gives with the manifest.

    Args:
        manifest: The pack.
        variant: The variant.
        inputs: The graph's inputs, sizes that it leaves open as `DYNAMIC`; all of them must be declared.
        outputs: The graph's outputs; some may stay undeclared.

    Raises:
        EngineError: They contradict each other; every difference is listed.
    """
    declared = {spec.name for spec in manifest.inputs}
    wrong = [f"input {spec.name!r} is not in the graph" for spec in _absent(manifest.inputs, inputs)]
    wrong += [f"the graph's input {spec.name!r} is not declared" for spec in inputs if spec.name not in declared]
    wrong += _differences("input", manifest.inputs, inputs)
    wrong += [f"output {spec.name!r} is not in the graph" for spec in _absent(manifest.outputs, outputs)]
    wrong += _differences("output", manifest.outputs, outputs)
    if wrong:
        raise EngineError(
            f"{name_of(manifest, variant)}: {'; '.join(wrong)}",
            "correct inputs and outputs in pack.toml, then build again",
        )


def _absent(declared: Sequence[TensorSpec], found: Sequence[TensorSpec]) -> list[TensorSpec]:
    names = {spec.name for spec in found}
    return [spec for spec in declared if spec.name not in names]


def _differences(kind: str, declared: Sequence[TensorSpec], found: Sequence[TensorSpec]) -> Iterator[str]:
    by_name = {spec.name: spec for spec in found}
    for spec in declared:
        graph = by_name.get(spec.name)
        if graph is None:
            continue
        if graph.datatype != spec.datatype:
            yield f"{kind} {spec.name!r} is {graph.datatype} in the graph, {spec.datatype} in the manifest"
        if len(graph.shape) != len(spec.shape) or any(
            size not in (DYNAMIC, want) for size, want in zip(graph.shape, spec.shape, strict=True)
        ):
            shapes = f"{list(graph.shape)} in the graph, {list(spec.shape)} in the manifest"
            yield f"{kind} {spec.name!r} has the shape {shapes}"
