"""Owns reading pack.json from untrusted bytes: schema, types, contradictions, canonical form; every problem at once.

What the values mean is `manifest.py`; what they must agree on is `manifest_checks.py`.
"""

from typing import Final, cast

from model_packs import digests
from model_packs.calibration.scaling import VectorScaling
from model_packs.calibration.scores import SCORE_KINDS, ScoreKind
from model_packs.detection_spec import DetectionSpec
from model_packs.digests import Digest
from model_packs.errors import ManifestError
from model_packs.input_reference import LEAST_STD, InputReference
from model_packs.manifest import (
    LOSSES,
    NAME_PATTERN,
    SCHEMA,
    VERSION_PATTERN,
    FileRole,
    GoldenSpec,
    ImageMode,
    ImageSpec,
    PackFile,
    PackManifest,
    PackRef,
    RegressionSpec,
    Role,
    ScoreSpec,
    Variant,
    WindowSpec,
)
from model_packs.manifest_checks import contradictions
from model_packs.outputs import BOX_UNITS, MAX_BOXES, MAX_UNIT_CHARS
from model_packs.strict_json import Table, parse
from model_packs.tensors import DATATYPES, MAX_DIMENSIONS, TensorSpec

MAX_PACK_JSON_BYTES: Final = 1 << 20
MAX_FILE_BYTES: Final = 4 << 30
MAX_BATCH: Final = 4096
MAX_IMAGE_SIDE: Final = 16_384

ROLES: Final[tuple[Role, ...]] = ("edge", "hub")
IMAGE_MODES: Final[tuple[ImageMode, ...]] = ("L", "RGB")
FILE_ROLES: Final[tuple[FileRole, ...]] = ("weights", "certificate", "golden", "card", "other")
TASKS: Final = tuple(LOSSES)
AGREEMENT_LOSSES: Final = tuple(LOSSES.values())
PRECISIONS: Final = ("fp32", "fp16", "int8")
_LARGEST_WEIGHT: Final = 1e6
_LARGEST_ERROR: Final = 1e300
_LARGEST_FEATURE: Final = 1e30


def read_manifest(data: bytes) -> PackManifest:
    """Read and check pack.json.

    Args:
        data: Its bytes; they must be the canonical form, or the digest would name something else.

    Returns:
        The manifest.

    Raises:
        ManifestError: Unknown schema or key, missing or wrong values, parts that contradict each other, or bytes that
            are not canonical: every problem found is listed.
    """
    try:
        document = parse(data, MAX_PACK_JSON_BYTES)
    except ValueError as error:
        raise ManifestError((f"not readable: {error}",)) from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise ManifestError((f"schema: must be {SCHEMA}, not {schema!r}; a newer pack needs a newer program",))
    problems: list[str] = []
    manifest = _read(Table(document, "", problems))
    if not problems:
        problems.extend(contradictions(manifest))
    if not problems and manifest.canonical_json() != data:
        problems.append("the bytes are not the canonical JSON of what they say")
    if problems:
        raise ManifestError(tuple(problems))
    return manifest


def _read(table: Table) -> PackManifest:
    table.text("schema")
    labels = table.texts("labels")
    manifest = PackManifest(
        ref=PackRef(table.text("name", NAME_PATTERN), table.text("version", VERSION_PATTERN)),
        family=table.text("family", NAME_PATTERN),
        role=cast("Role", table.text("role", choices=ROLES)),
        task=table.text("task", choices=TASKS),
        labels=labels,
        inputs=tuple(_read_tensor(item) for item in table.tables("inputs")),
        outputs=tuple(_read_tensor(item) for item in table.tables("outputs")),
        window=_read_window(table.table("window")) if table.has("window") else None,
        max_batch=table.integer("max_batch", 1, MAX_BATCH),
        escalates_to=_read_ref(table, "escalates_to") if table.has("escalates_to") else None,
        temperature=table.number("temperature", 1e-3, 1e3),
        agreement_loss=table.text("agreement_loss", choices=AGREEMENT_LOSSES),
        certificate_path=table.text("certificate_path") if table.has("certificate_path") else None,
        files=tuple(_read_file(item) for item in table.tables("files")),
        variants=tuple(_read_variant(item) for item in table.tables("variants")),
        golden=_read_golden(table.table("golden")) if table.has("golden") else None,
        license=table.text("license", r".{1,100}"),
        provenance=table.mapping("provenance"),
        image=_read_image(table.table("image")) if table.has("image") else None,
        score=_read_score(table.table("score")) if table.has("score") else None,
        vector_scaling=_read_vector(table.table("vector_scaling"), labels) if table.has("vector_scaling") else None,
        regression=_read_regression(table.table("regression")) if table.has("regression") else None,
        detection=_read_detection(table.table("detection")) if table.has("detection") else None,
        input_reference=_read_reference(table.table("input_reference")) if table.has("input_reference") else None,
    )
    table.finish()
    return manifest


def _read_ref(table: Table, key: str) -> PackRef | None:
    text = table.text(key)
    try:
        return PackRef.parse(text)
    except ValueError as error:
        table.note(key, str(error))
        return None


def _read_tensor(table: Table) -> TensorSpec:
    name, datatype = table.text("name", r".{1,128}"), table.text("datatype", choices=DATATYPES)
    spec = TensorSpec(name, datatype, table.integers("shape"))
    if len(spec.shape) not in range(1, MAX_DIMENSIONS + 1) or any(size < 1 and size != -1 for size in spec.shape):
        table.note("shape", f"must have 1 to {MAX_DIMENSIONS} positive sizes (-1 leaves one open)")
    table.finish()
    return spec


def _read_window(table: Table) -> WindowSpec:
    window = WindowSpec(
        samples=table.integer("samples", 1, 1_000_000),
        channels=table.integer("channels", 1, 10_000),
        rate_hz=table.number("rate_hz", 1e-6, 1e6),
        channel_names=table.texts("channel_names"),
    )
    table.finish()
    return window


def _read_image(table: Table) -> ImageSpec:
    image = ImageSpec(
        height=table.integer("height", 1, MAX_IMAGE_SIDE),
        width=table.integer("width", 1, MAX_IMAGE_SIDE),
        mode=cast("ImageMode", table.text("mode", choices=IMAGE_MODES)),
    )
    table.finish()
    return image


def _read_score(table: Table) -> ScoreSpec:
    is_learned = table.has("weights")
    score = ScoreSpec(
        kind=cast("ScoreKind", table.text("kind", choices=(kind for kind in SCORE_KINDS if kind != "max_probability"))),
        output=table.text("output", r".{1,128}") if table.has("output") else None,
        weights=table.numbers("weights", -_LARGEST_WEIGHT, _LARGEST_WEIGHT) if is_learned else {},
        bias=table.number("bias", -_LARGEST_WEIGHT, _LARGEST_WEIGHT) if is_learned else 0.0,
    )
    table.finish()
    return score


def _read_vector(table: Table, labels: tuple[str, ...]) -> VectorScaling:
    scale, offset = (table.numbers(key, -_LARGEST_WEIGHT, _LARGEST_WEIGHT) for key in ("scale", "offset"))
    for key, numbers in (("scale", scale), ("offset", offset)):
        if numbers.keys() != set(labels):
            table.note(key, "must give one number for each label")
    table.finish()
    return VectorScaling(*(tuple(numbers.get(label, 0.0) for label in labels) for numbers in (scale, offset)))


def _read_regression(table: Table) -> RegressionSpec:
    spec = RegressionSpec(
        tolerance=table.number("tolerance", 0.0, _LARGEST_ERROR),
        level=table.number("level", 0.0, 1.0),
        residuals=table.reals("residuals", 0.0, _LARGEST_ERROR),
        spread=table.text("spread", r".{1,128}") if table.has("spread") else None,
        unit=table.text("unit", rf".{{0,{MAX_UNIT_CHARS}}}"),
    )
    table.finish()
    return spec


def _read_detection(table: Table) -> DetectionSpec:
    spec = DetectionSpec(
        boxes=table.text("boxes", r".{1,128}"),
        scores=table.text("scores", r".{1,128}"),
        classes=table.text("classes", r".{1,128}") if table.has("classes") else None,
        units=table.text("units", choices=BOX_UNITS),
        keep=table.number("keep", 0.0, 1.0),
        agree_iou=table.number("agree_iou", 0.0, 1.0),
        max_boxes=table.integer("max_boxes", 1, MAX_BOXES),
        nothing_found=table.number("nothing_found", 0.0, 1.0),
        suppress_iou=table.number("suppress_iou", 0.0, 1.0) if table.has("suppress_iou") else None,
    )
    table.finish()
    return spec


def _read_reference(table: Table) -> InputReference:
    reference = InputReference(
        mean=table.reals("mean", -_LARGEST_FEATURE, _LARGEST_FEATURE),
        std=table.reals("std", LEAST_STD, _LARGEST_FEATURE),
        precision=table.reals("precision", -_LARGEST_FEATURE, _LARGEST_FEATURE),
        usual=cast("tuple[float, float]", table.reals("usual", 0.0, _LARGEST_FEATURE)),
    )
    table.finish()
    return reference


def _read_file(table: Table) -> PackFile:
    entry = PackFile(
        path=table.text("path"),
        digest=Digest(table.text("digest", digests.PATTERN)),
        size_bytes=table.integer("size_bytes", 0, MAX_FILE_BYTES),
        role=cast("FileRole", table.text("role", choices=FILE_ROLES)),
    )
    table.finish()
    return entry


def _read_variant(table: Table) -> Variant:
    variant = Variant(
        id=table.text("id", NAME_PATTERN),
        engine=table.text("engine", r"[a-z0-9_-]{1,32}"),
        precision=table.text("precision", choices=PRECISIONS),
        file=table.text("file"),
        graph_digest=Digest(table.text("graph_digest", digests.PATTERN)),
        rank=table.integer("rank", 0, 1000),
    )
    table.finish()
    return variant


def _read_golden(table: Table) -> GoldenSpec:
    golden = GoldenSpec(
        inputs=table.mapping("inputs"),
        outputs=table.mapping("outputs"),
        n_examples=table.integer("n_examples", 1, 100_000),
        tolerance=table.number("tolerance", 0.0),
    )
    table.finish()
    return golden
