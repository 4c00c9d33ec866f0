"""Owns pack.toml: how the author of a pack declares it, in a file or, for training scripts, as `PackSpec` in code.

Turning a declaration and its files into a pack is `build.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from model_packs.calibration.scores import ScoreKind
from model_packs.process.settings import setting

ABSENT_MEND: Final = "write pack.toml first (model-pack new DIR makes a commented one) or name another folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorEntry:
    """One input or output of the graph."""

    name: str = setting(doc="Name of the tensor in the graph.", example="window")
    datatype: str = setting("FP32", doc="Open Inference Protocol datatype: FP32, FP16, INT64, ...")
    shape: tuple[int, ...] = setting(doc="Sizes by axis; -1 leaves the batch open.", example=(-1, 50, 6))


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputEntry:
    """One output of the graph; the first one holds the logits."""

    name: str = setting(doc="Name of the tensor in the graph.", example="logits")
    datatype: str = setting("FP32", doc="Open Inference Protocol datatype: FP32, FP16, INT64, ...")
    shape: tuple[int, ...] = setting(doc="Sizes by axis; one logit per label.", example=(-1, 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowEntry:
    """The window of samples that the first input takes."""

    samples: int = setting(doc="Samples in a window.", example=50)
    rate_hz: float = setting(doc="Samples a second.", example=50.0)
    channel_names: tuple[str, ...] = setting(
        doc="The channels of a sample, in order.", example=("ax", "ay", "az", "gx", "gy", "gz")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEntry:
    """The image that the first input takes, as UINT8."""

    height: int = setting(doc="Rows of pixels.", example=28)
    width: int = setting(doc="Pixels of a row.", example=28)
    mode: Literal["L", "RGB"] = setting("L", doc="L: one grey value a pixel; RGB: three, in the last axis.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreEntry:
    """What an answer's confidence is, which the threshold is compared with (docs/calibration.md)."""

    kind: ScoreKind = setting("max_probability", doc="max_probability, margin, entropy, escalate_output or deferral.")
    output: str | None = setting(
        None, doc="escalate_output: the output with the model's own probability of asking.", example="escalate"
    )
    weights: Mapping[str, float] = setting(dict, doc="deferral: weight by feature; model-pack calibrate prints them.")
    bias: float = setting(0.0, doc="deferral: what is added.")


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorScalingEntry:
    """Scales the logits by class; model-pack calibrate prints it where it helps."""

    scale: Mapping[str, float] = setting(doc="A factor by label.", example={"ok": 1.0, "faulty": 1.0})
    offset: Mapping[str, float] = setting(doc="What is added, by label.", example={"ok": 0.0, "faulty": 0.0})


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressionEntry:
    """How far off a regression may be (docs/pack-format.md)."""

    tolerance: float = setting(doc="The largest error that is good enough, in the unit of the answer.", example=0.5)
    level: float = setting(0.9, doc="Share of intervals that shall cover the truth.")
    residuals: str = setting(
        doc="A .npy file of calibration rows: |truth - answer| / spread, FP64 [rows]; rows that trained nothing.",
        example="residuals.npy",
    )
    spread: str | None = setting(
        None, doc="The output that says how far off the model expects to be, above 0.", example="spread"
    )
    unit: str = setting("", doc="Unit of the answer, for people.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionEntry:
    """How a detector tells boxes (docs/pack-format.md)."""

    boxes: str = setting(doc="The output with the boxes, [-1, n, 4]: x0, y0, x1, y1.", example="boxes")
    scores: str = setting(
        doc="The output with their scores, from 0 to 1: [-1, n], or [-1, n, labels].", example="scores"
    )
    classes: str | None = setting(
        None,
        doc="The output with the index of each box's label, [-1, n]; absent: the scores are by label.",
        example="classes",
    )
    units: Literal["pixels", "share"] = setting(
        doc="Of the coordinates: pixels of the input, or share of its width and height.", example="pixels"
    )
    keep: float = setting(doc="Boxes of this score or more are the answer.", example=0.4)
    suppress_iou: float | None = setting(
        None, doc="Without classes: a box that overlaps a stronger one of its label by more is dropped.", example=0.5
    )
    agree_iou: float = setting(0.5, doc="The least overlap of two boxes that mean the same.")
    max_boxes: int = setting(100, doc="Boxes of one answer, the highest scores first; at most 300.")
    nothing_found: float = setting(
        0.0, doc="The most that an answer without boxes is sure; 0: always ask the hub (docs/calibration.md)."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantEntry:
    """One way to run the model."""

    id: str = setting(doc="Name of this variant.", example="fp32")
    engine: str = setting("onnxruntime", doc="Engine that runs it.")
    precision: str = setting("fp32", doc="Number format of the weights: fp32, fp16 or int8.")
    file: str = setting(doc="The graph, relative to this folder.", example="model.onnx")
    rank: int = setting(0, doc="The lowest rank that a machine can run is chosen.")


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenEntry:
    """Recorded examples that every runner must reproduce."""

    inputs: Mapping[str, str] = setting(doc="A .npy file by input name.", example={"window": "golden/window.npy"})
    outputs: Mapping[str, str] = setting(doc="A .npy file by output name.", example={"logits": "golden/logits.npy"})
    tolerance: float = setting(1e-4, doc="Largest absolute difference allowed in any output value.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackSpec:
    """A pack as its author declares it; every path is relative to the folder of pack.toml."""

    name: str = setting(doc="Name of the pack: lower case, digits, '.', '_' and '-'.", example="my-model-edge")
    version: str = setting(doc="Semantic version; a version never changes once it is published.", example="1.0.0")
    family: str = setting(doc="Shared by an edge pack and the hub pack behind it.", example="my-model")
    role: Literal["edge", "hub"] = setting(doc="Where it runs: edge or hub.", example="edge")
    task: Literal["classification", "regression", "detection", "text", "tensor"] = setting(
        "classification",
        doc="Kind of its output: classification, regression, detection, text, or tensor (raw, without a score).",
    )
    labels: tuple[str, ...] = setting(
        doc="Classes, in the order of the logits or of a detector's; none for other tasks.", example=("ok", "faulty")
    )
    license: str = setting(doc="SPDX expression of the weights' licence.", example="Apache-2.0")
    escalates_to: str | None = setting(
        None, doc="The hub pack that answers what this edge pack is not sure of.", example="my-model-hub@1.0.0"
    )
    max_batch: int = setting(32, doc="Most windows in one run.")
    temperature: float = setting(1.0, doc="Divides the logits before the softmax; fit it on data kept for calibration.")
    agreement_loss: str = setting("", doc="How an answer is compared with the hub's; empty: as its task's answers are.")
    certificate: str | None = setting(
        None, doc="Certificate of the threshold (model-pack certify).", example="certificate.json"
    )
    card: str | None = setting(None, doc="Model card: data, figures, limits.", example="CARD.md")
    other_files: tuple[str, ...] = setting((), doc="More files to carry along.")
    provenance: Mapping[str, str] = setting(dict, doc="Facts about its origin, as text.")
    inputs: tuple[TensorEntry, ...] = setting(doc="Inputs of the graph.", example=True)
    outputs: tuple[OutputEntry, ...] = setting(
        doc="Outputs of the graph; the first one holds the logits.", example=True
    )
    window: WindowEntry | None = setting(None, doc="Present when the first input is a window of samples.")
    image: ImageEntry | None = setting(None, doc="Present when the first input is an image; never beside a window.")
    score: ScoreEntry | None = setting(
        None, doc="What the threshold is compared with; absent: the largest probability."
    )
    vector_scaling: VectorScalingEntry | None = setting(None, doc="Makes the logits of single classes more honest.")
    regression: RegressionEntry | None = setting(None, doc="For the task regression: how far off it may be.")
    detection: DetectionEntry | None = setting(None, doc="For the task detection: how it tells boxes.")
    input_reference: str | None = setting(
        None,
        doc="A .npy file of at least 200 inputs that trained nothing, as the first input takes them: the pack states "
        "what they look like, and devices watch for drift from that (the rows stay out of the pack).",
        example="tune_inputs.npy",
    )
    variants: tuple[VariantEntry, ...] = setting(doc="Ways to run the model.", example=True)
    golden: GoldenEntry | None = setting(
        None, doc="Recorded examples, made with the engine that the model was made with."
    )
