"""Owns turning a model's raw outputs into answers with a confidence: scaling, softmax, and the pack's score.

The confidence is one number from 0 to 1, whatever score the pack declares: higher is safer, and an answer stays at the
edge when it reaches the threshold. Whether it does is decided elsewhere. Pure NumPy; the arithmetic is `calibration/`.
"""

import math
from collections.abc import Callable, ItemsView, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_packs.answers import LARGEST_NUMBER, NON_FINITE, answers
from model_packs.calibration import deferral, scores
from model_packs.calibration.scores import ScoreKind
from model_packs.calibration.temperature import softmax
from model_packs.detecting import detections
from model_packs.errors import TensorError
from model_packs.manifest import CLASSIFICATION, DETECTION, PackManifest, ScoreSpec
from model_packs.outputs import Classification, Output

ESCALATE_OUTPUT_RANGE: Final = "escalate_output_range"
"""Why a window could not be scored: what the model says of asking the hub is no probability."""


_FEW_LABELS: Final = 32
"""Up to so many, Python's own numbers are quicker than an array."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One window's answer.

    Attributes:
        output: The answer; None when it could not be scored.
        confidence: The pack's score, from 0 to 1; 0 when it could not be scored. For a pack without a declared score it
            is the answer's probability; raw tensors have none: always 0.
        unscorable: Why not, or None.
    """

    output: Output | None
    confidence: float
    unscorable: str | None


def score(manifest: PackManifest, outputs: Mapping[str, NDArray[Any]]) -> tuple[Scored, ...]:
    """Score a batch.

    Args:
        manifest: The pack; what its outputs hold is its task's.
        outputs: What `Session.run` returned, [batch, …] each; not changed.

    Returns:
        One `Scored` per row, in order.

    Raises:
        TensorError: An output is missing or has another shape; the engine and the pack disagree.
    """
    if manifest.task != CLASSIFICATION:
        read = detections if manifest.task == DETECTION else answers
        return tuple(Scored(*answer) for answer in read(manifest, outputs))
    return _classified(manifest, outputs)


def _classified(manifest: PackManifest, outputs: Mapping[str, NDArray[Any]]) -> tuple[Scored, ...]:
    """The first output holds the logits [batch, labels], any float dtype; one more may hold the model's own score."""
    name = manifest.outputs[0].name
    logits = outputs.get(name)
    n_labels = len(manifest.labels)
    if logits is None or logits.ndim != 2 or logits.shape[1] != n_labels:  # noqa: PLR2004 - [batch, labels]
        found = "nothing" if logits is None else list(logits.shape)
        raise TensorError(f"{manifest.ref}: output {name!r} must be [batch, {n_labels}], not {found}")
    if not len(logits):
        return ()
    if len(logits) == 1 and manifest.score is None and manifest.vector_scaling is None:
        return (_only_row(manifest, logits[0]),)
    wide = logits.astype(np.float64)
    # A double beyond this is no logit: a scaling would make it infinite. NaN fails, too.
    is_finite: NDArray[np.bool_] = np.logical_and.reduce(np.abs(wide) <= LARGEST_NUMBER, axis=1)
    usable = np.where(is_finite[:, None], wide, 0.0)
    scaled = usable if manifest.vector_scaling is None else manifest.vector_scaling.apply(usable)
    probabilities = softmax(scaled, manifest.temperature)
    rows = zip(probabilities, probabilities.argmax(axis=1).tolist(), is_finite.tolist(), strict=True)
    if manifest.score is None:
        return tuple(_plain(manifest.labels, row, top) if usable else _BROKEN for row, top, usable in rows)
    confidence, is_in_range = _confidence(manifest, manifest.score, probabilities, outputs)
    return tuple(
        _declared(manifest.labels, row, top, sure, is_in_range=in_range) if usable else _BROKEN
        for (row, top, usable), sure, in_range in zip(rows, confidence.tolist(), is_in_range.tolist(), strict=True)
    )


_BROKEN: Final = Scored(None, 0.0, NON_FINITE)

_BY_PROBABILITY: Final[dict[ScoreKind, Callable[[NDArray[np.float64]], NDArray[np.float64]]]] = {
    "max_probability": scores.max_probability,
    "margin": scores.margin,
    "entropy": scores.certainty,
}


def _confidence(
    manifest: PackManifest, spec: ScoreSpec, probabilities: NDArray[np.float64], outputs: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Each row's declared score, and whether it is one."""
    if spec.output is not None:
        return _own_confidence(manifest, spec.output, len(probabilities), outputs)
    if spec.weights:
        sure = deferral.confidence(deferral.Deferral(spec.weights, spec.bias), probabilities)
    else:
        sure = _BY_PROBABILITY[spec.kind](probabilities)
    return sure, np.ones(len(sure), dtype=np.bool_)


def _own_confidence(
    manifest: PackManifest, name: str, n_rows: int, outputs: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """One minus what the model itself says of asking the hub."""
    values = outputs.get(name)
    if values is None or values.shape not in ((n_rows,), (n_rows, 1)):
        found = "nothing" if values is None else list(values.shape)
        raise TensorError(f"{manifest.ref}: output {name!r} must be [{n_rows}] or [{n_rows}, 1], not {found}")
    asks = values.astype(np.float64).reshape(n_rows)
    is_in_range = (asks >= 0.0) & (asks <= 1.0)  # NaN is in no range
    return np.where(is_in_range, 1.0 - asks, 0.0), is_in_range


def _only_row(manifest: PackManifest, logits: NDArray[Any]) -> Scored:
    """The same answer, bit for bit, as a batch of one gets: a quarter of the time, where the batch is one.

    Args:
        manifest: A pack whose confidence is the answer's probability, without a scaling by class.
        logits: [labels]; not changed.

    Returns:
        The row's answer.
    """
    row = logits.astype(np.float64)
    if len(row) > _FEW_LABELS:
        return _only_wide_row(manifest, row)
    values = row.tolist()
    top = max(values)
    # One that is no number, or infinite, makes the sum so; the sum of usable ones is finite.
    if not math.isfinite(sum(values)) or top > LARGEST_NUMBER or min(values) < -LARGEST_NUMBER:
        return _BROKEN
    probabilities = _only_softmax(manifest, row, top).tolist()
    best = max(probabilities)
    label = manifest.labels[probabilities.index(best)]
    return Scored(Classification(label, dict(zip(manifest.labels, probabilities, strict=True))), best, None)


def _only_wide_row(manifest: PackManifest, row: NDArray[np.float64]) -> Scored:
    """The same for many labels, [labels], changed: who wants no more than the best waits for no list of them all."""
    top, low = row.max(), row.min()
    if not (top <= LARGEST_NUMBER and low >= -LARGEST_NUMBER):  # NaN is neither
        return _BROKEN
    probabilities = _only_softmax(manifest, row, float(top))
    at = int(probabilities.argmax())
    scores = _ListedLater(manifest.labels, probabilities)
    return Scored(Classification(manifest.labels[at], scores), float(probabilities[at]), None)


def _only_softmax(manifest: PackManifest, row: NDArray[np.float64], top: float) -> NDArray[np.float64]:
    """The probabilities of usable logits [labels] whose largest is known, in their place."""
    row -= top
    if manifest.temperature != 1.0:
        with np.errstate(over="ignore"):  # a temperature near 0 makes infinities, whose powers are 0
            row /= manifest.temperature
    np.exp(row, row)
    row /= np.add.reduce(row)
    return row


class _ListedLater(Mapping[str, float]):
    """Probabilities by label, in the labels' order; listed when somebody asks for them.

    Args:
        labels: The pack's.
        probabilities: [labels]; nobody changes them any more.
    """

    __slots__ = ("_labels", "_listed", "_probabilities")

    def __init__(self, labels: tuple[str, ...], probabilities: NDArray[np.float64]) -> None:
        self._labels = labels
        self._probabilities = probabilities
        self._listed: dict[str, float] | None = None

    def __getitem__(self, label: str) -> float:
        return self._all()[label]

    def __iter__(self) -> Iterator[str]:
        return iter(self._labels)

    def __len__(self) -> int:
        return len(self._labels)

    def items(self) -> ItemsView[str, float]:
        """All of them, as a dict gives them."""
        return self._all().items()

    def __repr__(self) -> str:
        return repr(self._all())

    def _all(self) -> dict[str, float]:
        if self._listed is None:
            self._listed = dict(zip(self._labels, self._probabilities.tolist(), strict=True))
        return self._listed


def _plain(labels: tuple[str, ...], probabilities: NDArray[np.float64], top: int) -> Scored:
    """An answer whose confidence is its probability."""
    values = probabilities.tolist()
    return Scored(Classification(labels[top], dict(zip(labels, values, strict=True))), values[top], None)


def _declared(
    labels: tuple[str, ...], probabilities: NDArray[np.float64], top: int, confidence: float, *, is_in_range: bool
) -> Scored:
    """An answer whose confidence is a score that the pack declares."""
    if not is_in_range:
        return Scored(None, 0.0, ESCALATE_OUTPUT_RANGE)
    values = probabilities.tolist()
    return Scored(Classification(labels[top], dict(zip(labels, values, strict=True))), confidence, None)
