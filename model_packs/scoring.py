"""Owns turning a model's raw outputs into answers with a confidence: temperature, softmax, largest probability.

Whether an answer is kept or escalated is decided elsewhere. Pure NumPy; the arithmetic is
`calibration/temperature.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_packs.calibration.temperature import softmax
from model_packs.errors import TensorError
from model_packs.manifest import PackManifest
from model_packs.outputs import Classification, Output

NON_FINITE: Final = "non_finite"
"""Why a window could not be scored: a logit is NaN or infinite."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One window's answer.

    Attributes:
        output: The answer; None when it could not be scored.
        confidence: From 0 to 1; 0 when it could not be scored.
        unscorable: Why not, or None.
    """

    output: Output | None
    confidence: float
    unscorable: str | None


def score(manifest: PackManifest, outputs: Mapping[str, NDArray[Any]]) -> tuple[Scored, ...]:
    """Score a batch.

    Args:
        manifest: The pack; its first output holds the logits, its labels name them.
        outputs: What `Session.run` returned: logits [batch, labels], any float dtype; not changed.

    Returns:
        One `Scored` per row, in order.

    Raises:
        TensorError: The logits are missing or have another shape; the engine and the pack disagree.
    """
    name = manifest.outputs[0].name
    logits = outputs.get(name)
    n_labels = len(manifest.labels)
    if logits is None or logits.ndim != 2 or logits.shape[1] != n_labels:  # noqa: PLR2004 - [batch, labels]
        found = "nothing" if logits is None else list(logits.shape)
        raise TensorError(f"{manifest.ref}: output {name!r} must be [batch, {n_labels}], not {found}")
    if not len(logits):
        return ()
    wide = logits.astype(np.float64)
    is_finite: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(wide), axis=1)
    probabilities = softmax(np.where(is_finite[:, None], wide, 0.0), manifest.temperature)
    best = probabilities.argmax(axis=1)
    return tuple(
        _answer(manifest.labels, row, int(top)) if is_usable else Scored(None, 0.0, NON_FINITE)
        for row, top, is_usable in zip(probabilities, best, is_finite, strict=True)
    )


def _answer(labels: tuple[str, ...], probabilities: NDArray[np.float64], top: int) -> Scored:
    values = probabilities.tolist()
    return Scored(Classification(labels[top], dict(zip(labels, values, strict=True))), values[top], None)
