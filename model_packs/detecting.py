"""Owns turning a detector's raw outputs into boxes with one confidence for the whole picture.

Two forms are read, as the pack declares them: boxes that the graph has chosen already, each with a score and a class;
and all candidates with a score by label, of which overlapping ones are suppressed here. What boxes are, and how they
overlap, is `boxes.py`; how their scores become one number is `calibration/detection.py`. Pure NumPy.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_packs.answers import NON_FINITE, Answer, misfit
from model_packs.boxes import Box, suppress
from model_packs.calibration.detection import DetectionScore, tempered
from model_packs.detection_spec import DetectionSpec
from model_packs.errors import TensorError
from model_packs.manifest import DETECTION, PackManifest
from model_packs.outputs import LARGEST_COORDINATE, Detection

SCORE_RANGE: Final = "score_range"
"""Why a picture could not be scored: the score of a box is not from 0 to 1."""

BOX_RANGE: Final = "box_range"
"""Why a picture could not be scored: a kept box has no area, or lies absurdly far out."""

CLASS_RANGE: Final = "class_range"
"""Why a picture could not be scored: a kept box has a class that is no label."""

_CORNERS: Final = 4


def detections(manifest: PackManifest, outputs: Mapping[str, NDArray[Any]]) -> tuple[Answer, ...]:
    """Read a batch's boxes.

    Args:
        manifest: A pack of the task detection.
        outputs: What `Session.run` returned, [batch, …] each; not changed.

    Returns:
        One answer a row, in order. What only fills up (score 0) is no box. Where any score is NaN, the strongest box is
        not known, and the row has no answer.

    Raises:
        TensorError: An output is missing or has another shape; the engine and the pack disagree.
    """
    spec = manifest.detection
    if spec is None:
        raise TensorError(f"{manifest.ref}: the task {DETECTION} does not say how it tells boxes")
    boxes = _part(manifest, outputs, spec.boxes, (_CORNERS,), None)
    tail = (len(manifest.labels),) if spec.classes is None else ()
    scores = _part(manifest, outputs, spec.scores, tail, boxes.shape[:2])
    if spec.classes is None:
        classes = scores.argmax(axis=2).astype(np.float64)  # of NaN too: such a row is turned down below
        scores = scores.max(axis=2)
    else:
        classes = _part(manifest, outputs, spec.classes, (), boxes.shape[:2])
    calibrated = tempered(scores, manifest.temperature)
    return tuple(_picture(manifest.labels, spec, *parts) for parts in zip(boxes, calibrated, classes, strict=True))


def _part(
    manifest: PackManifest,
    outputs: Mapping[str, NDArray[Any]],
    name: str,
    tail: tuple[int, ...],
    rows: tuple[int, ...] | None,
) -> NDArray[np.float64]:
    """One of the outputs; `rows` is batch and number of boxes, None where it says so itself."""
    values = outputs.get(name)
    if (
        values is None
        or values.shape[2:] != tail
        or values.ndim != len(tail) + 2
        or rows not in (None, values.shape[:2])
    ):
        wanted = ["batch", "n"] if rows is None else [str(size) for size in rows]
        raise misfit(manifest, name, f"[{', '.join([*wanted, *map(str, tail)])}]", values)
    return values.astype(np.float64)


def _picture(
    labels: tuple[str, ...],
    spec: DetectionSpec,
    boxes: NDArray[np.float64],
    scores: NDArray[np.float64],
    classes: NDArray[np.float64],
) -> Answer:
    """One row: boxes [n, 4], scores and classes [n]."""
    if not np.isfinite(scores).all():
        return None, 0.0, NON_FINITE
    if not ((scores >= 0.0) & (scores <= 1.0)).all():
        return None, 0.0, SCORE_RANGE
    is_kept = scores >= spec.keep
    strongest_left = float(scores[~is_kept].max(initial=0.0))
    boxes, scores, classes = boxes[is_kept], scores[is_kept], classes[is_kept]
    if problem := _problem(len(labels), boxes, classes):
        return None, 0.0, problem
    kept, weakest = _chosen(spec, boxes, scores, classes.astype(np.intp))
    found = zip(classes[kept].tolist(), scores[kept].tolist(), boxes[kept].tolist(), strict=True)
    answer = Detection(
        tuple(Box(labels[int(label)], score, *corners) for label, score, corners in found), spec.units, spec.agree_iou
    )
    rule = DetectionScore(spec.keep, spec.nothing_found)
    return answer, rule.confidence([strongest_left] if weakest is None else [weakest]), None


def _problem(n_labels: int, boxes: NDArray[np.float64], classes: NDArray[np.float64]) -> str | None:
    """Why boxes that are to be kept are none."""
    if not np.isfinite(boxes).all():
        return NON_FINITE
    if not (boxes[:, :2] < boxes[:, 2:]).all() or not (np.abs(boxes) <= LARGEST_COORDINATE).all():
        return BOX_RANGE
    is_label = (classes >= 0.0) & (classes < n_labels) & (classes == np.floor(classes))  # NaN is none
    return None if is_label.all() else CLASS_RANGE


def _chosen(
    spec: DetectionSpec, boxes: NDArray[np.float64], scores: NDArray[np.float64], classes: NDArray[np.intp]
) -> tuple[NDArray[np.intp], float | None]:
    """Indices of the boxes of the answer, and the weakest score that speaks for it; None: there is no box.

    A box for which there was no room is not told, but counts: to leave weak boxes out makes an answer no surer.
    """
    if spec.suppress_iou is None:
        order = np.argsort(-scores, kind="stable")
        kept, more = order[: spec.max_boxes], order[spec.max_boxes :]
    else:
        kept, more = suppress(boxes, scores, classes, spec.suppress_iou, spec.max_boxes)
    counted = scores[np.concatenate([kept, more])]
    return kept, float(counted.min()) if len(counted) else None
