"""Owns what a pack says about itself (`tandem.pack/1`) and the canonical bytes of that: pack.json.

Those bytes are the one thing that is signed; their digest is *the* pack digest shown everywhere. Reading them strictly
is `manifest_reading.py`; files and layouts are `store.py` and `layout.py`. Nothing here touches disk or clock.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from model_packs.calibration.scaling import VectorScaling
from model_packs.calibration.scores import ScoreKind
from model_packs.detection_spec import DetectionSpec
from model_packs.digests import Digest, digest_of
from model_packs.input_reference import InputReference
from model_packs.strict_json import JsonValue, canonical
from model_packs.tensors import TensorSpec

SCHEMA: Final = "tandem.pack/1"

NAME_PATTERN: Final = r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?"
VERSION_PATTERN: Final = r"(?:0|[1-9]\d{0,8})\.(?:0|[1-9]\d{0,8})\.(?:0|[1-9]\d{0,8})(?:-[0-9a-z][0-9a-z.-]{0,31})?"

CLASSIFICATION: Final = "classification"
REGRESSION: Final = "regression"
DETECTION: Final = "detection"
TEXT: Final = "text"
TENSOR: Final = "tensor"

LOSSES: Final[Mapping[str, str]] = {
    CLASSIFICATION: "zero_one",
    REGRESSION: "within_tolerance",
    DETECTION: "matched_boxes",
    TEXT: "exact",
    TENSOR: "none",
}
"""Task to how two of its answers are compared (`outputs.agree`)."""

TASK_SCORES: Final[Mapping[str, str]] = {
    REGRESSION: "interval",
    DETECTION: "weakest_box",
    TEXT: "told",
    TENSOR: "none",
}
"""Task to what `confidence` is, for tasks whose packs do not choose."""

_REF = re.compile(f"({NAME_PATTERN})@({VERSION_PATTERN})")

Role = Literal["edge", "hub"]
ImageMode = Literal["L", "RGB"]
FileRole = Literal["weights", "certificate", "golden", "card", "other"]


@dataclass(frozen=True, slots=True, order=True)
class PackRef:
    """A pack's name and version.

    Attributes:
        name: Lower-case name, e.g. `motion-band-edge`.
        version: Semantic version without build metadata.
    """

    name: str
    version: str

    @classmethod
    def parse(cls, text: str) -> "PackRef":
        """Read `name@version`.

        Args:
            text: The reference.

        Returns:
            The parsed reference.

        Raises:
            ValueError: It has another form.
        """
        match = _REF.fullmatch(text)
        if match is None:
            raise ValueError(f"not a pack reference of the form name@1.2.3: {text[:100]!r}")
        return cls(match[1], match[2])

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """The window that a time-series model takes as its first input, shape (batch, samples, channels).

    Attributes:
        samples: Samples in a window.
        channels: Channels of a sample.
        rate_hz: Samples a second.
        channel_names: Their names in order, for bindings and people.
    """

    samples: int
    channels: int
    rate_hz: float
    channel_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """The image that an image model takes as its first input, UINT8, as a decoder gives it.

    Attributes:
        height: Rows of pixels.
        width: Pixels of a row.
        mode: `L`: one grey value a pixel; `RGB`: three values.
    """

    height: int
    width: int
    mode: ImageMode

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of one image: [height, width], for RGB [height, width, 3]."""
        return (self.height, self.width) if self.mode == "L" else (self.height, self.width, 3)


@dataclass(frozen=True, slots=True)
class PackFile:
    """One file of the pack.

    Attributes:
        path: Portable relative path inside the pack.
        digest: Digest of its bytes.
        size_bytes: Their number.
        role: What it is for.
    """

    path: str
    digest: Digest
    size_bytes: int
    role: FileRole


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run the model.

    Attributes:
        id: Name inside the pack.
        engine: Engine that runs it (`onnxruntime`).
        precision: Number format of the weights.
        file: Path of the graph inside the pack.
        graph_digest: Digest of the graph; certificates and event records name it.
        rank: The lowest rank that the machine can run is chosen.
    """

    id: str
    engine: str
    precision: str
    file: str
    graph_digest: Digest
    rank: int


@dataclass(frozen=True, slots=True)
class GoldenSpec:
    """Recorded inputs and outputs that every runner of the pack must reproduce.

    Attributes:
        inputs: Path of a NumPy `.npy` file by input name; the first axis counts the examples.
        outputs: The same by output name.
        n_examples: Number of examples.
        tolerance: Largest absolute difference allowed in any output value.
    """

    inputs: Mapping[str, str] = field(hash=False)
    outputs: Mapping[str, str] = field(hash=False)
    n_examples: int
    tolerance: float


@dataclass(frozen=True, slots=True)
class ScoreSpec:
    """How an answer's confidence is made, where it is not the largest probability.

    Attributes:
        kind: Which score; `max_probability` is what a pack without a `ScoreSpec` has.
        output: For `escalate_output`: the output, a float [batch] or [batch, 1], that holds the model's own
            probability that the hub should be asked.
        weights: For `deferral`: weight by feature, as in `calibration.deferral.FEATURES`.
        bias: For `deferral`: what is added.
    """

    kind: ScoreKind
    output: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict, hash=False)
    bias: float = 0.0


@dataclass(frozen=True, slots=True)
class RegressionSpec:
    """What a pack of the task `regression` says about the size of its errors.

    Attributes:
        tolerance: The largest error that is good enough, in the unit of the answer, above 0.
        level: Share of intervals that shall cover the truth, strictly between 0 and 1.
        residuals: |truth - answer| / spread of calibration rows, rising; `calibration.conformal` says what they give.
        spread: The output, a float [batch] or [batch, 1], above 0, that says how far off the model expects to be; None:
            every answer has the spread 1, and so the same interval and the same confidence.
        unit: Of the answer; empty: none.
    """

    tolerance: float
    level: float
    residuals: tuple[float, ...] = field(repr=False)
    spread: str | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class PackManifest:
    """A pack's statement about itself.

    Attributes:
        ref: Name and version.
        family: Packs that are versions of, or escalate to, one another share it.
        role: Where it runs.
        task: Tag of its output.
        labels: Classes in the order of the logits, or of a detector's classes.
        inputs: Declared inputs; the first axis is the batch.
        outputs: Declared outputs; the first axis is the batch.
        window: Declared when the first input is a window of samples.
        max_batch: Most windows in one run.
        escalates_to: The hub pack that answers what this one is not sure of.
        temperature: Divides the logits before the softmax; of a detector the log odds of each box's score.
        agreement_loss: How an answer is compared with the hub's: its task's, of `LOSSES`.
        certificate_path: File that backs the threshold.
        files: Every file, sorted by path.
        variants: Ways to run it, best rank first.
        golden: Recorded examples.
        license: SPDX expression of the weights.
        provenance: Free facts about its origin (data set digest, training script digest, teacher, …).
        image: Declared when the first input is an image; never together with `window`.
        score: How the confidence is made; None: the largest probability.
        vector_scaling: Scales the logits by class, before the temperature; None: they stay as they are.
        regression: For the task `regression`, and no other: how far off it may be.
        detection: For the task `detection`, and no other: how it tells boxes.
        input_reference: What normal inputs look like; None: each device learns it from its own first ones.
    """

    ref: PackRef
    family: str
    role: Role
    task: str
    labels: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    window: WindowSpec | None
    max_batch: int
    escalates_to: PackRef | None
    temperature: float
    agreement_loss: str
    certificate_path: str | None
    files: tuple[PackFile, ...]
    variants: tuple[Variant, ...]
    golden: GoldenSpec | None
    license: str
    provenance: Mapping[str, str] = field(hash=False)
    image: ImageSpec | None = None
    score: ScoreSpec | None = None
    vector_scaling: VectorScaling | None = None
    regression: RegressionSpec | None = None
    detection: DetectionSpec | None = None
    input_reference: InputReference | None = None

    @property
    def input_channels(self) -> int | None:
        """Channels of the first input, where it is a window or an image."""
        if self.window is not None:
            return self.window.channels
        return None if self.image is None else len(self.image.mode)

    @property
    def score_kind(self) -> ScoreKind:
        """What `confidence` is for this pack."""
        return "max_probability" if self.score is None else self.score.kind

    @property
    def score_name(self) -> str:
        """The same as certificates name it: with a digest where numbers of the pack decide it, too."""
        if self.task == CLASSIFICATION:
            return score_name(self.score, self.vector_scaling, self.labels)
        if self.detection is not None:
            return self.detection.score_name
        return interval_name(self.regression) if self.regression is not None else TASK_SCORES[self.task]

    def to_document(self) -> dict[str, JsonValue]:
        """Write the manifest as a JSON document.

        Returns:
            The object that `canonical_json` writes.
        """
        document: dict[str, JsonValue] = {
            "schema": SCHEMA,
            "name": self.ref.name,
            "version": self.ref.version,
            "family": self.family,
            "role": self.role,
            "task": self.task,
            "labels": list(self.labels),
            "inputs": [_tensor_document(spec) for spec in self.inputs],
            "outputs": [_tensor_document(spec) for spec in self.outputs],
            "window": None if self.window is None else _window_document(self.window),
            "max_batch": self.max_batch,
            "escalates_to": None if self.escalates_to is None else str(self.escalates_to),
            "temperature": float(self.temperature),
            "agreement_loss": self.agreement_loss,
            "certificate_path": self.certificate_path,
            "files": [
                {"path": file.path, "digest": file.digest, "size_bytes": file.size_bytes, "role": file.role}
                for file in self.files
            ],
            "variants": [
                {
                    "id": variant.id,
                    "engine": variant.engine,
                    "precision": variant.precision,
                    "file": variant.file,
                    "graph_digest": variant.graph_digest,
                    "rank": variant.rank,
                }
                for variant in self.variants
            ],
            "golden": None if self.golden is None else _golden_document(self.golden),
            "license": self.license,
            "provenance": dict(self.provenance),
        }
        # These keys are younger than the schema: absent, packs keep the digests that they had.
        if self.image is not None:
            document["image"] = _image_document(self.image)
        if self.score is not None:
            document["score"] = _score_document(self.score)
        if self.vector_scaling is not None:
            document["vector_scaling"] = _vector_document(self.vector_scaling, self.labels)
        if self.regression is not None:
            document["regression"] = _regression_document(self.regression)
        if self.detection is not None:
            document["detection"] = self.detection.to_document()
        if self.input_reference is not None:
            document["input_reference"] = self.input_reference.to_document()
        return document

    def canonical_json(self) -> bytes:
        """Write pack.json.

        Returns:
            The bytes that are stored, digested and signed.
        """
        return canonical(self.to_document())

    @property
    def digest(self) -> Digest:
        """The pack digest: of the canonical pack.json."""
        return digest_of(self.canonical_json())

    def file(self, path: str) -> PackFile:
        """Look a file up.

        Args:
            path: Path inside the pack.

        Returns:
            Its entry.

        Raises:
            KeyError: The pack has no such file.
        """
        for entry in self.files:
            if entry.path == path:
                return entry
        raise KeyError(path)


def score_name(score: ScoreSpec | None, vector_scaling: VectorScaling | None, labels: tuple[str, ...]) -> str:
    """Name a confidence so that two that may differ have two names: a threshold is for one of them only.

    Args:
        score: How it is made; None: the largest probability.
        vector_scaling: What scales the logits before; None: nothing.
        labels: The pack's.

    Returns:
        The kind; where weights, an output or a scaling belong to it, a digest of these after a space.
    """
    kind = "max_probability" if score is None else score.kind
    parts: dict[str, JsonValue] = {}
    if score is not None and (score.weights or score.output is not None):
        parts["score"] = _score_document(score)
    if vector_scaling is not None:
        parts["vector_scaling"] = _vector_document(vector_scaling, labels)
    return f"{kind} {digest_of(canonical(parts))}" if parts else kind


def interval_name(regression: RegressionSpec) -> str:
    """Name the confidence of a regression, as `score_name` names that of a classification.

    Args:
        regression: How far off the pack may be.

    Returns:
        `interval` and a digest of all that decides the number.
    """
    return f"interval {digest_of(canonical(_regression_document(regression)))}"


def _regression_document(regression: RegressionSpec) -> dict[str, JsonValue]:
    document: dict[str, JsonValue] = {
        "tolerance": float(regression.tolerance),
        "level": float(regression.level),
        "residuals": [float(value) for value in regression.residuals],
        "unit": regression.unit,
    }
    if regression.spread is not None:
        document["spread"] = regression.spread
    return document


def _tensor_document(spec: TensorSpec) -> dict[str, JsonValue]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _window_document(window: WindowSpec) -> dict[str, JsonValue]:
    return {
        "samples": window.samples,
        "channels": window.channels,
        "rate_hz": float(window.rate_hz),
        "channel_names": list(window.channel_names),
    }


def _image_document(image: ImageSpec) -> dict[str, JsonValue]:
    return {"height": image.height, "width": image.width, "mode": image.mode}


def _score_document(score: ScoreSpec) -> dict[str, JsonValue]:
    document: dict[str, JsonValue] = {"kind": score.kind}
    if score.output is not None:
        document["output"] = score.output
    if score.weights:
        document["weights"] = {name: float(weight) for name, weight in score.weights.items()}
        document["bias"] = float(score.bias)
    return document


def _vector_document(scaling: VectorScaling, labels: tuple[str, ...]) -> dict[str, JsonValue]:
    return {
        "scale": dict(zip(labels, scaling.scale, strict=True)),
        "offset": dict(zip(labels, scaling.offset, strict=True)),
    }


def _golden_document(golden: GoldenSpec) -> dict[str, JsonValue]:
    return {
        "inputs": dict(golden.inputs),
        "outputs": dict(golden.outputs),
        "n_examples": golden.n_examples,
        "tolerance": float(golden.tolerance),
    }
