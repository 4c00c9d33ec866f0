"""Owns what the parts of a pack.json must agree on, beyond the type of each: paths, files, tensors, labels, roles.

The schema itself is `manifest_reading.py`. Everything here is a pure function from a manifest to its problems.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from model_packs.calibration.deferral import FEATURES
from model_packs.detection_spec import DetectionSpec
from model_packs.input_reference import MAX_CHANNELS
from model_packs.manifest import (
    CLASSIFICATION,
    DETECTION,
    LOSSES,
    REGRESSION,
    TENSOR,
    TEXT,
    PackManifest,
)
from model_packs.outputs import MAX_LABEL_CHARS, MAX_RAW_BYTES
from model_packs.tensors import BYTES, DYNAMIC, TensorSpec, tensor_size_bytes

MAX_PATH_CHARS: Final = 200
MAX_PATH_DEPTH: Final = 8
MAX_FILES: Final = 1000

MAX_RESIDUALS: Final = 10_000

_FLOATS: Final = ("FP16", "FP32", "FP64")
_INTEGERS: Final = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32")
_COLUMN: Final = f"{' or '.join(_FLOATS)} [-1] or [-1, 1]"
_PATH_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_DEVICE_NAME = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def path_problem(path: str) -> str | None:
    """Tell why a path may not stand in a pack.

    Args:
        path: The path, from an untrusted pack or an author.

    Returns:
        The reason; None for a portable relative path (`weights/model.onnx`): no `..`, no leading `/` or dot, no
        backslash, no name that some file system treats specially.
    """
    if not path or len(path) > MAX_PATH_CHARS:
        return f"a path has 1 to {MAX_PATH_CHARS} characters"
    if path.startswith("/"):
        return f"{path!r} is absolute; paths in a pack are relative to it"
    parts = path.split("/")
    if ".." in parts:
        return f"{path!r} leaves the pack"
    if len(parts) > MAX_PATH_DEPTH:
        return f"{path!r} is nested more than {MAX_PATH_DEPTH} deep"
    if any(not _PATH_PART.fullmatch(part) or part.endswith(".") or _DEVICE_NAME.fullmatch(part) for part in parts):
        return f"{path!r} is not portable; use letters, digits, '.', '_' and '-' between slashes"
    return None


def contradictions(manifest: PackManifest) -> Iterator[str]:
    """Check a manifest whose single values are right.

    Args:
        manifest: The manifest.

    Yields:
        A problem each, with its key path.
    """
    yield from _files(manifest)
    yield from _variants(manifest)
    yield from _tensors(manifest)
    yield from _TASKS[manifest.task](manifest)
    yield from _task(manifest)
    yield from _window(manifest)
    yield from _image(manifest)
    yield from _golden(manifest)
    yield from _score(manifest)
    yield from _reference_of_inputs(manifest)
    if manifest.escalates_to is not None and manifest.role != "edge":
        yield "escalates_to: only an edge pack escalates; remove it from a hub pack"
    if manifest.certificate_path is not None:
        yield from _reference(manifest, "certificate_path", manifest.certificate_path, "certificate")


def _files(manifest: PackManifest) -> Iterator[str]:
    paths = [file.path for file in manifest.files]
    if len(paths) > MAX_FILES:
        yield f"files: at most {MAX_FILES}, not {len(paths)}"
    for path in paths:
        if reason := path_problem(path):
            yield f"files: {reason}"
    for path in _repeated(path.lower() for path in paths):
        yield f"files: {path!r} stands there twice (letter case does not tell files apart everywhere)"
    if paths != sorted(paths):
        yield "files: must be sorted by path"


def _variants(manifest: PackManifest) -> Iterator[str]:
    if not manifest.variants:
        yield "variants: at least one is needed"
    for name in _repeated(variant.id for variant in manifest.variants):
        yield f"variants: the id {name!r} stands there twice"
    ranks = [variant.rank for variant in manifest.variants]
    if ranks != sorted(ranks):
        yield "variants: must be sorted by rank"
    entries = {file.path: file for file in manifest.files}
    for variant in manifest.variants:
        yield from _reference(manifest, f"variants.{variant.id}.file", variant.file, "weights")
        if variant.file in entries and entries[variant.file].digest != variant.graph_digest:
            yield f"variants.{variant.id}.graph_digest: is not the digest of {variant.file!r}"


def _tensors(manifest: PackManifest) -> Iterator[str]:
    for key, specs in (("inputs", manifest.inputs), ("outputs", manifest.outputs)):
        if not specs:
            yield f"{key}: at least one is needed"
        for name in _repeated(spec.name for spec in specs):
            yield f"{key}: the name {name!r} stands there twice"
        for spec in specs:
            if spec.shape[0] not in (-1, manifest.max_batch):
                yield f"{key}.{spec.name}.shape: the first axis is the batch: -1, or max_batch ({manifest.max_batch})"


def _task(manifest: PackManifest) -> Iterator[str]:
    task = manifest.task
    if manifest.agreement_loss != LOSSES[task]:
        yield f"agreement_loss: of the task {task} it is {LOSSES[task]}, not {manifest.agreement_loss}"
    if (manifest.regression is None) == (task == REGRESSION):
        yield "regression: belongs to the task regression, which needs it, and to no other"
    if (manifest.detection is None) == (task == DETECTION):
        yield "detection: belongs to the task detection, which needs it, and to no other"
    if task == CLASSIFICATION:
        return
    if manifest.labels and task != DETECTION:
        yield f"labels: the task {task} has none"
    for key, part in (("score", manifest.score), ("vector_scaling", manifest.vector_scaling)):
        if part is not None:
            yield f"{key}: belongs to the task {CLASSIFICATION}"
    if task == TENSOR and manifest.certificate_path is not None:
        yield f"certificate_path: the task {TENSOR} has no score that a certificate could speak of"


def _regression(manifest: PackManifest) -> Iterator[str]:
    spec = manifest.regression
    if spec is None:
        return
    if not _is_column(manifest.outputs[:1]):
        yield f"outputs: the first output must be {_COLUMN}, the answer"
    if not spec.tolerance > 0.0 or not 0.0 < spec.level < 1.0:
        yield "regression: tolerance must be above 0, level strictly between 0 and 1"
    if not 1 <= len(spec.residuals) <= MAX_RESIDUALS or list(spec.residuals) != sorted(spec.residuals):
        yield f"regression.residuals: 1 to {MAX_RESIDUALS} of them, rising"
    if spec.spread is not None and not _is_column([out for out in manifest.outputs[1:] if out.name == spec.spread]):
        yield f"regression.spread: {spec.spread!r} must be an output other than the first, {_COLUMN}"


def _reference_of_inputs(manifest: PackManifest) -> Iterator[str]:
    reference, channels = manifest.input_reference, manifest.input_channels
    if reference is None:
        return
    if channels is None or channels > MAX_CHANNELS:
        yield f"input_reference: belongs to a window or an image of at most {MAX_CHANNELS} channels"
        return
    size = 2 * channels
    sizes = tuple(len(getattr(reference, name)) for name in ("mean", "std", "precision", "usual"))
    if sizes != (size, size, size * size, 2):
        yield f"input_reference: {channels} channels take {size} mean, {size} std, {size * size} precision, 2 usual"


def _detection(manifest: PackManifest) -> Iterator[str]:
    spec = manifest.detection
    if not manifest.labels or _repeated(manifest.labels):
        yield "labels: must be present and each different"
    for label in manifest.labels:
        if not (1 <= len(label) <= MAX_LABEL_CHARS and label.isprintable()):
            yield f"labels: {label!r} must be 1 to {MAX_LABEL_CHARS} printable characters: events tell it"
    if spec is None:
        return
    if not 0.0 < spec.keep < 1.0 or not spec.agree_iou > 0.0:
        yield "detection: keep must be strictly between 0 and 1, agree_iou above 0"
    if (spec.suppress_iou is None) == (spec.classes is None):
        yield "detection.suppress_iou: is needed without classes, and belongs to scores by label only"
    for name in _repeated(name for name in (spec.boxes, spec.scores, spec.classes) if name is not None):
        yield f"detection: {name!r} is named twice; boxes, scores and classes are outputs of their own"
    yield from _detection_outputs(manifest, spec)


def _detection_outputs(manifest: PackManifest, spec: DetectionSpec) -> Iterator[str]:
    """Each named output is there, with the datatype and the shape of its role, and as many boxes as the others."""
    n_labels = len(manifest.labels)
    wanted: list[tuple[str, str, tuple[str, ...], tuple[int, ...]]] = [("boxes", spec.boxes, _FLOATS, (4,))]
    wanted.append(("scores", spec.scores, _FLOATS, (n_labels,) if spec.classes is None else ()))
    if spec.classes is not None:
        wanted.append(("classes", spec.classes, (*_INTEGERS, *_FLOATS), ()))
    found = {out.name: out for out in manifest.outputs}
    counts: set[int] = set()
    for role, name, datatypes, tail in wanted:
        shown = "[" + ", ".join(["-1", "n", *map(str, tail)]) + "]"
        if name not in found:
            yield f"detection.{role}: there is no output {name!r}; it must be {_any_of(datatypes)} {shown}"
            continue
        out = found[name]
        if out.datatype not in datatypes or len(out.shape) != len(tail) + 2 or out.shape[2:] != tail:
            yield (
                f"detection.{role}: output {name!r} must be {_any_of(datatypes)} {shown}, "
                f"not {out.datatype} {list(out.shape)}"
            )
        else:
            counts.add(out.shape[1])
    if len(counts) > 1:
        yield f"detection: its outputs hold as many boxes each, not {' and '.join(map(str, sorted(counts)))}"
    if DYNAMIC in counts and manifest.golden is not None:
        yield "golden: a detector's examples need outputs with a fixed number of boxes; leave golden out, or pad them"


def _any_of(datatypes: Sequence[str]) -> str:
    return "a float" if tuple(datatypes) == _FLOATS else "an integer or a float"


def _text(manifest: PackManifest) -> Iterator[str]:
    first, *others = manifest.outputs or (None,)
    if first is None or (first.datatype, first.shape[1:]) != (BYTES, ()):
        yield f"outputs: the first output must be {BYTES} [-1], the text"
    if others and not _is_column(others):
        yield f"outputs: beside the text there is at most its confidence, {_COLUMN}"


def _raw(manifest: PackManifest) -> Iterator[str]:
    sizes = [
        tensor_size_bytes(spec.datatype, spec.shape[1:])
        for spec in manifest.outputs
        if spec.datatype != BYTES and DYNAMIC not in spec.shape[1:]
    ]
    if sum(sizes) > MAX_RAW_BYTES:
        yield f"outputs: take {sum(sizes)} bytes a window; an answer of the task {TENSOR} has at most {MAX_RAW_BYTES}"


def _is_column(specs: Sequence[TensorSpec]) -> bool:
    """One output with one floating-point number a window."""
    return len(specs) == 1 and specs[0].datatype in _FLOATS and specs[0].shape[1:] in ((), (1,))


def _classes(manifest: PackManifest) -> Iterator[str]:
    if not manifest.labels or _repeated(manifest.labels):
        yield "labels: must be present and each different"
    if manifest.outputs and manifest.outputs[0].shape[1:] != (len(manifest.labels),):
        yield f"outputs: the first output must have one logit per label ({len(manifest.labels)})"


def _window(manifest: PackManifest) -> Iterator[str]:
    window = manifest.window
    if window is None:
        return
    if manifest.inputs and manifest.inputs[0].shape[1:] != (window.samples, window.channels):
        yield f"window: {window.samples} samples of {window.channels} channels do not fit the first input's shape"
    if len(window.channel_names) != window.channels or _repeated(window.channel_names):
        yield f"window.channel_names: must name the {window.channels} channels, each differently"


def _image(manifest: PackManifest) -> Iterator[str]:
    image = manifest.image
    if image is None:
        return
    if manifest.window is not None:
        yield "image: the first input is a window or an image, not both"
    if manifest.inputs and (manifest.inputs[0].datatype, manifest.inputs[0].shape[1:]) != ("UINT8", image.shape):
        yield f"image: the first input must be UINT8 {[DYNAMIC, *image.shape]} for a {image.mode} image of this size"


def _score(manifest: PackManifest) -> Iterator[str]:
    score = manifest.score
    if score is None:
        return
    if (score.output is not None) != (score.kind == "escalate_output"):
        yield "score.output: names the output of the score escalate_output, and of no other"
    if bool(score.weights) != (score.kind == "deferral"):
        yield "score.weights: belong to the score deferral, and to no other"
    if score.weights and set(score.weights) != set(FEATURES):
        yield f"score.weights: must weigh {', '.join(FEATURES)}, not {', '.join(sorted(score.weights))}"
    if score.kind != "escalate_output" and len(manifest.labels) == 1:
        yield f"score.kind: with a single label {score.kind} says nothing"
    if score.output is None:
        return
    named = [spec for spec in manifest.outputs[1:] if spec.name == score.output]
    if not named:
        yield f"score.output: {score.output!r} must be an output other than the first"
    for spec in named:
        if spec.datatype not in _FLOATS or spec.shape[1:] not in ((), (1,)):
            yield f"score.output: {score.output!r} must be {' or '.join(_FLOATS)} [-1] or [-1, 1]"


def _golden(manifest: PackManifest) -> Iterator[str]:
    golden = manifest.golden
    if golden is None:
        return
    for key, paths, specs in (
        ("golden.inputs", golden.inputs, manifest.inputs),
        ("golden.outputs", golden.outputs, manifest.outputs),
    ):
        if set(paths) != {spec.name for spec in specs}:
            yield f"{key}: must give one file for each of {', '.join(spec.name for spec in specs)}"
        for name, path in paths.items():
            yield from _reference(manifest, f"{key}.{name}", path, "golden")


def _reference(manifest: PackManifest, key: str, path: str, role: str) -> Iterator[str]:
    roles = {file.path: file.role for file in manifest.files}
    if path not in roles:
        yield f"{key}: {path!r} is not among the files"
    elif roles[path] != role:
        yield f"{key}: {path!r} has the role {roles[path]!r}, not {role!r}"


_TASKS: Final[dict[str, Callable[[PackManifest], Iterator[str]]]] = {
    CLASSIFICATION: _classes,
    REGRESSION: _regression,
    DETECTION: _detection,
    TEXT: _text,
    TENSOR: _raw,
}


def _repeated(values: Iterable[str]) -> list[str]:
    return [value for value, count in Counter(values).items() if count > 1]
