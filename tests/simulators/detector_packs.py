"""Owns small real detectors, for tests: graphs that pass the boxes in their input on, so that answers are known.

A window holds `BOXES` candidates of six numbers: x0, y0, x1, y1, and then a score and the index of its label
(`CHOSEN`), or one score for each of two labels (`CANDIDATES`), where the pack's reader suppresses what overlaps.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_packs.build import build_spec
from model_packs.golden import write_npy
from model_packs.pack import Pack
from model_packs.pack_spec import (
    DetectionEntry,
    GoldenEntry,
    OutputEntry,
    PackSpec,
    TensorEntry,
    VariantEntry,
    WindowEntry,
)
from tests.simulators.onnx_bytes import model, nested, node, text, value, weights_tensor

BOXES, LABELS = 5, ("bolt", "nut")
_NUMBERS = ("x0", "y0", "x1", "y1", "score", "class")

CHOSEN = PackSpec(
    name="bolts-hub",
    version="1.0.0",
    family="bolts",
    role="hub",
    task="detection",
    labels=LABELS,
    license="Apache-2.0",
    max_batch=4,
    inputs=(TensorEntry(name="window", shape=(-1, BOXES, len(_NUMBERS))),),
    outputs=(
        OutputEntry(name="boxes", shape=(-1, BOXES, 4)),
        OutputEntry(name="scores", shape=(-1, BOXES)),
        OutputEntry(name="classes", shape=(-1, BOXES)),
    ),
    window=WindowEntry(samples=BOXES, rate_hz=float(BOXES), channel_names=_NUMBERS),
    detection=DetectionEntry(boxes="boxes", scores="scores", classes="classes", units="pixels", keep=0.4),
    variants=(VariantEntry(id="fp32", file="chosen.onnx"),),
)
CANDIDATES = replace(
    CHOSEN,
    name="candidates-hub",
    outputs=(OutputEntry(name="boxes", shape=(-1, BOXES, 4)), OutputEntry(name="scores", shape=(-1, BOXES, 2))),
    detection=DetectionEntry(boxes="boxes", scores="scores", units="pixels", keep=0.4, suppress_iou=0.5),
    variants=(VariantEntry(id="fp32", file="candidates.onnx"),),
)
WITH_GOLDEN = replace(
    CHOSEN,
    golden=GoldenEntry(
        inputs={"window": "window.npy"}, outputs={name: f"{name}.npy" for name in ("boxes", "scores", "classes")}
    ),
)


def window(*rows: Sequence[float]) -> NDArray[np.float32]:
    """Make a window of known boxes.

    Args:
        *rows: At most `BOXES` rows of six numbers; zeros fill up.

    Returns:
        FP32 [BOXES, 6].
    """
    values = np.zeros((BOXES, len(_NUMBERS)), np.float32)
    for place, row in enumerate(rows):
        values[place] = row
    return values


def build_detector(folder: Path, spec: PackSpec) -> Pack:
    """Build a pack of `CHOSEN`, `CANDIDATES`, `WITH_GOLDEN` or a change of them into `folder / "layout"`.

    Args:
        folder: An existing folder; sources go to `folder / "sources"`.
        spec: The declaration.

    Returns:
        The pack.
    """
    sources = folder / "sources"
    sources.mkdir(exist_ok=True)
    (sources / "chosen.onnx").write_bytes(_chosen_graph())
    (sources / "candidates.onnx").write_bytes(_candidates_graph())
    windows = np.stack([window((0, 0, 4, 4, 0.9, 0), (2, 1, 8, 3, 0.5, 1)), window()])
    golden = {"window": windows, "boxes": windows[..., :4], "scores": windows[..., 4], "classes": windows[..., 5]}
    for name, values in golden.items():
        (sources / f"{name}.npy").write_bytes(write_npy(values))
    return build_spec(spec, sources, folder / "layout")


def _chosen_graph() -> bytes:
    return _graph(
        nested(1, node("MatMul", ["window", "corners"], "boxes"))
        + nested(1, node("MatMul", ["window", "fifth"], "score"))
        + nested(1, node("Reshape", ["score", "flat"], "scores"))
        + nested(1, node("MatMul", ["window", "sixth"], "class"))
        + nested(1, node("Reshape", ["class", "flat"], "classes"))
        + nested(5, weights_tensor("flat", np.array([-1, BOXES], np.int64)))
        + nested(5, _columns("fifth", 4, 5))
        + nested(5, _columns("sixth", 5, 6))
        + nested(12, value("boxes", ("batch", BOXES, 4)))
        + nested(12, value("scores", ("batch", BOXES)))
        + nested(12, value("classes", ("batch", BOXES)))
    )


def _candidates_graph() -> bytes:
    return _graph(
        nested(1, node("MatMul", ["window", "corners"], "boxes"))
        + nested(1, node("MatMul", ["window", "last"], "scores"))
        + nested(5, _columns("last", 4, 6))
        + nested(12, value("boxes", ("batch", BOXES, 4)))
        + nested(12, value("scores", ("batch", BOXES, 2)))
    )


def _graph(body: bytes) -> bytes:
    shape = ("batch", BOXES, len(_NUMBERS))
    return model(
        body + text(2, "passing on") + nested(5, _columns("corners", 0, 4)) + nested(11, value("window", shape))
    )


def _columns(name: str, start: int, stop: int) -> bytes:
    """A matrix that picks columns of the window."""
    return weights_tensor(name, np.eye(len(_NUMBERS), dtype=np.float32)[:, start:stop].copy())
