"""Owns what normal inputs of a pack look like: the statistics of rows that trained nothing, as part of its statement.

With it a device tells from its first input on whether what it sees is what the pack was made for. Without it the device
learns what is normal from the first inputs in the field, and takes a fault that was there from the start for normal.
Watching inputs against it is the agent's (`edge_agent/core/input_statistics.py`).
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_packs.strict_json import JsonValue

LEAST_ROWS: Final = 200
MAX_CHANNELS: Final = 64
LEAST_STD: Final = 1e-6
_SHRINKAGE: Final = 0.1


@dataclass(frozen=True, slots=True)
class InputReference:
    """Mean and shrunk covariance of each channel's mean and logarithmic standard deviation.

    Attributes:
        mean: [features]: the channels' means, then the logarithms of their standard deviations.
        std: [features], above 0.
        precision: [features * features], row by row: the inverse of the shrunk correlation of the features.
        usual: Mean and standard deviation of the distances of the rows that it was learnt from.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    precision: tuple[float, ...] = field(repr=False)
    usual: tuple[float, float]

    def to_document(self) -> dict[str, JsonValue]:
        """Write it as an object of pack.json."""
        return {name: [float(value) for value in getattr(self, name)] for name in ("mean", "std", "precision", "usual")}


def features_of(values: NDArray[np.generic], channels: int) -> NDArray[np.float64]:
    """Statistics of one input.

    Args:
        values: Any shape whose last axis is the channels', or without one where there is a single channel; not changed.
        channels: How many there are.

    Returns:
        float64 [2 * channels]: means, then logarithmic standard deviations.
    """
    flat = np.asarray(values, np.float64).reshape(-1, channels)
    return np.concatenate([flat.mean(axis=0), np.log(flat.std(axis=0) + LEAST_STD)])


def learnt(features: NDArray[np.float64]) -> InputReference:
    """Learn what is normal.

    Args:
        features: float64 [inputs, features], finite, two inputs or more.

    Returns:
        Mean, standard deviation, and a correlation that is shrunk towards none by a tenth, so that it can always be
        inverted; to nine digits, so that two libraries of linear algebra come to the same pack.
    """
    mean, std = features.mean(axis=0), np.maximum(features.std(axis=0), LEAST_STD)
    scaled = (features - mean) / std
    correlation = (1 - _SHRINKAGE) * (scaled.T @ scaled) / len(scaled) + _SHRINKAGE * np.eye(len(mean))
    precision = np.linalg.inv(correlation)
    squared = np.maximum(np.einsum("ij,jk,ik->i", scaled, precision, scaled), 0.0)
    distances = np.log1p(squared / len(mean))
    return InputReference(
        tuple(map(_rounded, mean)),
        tuple(max(LEAST_STD, _rounded(one)) for one in std),
        tuple(map(_rounded, precision.ravel())),
        (_rounded(distances.mean()), _rounded(distances.std())),
    )


def _rounded(value: float) -> float:
    return float(f"{value:.9g}")
