"""Owns making a pack from an author's declaration and files: read, digest, check, write as an OCI image layout.

The declaration is `pack_spec.py`; what the parts must agree on is `manifest_checks.py`.
"""

import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from model_packs.calibration.scaling import VectorScaling
from model_packs.detection_spec import DetectionSpec
from model_packs.digests import digest_of
from model_packs.errors import ManifestError, PackError, TensorError
from model_packs.golden import read_npy
from model_packs.input_reference import LEAST_ROWS, features_of, learnt
from model_packs.layout import describe_pack
from model_packs.manifest import (
    CLASSIFICATION,
    LOSSES,
    FileRole,
    GoldenSpec,
    ImageSpec,
    PackFile,
    PackManifest,
    PackRef,
    RegressionSpec,
    ScoreSpec,
    Variant,
    WindowSpec,
    interval_name,
    score_name,
)
from model_packs.manifest_checks import path_problem
from model_packs.manifest_reading import MAX_FILE_BYTES, read_manifest
from model_packs.pack import Pack
from model_packs.pack_spec import (
    ABSENT_MEND,
    DetectionEntry,
    GoldenEntry,
    ImageEntry,
    OutputEntry,
    PackSpec,
    RegressionEntry,
    ScoreEntry,
    TensorEntry,
    VectorScalingEntry,
    WindowEntry,
)
from model_packs.process.settings import load_toml
from model_packs.signing import SiteKey
from model_packs.store import PackStore
from model_packs.tensors import TensorSpec

_MEND = "correct pack.toml or the file, then build again"


def build_pack(spec_toml: Path, out: Path, sign: SiteKey | None = None) -> Pack:
    """Build the pack that a pack.toml declares.

    Args:
        spec_toml: The declaration; files are taken from its folder.
        out: The OCI image layout to write or add to.
        sign: Key to sign with, if any.

    Returns:
        The pack, loaded back from the layout.

    Raises:
        SettingsError: pack.toml is wrong; every mistake is listed.
        PackError: A file is missing or unfit, the parts contradict each other, or the layout holds this version with
            other content.
        OSError: The disk refuses.
    """
    return build_spec(load_toml(spec_toml, PackSpec, absent_mend=ABSENT_MEND), spec_toml.absolute().parent, out, sign)


def build_spec(spec: PackSpec, folder: Path, out: Path, sign: SiteKey | None = None) -> Pack:
    """Build a pack from a declaration in code; the same declaration and files always give the same digest.

    Args:
        spec: The declaration.
        folder: Where its files are.
        out: The OCI image layout to write or add to.
        sign: Key to sign with, if any.

    Returns:
        The pack, loaded back from the layout.

    Raises:
        PackError: A file is missing or unfit, the parts contradict each other, or the layout holds this version with
            other content.
        OSError: The disk refuses.
    """
    label = f"{spec.name}@{spec.version}"
    contents = {path: (role, _read(label, folder, path)) for path, role in _files(spec)}
    manifest = _checked(label, _with_reference(label, spec, folder, _manifest(label, spec, contents)))
    image, config = describe_pack(manifest)
    store = PackStore(out)
    store.open()
    for data in (config, manifest.canonical_json(), *(data for _, data in contents.values())):
        store.write_blob(data)
    for signature in store.signatures(manifest.ref, manifest.digest):  # an earlier build of the same pack
        image = image.signed(signature)
    store.add_manifest(manifest.ref, image.to_bytes())
    if sign is not None:
        store.sign(manifest.ref, sign)
    return store.load(manifest.ref, None if sign is None else (sign.public,))


def _files(spec: PackSpec) -> Iterator[tuple[str, FileRole]]:
    for variant in spec.variants:
        yield variant.file, "weights"
    if spec.certificate is not None:
        yield spec.certificate, "certificate"
    if spec.card is not None:
        yield spec.card, "card"
    if spec.golden is not None:
        for path in (*spec.golden.inputs.values(), *spec.golden.outputs.values()):
            yield path, "golden"
    if spec.regression is not None:
        yield spec.regression.residuals, "other"
    for path in spec.other_files:
        yield path, "other"


def _read(label: str, folder: Path, path: str) -> bytes:
    if reason := path_problem(path):
        raise PackError(label, reason, _MEND)
    found = folder / path
    for part in (found, *found.parents[: path.count("/")]):
        if part.is_symlink():
            raise PackError(label, f"{part} is a symbolic link", "put the file itself into the folder")
    try:
        facts = found.stat()
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > MAX_FILE_BYTES:
            raise PackError(label, f"{found} is no regular file of at most {MAX_FILE_BYTES} bytes", _MEND)
        return found.read_bytes()
    except OSError as error:
        raise PackError(label, f"{found} cannot be read: {error.strerror}", _MEND) from error


def _manifest(label: str, spec: PackSpec, contents: dict[str, tuple[FileRole, bytes]]) -> PackManifest:
    try:
        ref = PackRef.parse(label)
        escalates_to = None if spec.escalates_to is None else PackRef.parse(spec.escalates_to)
    except ValueError as error:
        raise PackError(label, str(error), _MEND) from error
    files = sorted(
        (PackFile(path, digest_of(data), len(data), role) for path, (role, data) in contents.items()),
        key=lambda file: file.path,
    )
    variants = [
        Variant(entry.id, entry.engine, entry.precision, entry.file, digest_of(contents[entry.file][1]), entry.rank)
        for entry in sorted(spec.variants, key=lambda entry: entry.rank)
    ]
    return PackManifest(
        ref=ref,
        family=spec.family,
        role=spec.role,
        task=spec.task,
        labels=spec.labels,
        inputs=tuple(_tensor(entry) for entry in spec.inputs),
        outputs=tuple(_tensor(entry) for entry in spec.outputs),
        window=None if spec.window is None else _window(spec.window),
        max_batch=spec.max_batch,
        escalates_to=escalates_to,
        temperature=float(spec.temperature),
        agreement_loss=spec.agreement_loss or LOSSES.get(spec.task, ""),
        certificate_path=spec.certificate,
        files=tuple(files),
        variants=tuple(variants),
        golden=None if spec.golden is None else _golden(label, spec.golden, contents),
        license=spec.license,
        provenance=dict(spec.provenance),
        image=None if spec.image is None else _image(spec.image),
        score=None if spec.score is None else _score(spec.score),
        vector_scaling=None if spec.vector_scaling is None else _vector(label, spec.vector_scaling, spec.labels),
        regression=None if spec.regression is None else _regression(label, spec.regression, contents),
        detection=None if spec.detection is None else _detection(spec.detection),
    )


def _with_reference(label: str, spec: PackSpec, folder: Path, manifest: PackManifest) -> PackManifest:
    """State what normal inputs look like. The rows themselves stay out of the pack: they are many, and somebody's."""
    if spec.input_reference is None:
        return manifest
    path, channels = spec.input_reference, manifest.input_channels
    try:
        rows = read_npy(_read(label, folder, path))
    except TensorError as error:
        raise PackError(label, f"{path}: {error}", _MEND) from error
    wanted = manifest.inputs[0].shape[1:] if manifest.inputs else ()
    if channels is None or rows.shape[1:] != wanted or rows.dtype.kind not in "fiu" or len(rows) < LEAST_ROWS:
        shown = f"at least {LEAST_ROWS} inputs of a window or an image, {list(wanted)} each"
        raise PackError(label, f"{path}: must hold {shown}", _MEND)
    features = np.stack([features_of(row, channels) for row in rows])
    if not np.isfinite(features).all():
        raise PackError(label, f"{path}: holds a number that is not finite", _MEND)
    return replace(manifest, input_reference=learnt(features))


def _tensor(entry: TensorEntry | OutputEntry) -> TensorSpec:
    return TensorSpec(entry.name, entry.datatype, entry.shape)


def _window(entry: WindowEntry) -> WindowSpec:
    return WindowSpec(entry.samples, len(entry.channel_names), float(entry.rate_hz), entry.channel_names)


def _image(entry: ImageEntry) -> ImageSpec:
    return ImageSpec(entry.height, entry.width, entry.mode)


def declared_score_name(spec: PackSpec, folder: Path) -> str:
    """Name the confidence of a pack in the making, as its certificate must.

    Args:
        spec: The declaration.
        folder: Where its files are.

    Returns:
        What `PackManifest.score_name` of the built pack will be.

    Raises:
        PackError: The declared scaling does not fit the labels, or a regression's residuals cannot be read.
    """
    label = f"{spec.name}@{spec.version}"
    if spec.regression is not None:
        path = spec.regression.residuals
        return interval_name(_regression(label, spec.regression, {path: ("other", _read(label, folder, path))}))
    if spec.detection is not None:
        return _detection(spec.detection).score_name
    if spec.task != CLASSIFICATION:
        raise PackError(label, f"the task {spec.task} has no score that a certificate could speak of", _MEND)
    vector = None if spec.vector_scaling is None else _vector(label, spec.vector_scaling, spec.labels)
    return score_name(None if spec.score is None else _score(spec.score), vector, spec.labels)


def _score(entry: ScoreEntry) -> ScoreSpec | None:
    """A pack says how its confidence is made only where it is not the largest probability: one way to say a thing."""
    if entry.kind == "max_probability":
        return None
    return ScoreSpec(entry.kind, entry.output, dict(entry.weights), float(entry.bias))


def _vector(label: str, entry: VectorScalingEntry, labels: tuple[str, ...]) -> VectorScaling:
    for key, numbers in (("scale", entry.scale), ("offset", entry.offset)):
        if numbers.keys() != set(labels):
            raise PackError(label, f"vector_scaling.{key}: must give one number for each label", _MEND)
    scale, offset = (tuple(float(numbers[name]) for name in labels) for numbers in (entry.scale, entry.offset))
    return VectorScaling(scale, offset)


def _regression(label: str, entry: RegressionEntry, contents: dict[str, tuple[FileRole, bytes]]) -> RegressionSpec:
    """The residuals are copied out of their file: they decide the confidence, and are part of its name."""
    try:
        residuals = read_npy(contents[entry.residuals][1])
    except TensorError as error:
        raise PackError(label, f"{entry.residuals}: {error}", _MEND) from error
    if residuals.ndim != 1 or residuals.dtype.kind != "f" or not np.isfinite(residuals).all():
        raise PackError(label, f"{entry.residuals}: must be a list of finite floating-point numbers", _MEND)
    rising = tuple(np.sort(residuals.astype(np.float64)).tolist())
    return RegressionSpec(float(entry.tolerance), float(entry.level), rising, entry.spread, entry.unit)


def _detection(entry: DetectionEntry) -> DetectionSpec:
    return DetectionSpec(
        boxes=entry.boxes,
        scores=entry.scores,
        classes=entry.classes,
        units=entry.units,
        keep=float(entry.keep),
        agree_iou=float(entry.agree_iou),
        max_boxes=entry.max_boxes,
        nothing_found=float(entry.nothing_found),
        suppress_iou=None if entry.suppress_iou is None else float(entry.suppress_iou),
    )


def _golden(label: str, entry: GoldenEntry, contents: dict[str, tuple[FileRole, bytes]]) -> GoldenSpec:
    n_examples = 0
    for path in (*entry.inputs.values(), *entry.outputs.values()):
        try:
            array = read_npy(contents[path][1])
        except TensorError as error:
            raise PackError(label, f"{path}: {error}", _MEND) from error
        n_examples = n_examples or (array.shape[0] if array.ndim else 0)
        if array.ndim == 0 or array.shape[0] != n_examples:
            raise PackError(label, f"{path}: golden files must hold equally many examples", _MEND)
    return GoldenSpec(dict(entry.inputs), dict(entry.outputs), n_examples, float(entry.tolerance))


def _checked(label: str, manifest: PackManifest) -> PackManifest:
    """Read the new pack.json back as any reader will, so that nothing is built that nobody can load."""
    try:
        return read_manifest(manifest.canonical_json())
    except ManifestError as error:
        raise PackError(label, str(error), _MEND) from error
