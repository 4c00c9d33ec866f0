"""Owns what becomes of values that are not there: holes in a window, nulls in a sample (NaN in the arrays of core)."""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Missing(StrEnum):
    """What a binding declares about missing values."""

    REJECT = "reject"
    HOLD = "hold"
    LINEAR = "linear"


def fill_holes(values: NDArray[np.float32], policy: Missing) -> NDArray[np.float32] | None:
    """Fill NaN along time, channel by channel, from the window's own values only, so that a replay fills alike.

    Args:
        values: float32 [samples, channels]; NaN is a hole; not changed.
        policy: `hold` repeats the value before the hole, `linear` draws a line across it; a hole at the start takes the
            first value after it, and one at the end the last before it.

    Returns:
        A new array without NaN; None when the policy is `reject` and there is a hole, or a channel has no value at all.
    """
    is_hole = np.isnan(values)
    if not is_hole.any():
        return values.copy()
    if policy is Missing.REJECT or is_hole.all(axis=0).any():
        return None
    filled = values.copy()
    index = np.arange(len(values))
    for channel in np.flatnonzero(is_hole.any(axis=0)):
        hole = is_hole[:, channel]
        known = index[~hole]
        if policy is Missing.LINEAR:
            filled[hole, channel] = np.interp(index[hole], known, values[known, channel])
        else:
            before = np.searchsorted(known, index[hole]) - 1
            filled[hole, channel] = values[known[np.maximum(before, 0)], channel]
    return filled
