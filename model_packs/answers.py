"""Owns turning raw outputs into answers of most tasks: numbers, texts, tensors as they are.

Each answer comes with its confidence, from 0 to 1, or with the reason why it could not be scored; what `scoring.py`
makes of both is the same for all tasks. Classes are read by `scoring.py` itself, boxes by `detecting.py`. Pure NumPy;
intervals are `calibration.conformal`'s.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model_packs.calibration.conformal import Conformal
from model_packs.errors import TensorError
from model_packs.manifest import REGRESSION, TENSOR, TEXT, PackManifest
from model_packs.outputs import MAX_TEXT_CHARS, Output, RawTensors, Regression, Text, tensors_problem
from model_packs.tensors import Tensor

NON_FINITE: Final = "non_finite"
"""Why a window could not be scored: a number is NaN, infinite, or larger than any single-precision number."""

SPREAD_RANGE: Final = "spread_range"
"""Why a window could not be scored: how far off the model expects to be is not above 0."""

NO_TEXT: Final = "no_text"
"""Why a window could not be scored: the answer is no UTF-8 text, or too long for an event."""

TOO_LARGE: Final = "too_large"
"""Why a window could not be scored: its tensors are too large for an event."""

LARGEST_NUMBER: Final = float(np.finfo(np.float32).max)

Answer: TypeAlias = tuple[Output | None, float, str | None]
"""The answer, its confidence, and why there is none; as in `scoring.Scored`."""


def answers(manifest: PackManifest, outputs: Mapping[str, NDArray[Any]]) -> tuple[Answer, ...]:
    """Read a batch's answers.

    Args:
        manifest: A pack of the task regression, text or tensor.
        outputs: What `Session.run` returned, [batch, …] each; not changed.

    Returns:
        One answer a row, in order.

    Raises:
        TensorError: An output is missing or has another shape; the engine and the pack disagree.
    """
    return tuple(_READERS[manifest.task](manifest, outputs))


def _regressions(manifest: PackManifest, outputs: Mapping[str, NDArray[Any]]) -> Iterator[Answer]:
    """The value, the interval that covers the truth with the pack's level, and how sure its tolerance is kept."""
    spec = manifest.regression
    if spec is None:
        raise TensorError(f"{manifest.ref}: the task {REGRESSION} says nothing of its errors")
    values = _column(manifest, manifest.outputs[0].name, outputs)
    spreads = np.ones(len(values)) if spec.spread is None else _column(manifest, spec.spread, outputs)
    is_number = np.abs(values) <= LARGEST_NUMBER  # NaN is in no range
    is_spread = (spreads > 0.0) & (spreads <= LARGEST_NUMBER)
    usable = np.where(is_spread, spreads, 1.0)
    known = Conformal(np.array(spec.residuals))
    halves = known.half_width(usable, spec.level)
    sure = known.confidence(usable, spec.tolerance)
    rows = zip(*(part.tolist() for part in (values, halves, sure, is_number, is_spread)), strict=True)
    for value, half, confidence, has_number, has_spread in rows:
        if not has_number or not has_spread:
            yield None, 0.0, SPREAD_RANGE if has_number else NON_FINITE
            continue
        low, high = (value - half, value + half) if math.isfinite(half) else (None, None)
        yield Regression(value, low, high, spec.tolerance, spec.unit), confidence, None


def _texts(manifest: PackManifest, outputs: Mapping[str, NDArray[Any]]) -> Iterator[Answer]:
    """The text, as sure as the model says; not at all where it says nothing."""
    name = manifest.outputs[0].name
    elements = outputs.get(name)
    if elements is None or elements.ndim != 1:
        raise misfit(manifest, name, "[batch]", elements)
    sure = np.zeros(len(elements))
    if len(manifest.outputs) > 1:
        told = _column(manifest, manifest.outputs[1].name, outputs)
        sure = np.where((told >= 0.0) & (told <= 1.0), told, 0.0)
    for element, confidence in zip(elements.tolist(), sure.tolist(), strict=True):
        try:
            text = element if isinstance(element, str) else element.decode()
        except UnicodeDecodeError:
            yield None, 0.0, NO_TEXT
            continue
        yield (Text(text), confidence, None) if len(text) <= MAX_TEXT_CHARS else (None, 0.0, NO_TEXT)


def _raw(manifest: PackManifest, outputs: Mapping[str, NDArray[Any]]) -> Iterator[Answer]:
    """The outputs as they are; nothing says how sure they are."""
    for spec in manifest.outputs:
        if spec.name not in outputs:
            raise misfit(manifest, spec.name, "[batch, …]", None)
    for row in range(len(outputs[manifest.outputs[0].name])):
        tensors = [Tensor.from_array(spec.name, outputs[spec.name][row]) for spec in manifest.outputs]
        yield (RawTensors(tuple(tensors)), 0.0, None) if tensors_problem(tensors) is None else (None, 0.0, TOO_LARGE)


def _column(manifest: PackManifest, name: str, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """One number a row."""
    values = outputs.get(name)
    if values is None or values.ndim not in (1, 2) or values.shape[1:] not in ((), (1,)):
        raise misfit(manifest, name, "[batch] or [batch, 1]", values)
    return values.astype(np.float64).reshape(len(values))


def misfit(manifest: PackManifest, name: str, wanted: str, found: NDArray[Any] | None) -> TensorError:
    """The engine and the pack disagree about an output, `found`, which is None where there is none."""
    shown = "nothing" if found is None else list(found.shape)
    return TensorError(f"{manifest.ref}: output {name!r} must be {wanted}, not {shown}")


_READERS: Final[dict[str, Callable[[PackManifest, Mapping[str, NDArray[Any]]], Iterator[Answer]]]] = {
    REGRESSION: _regressions,
    TEXT: _texts,
    TENSOR: _raw,
}
