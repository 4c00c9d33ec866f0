"""Owns small real packs for tests: a linear classifier of random weights with golden examples, built for real."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_packs.build import build_spec
from model_packs.certificate.document import Certificate
from model_packs.golden import write_npy
from model_packs.pack import Pack
from model_packs.pack_spec import (
    GoldenEntry,
    ImageEntry,
    OutputEntry,
    PackSpec,
    TensorEntry,
    VariantEntry,
    WindowEntry,
)
from model_packs.signing import SiteKey
from tests.simulators.onnx_bytes import HIGH, Fault, image_graph, linear_graph

SAMPLES, CHANNELS, LABELS = 5, 2, ("idle", "moving", "broken")
N_GOLDEN = 7
CERTIFICATE = "certificate.json"
_LATER = (Fault.NO_NUMBER_LATER, Fault.CRASHES_LATER)

SPEC = PackSpec(
    name="tiny-edge",
    version="1.0.0",
    family="tiny",
    role="edge",
    labels=LABELS,
    license="Apache-2.0",
    escalates_to="tiny-hub@1.0.0",
    max_batch=4,
    inputs=(TensorEntry(name="window", shape=(-1, SAMPLES, CHANNELS)),),
    outputs=(OutputEntry(name="logits", shape=(-1, len(LABELS))),),
    window=WindowEntry(samples=SAMPLES, rate_hz=5.0, channel_names=("x", "y")),
    variants=(VariantEntry(id="fp32", file="model.onnx"),),
    golden=GoldenEntry(inputs={"window": "golden/window.npy"}, outputs={"logits": "golden/logits.npy"}, tolerance=1e-4),
    card="CARD.md",
)

HEIGHT, WIDTH = 4, 6

IMAGE_SPEC = replace(
    SPEC,
    name="tiny-image-edge",
    family="tiny-image",
    escalates_to="tiny-image-hub@1.0.0",
    inputs=(TensorEntry(name="image", datatype="UINT8", shape=(-1, HEIGHT, WIDTH)),),
    window=None,
    image=ImageEntry(height=HEIGHT, width=WIDTH, mode="L"),
    golden=GoldenEntry(inputs={"image": "golden/image.npy"}, outputs={"logits": "golden/logits.npy"}, tolerance=1e-3),
)


def weights(seed: int = 7) -> NDArray[np.float32]:
    """Draw the classifier's weights.

    Args:
        seed: Seed of the generator.

    Returns:
        FP32 [samples * channels, labels].
    """
    generator = np.random.default_rng(seed)
    return generator.normal(size=(SAMPLES * CHANNELS, len(LABELS))).astype(np.float32)


def write_sources(folder: Path, seed: int = 7, fault: Fault | None = None) -> None:
    """Write the files that `SPEC` names.

    Args:
        folder: An existing folder.
        seed: Seed of the weights.
        fault: What the graph does to its engine instead of answering.
    """
    matrix = weights(seed)
    windows = np.random.default_rng(1).normal(size=(N_GOLDEN, SAMPLES, CHANNELS)).astype(np.float32)
    if fault in _LATER:
        windows *= np.float32(HIGH / 2 / np.abs(windows.reshape(N_GOLDEN, -1) @ matrix).max())
    (folder / "golden").mkdir(exist_ok=True)
    trained = weights(seed + 1) if fault is Fault.OTHER_ANSWERS else matrix
    (folder / "model.onnx").write_bytes(linear_graph(trained, samples=SAMPLES, channels=CHANNELS, fault=fault))
    (folder / "golden" / "window.npy").write_bytes(write_npy(windows))
    (folder / "golden" / "logits.npy").write_bytes(write_npy(windows.reshape(N_GOLDEN, -1) @ matrix))
    (folder / "CARD.md").write_text("A linear classifier of random weights, for tests.\n")


def build_tiny(
    folder: Path,
    *,
    sign: SiteKey | None = None,
    seed: int = 7,
    fault: Fault | None = None,
    certificate: Certificate | None = None,
    **changes: Any,  # noqa: ANN401 - as dataclasses.replace
) -> Pack:
    """Build a tiny pack into `folder / "layout"`.

    Args:
        folder: An existing folder; sources go to `folder / "sources"`.
        sign: Key to sign with.
        seed: Seed of the weights.
        fault: What the graph does to its engine instead of answering.
        certificate: What backs its threshold; None: it escalates everything.
        **changes: Fields of `SPEC` to change.

    Returns:
        The pack.
    """
    sources = folder / "sources"
    sources.mkdir(exist_ok=True)
    write_sources(sources, seed, fault)
    if certificate is not None:
        (sources / CERTIFICATE).write_bytes(certificate.to_json())
        changes["certificate"] = CERTIFICATE
    return build_spec(replace(SPEC, **changes), sources, folder / "layout", sign)


def build_tiny_image(folder: Path, *, sign: SiteKey | None = None, seed: int = 7, **changes: Any) -> Pack:  # noqa: ANN401 - as dataclasses.replace
    """Build a tiny pack of grey images into `folder / "layout"`.

    Args:
        folder: An existing folder; sources go to `folder / "sources"`.
        sign: Key to sign with.
        seed: Seed of the weights.
        **changes: Fields of `IMAGE_SPEC` to change.

    Returns:
        The pack.
    """
    sources = folder / "sources"
    sources.joinpath("golden").mkdir(parents=True, exist_ok=True)
    matrix = (np.random.default_rng(seed).normal(size=(HEIGHT * WIDTH, len(LABELS))) / 255).astype(np.float32)
    images = np.random.default_rng(1).integers(0, 256, (N_GOLDEN, HEIGHT, WIDTH), np.uint8)
    (sources / "model.onnx").write_bytes(image_graph(matrix, height=HEIGHT, width=WIDTH))
    (sources / "golden" / "image.npy").write_bytes(write_npy(images))
    (sources / "golden" / "logits.npy").write_bytes(write_npy(images.reshape(N_GOLDEN, -1).astype(np.float32) @ matrix))
    (sources / "CARD.md").write_text("A linear classifier of random weights, for tests of images.\n")
    return build_spec(replace(IMAGE_SPEC, **changes), sources, folder / "layout", sign)
