"""Owns boxes in a picture: how much two overlap, which of many stand for one thing, and which pairs mean the same.

A box is a rectangle with a label and a score. Reading boxes out of a model's outputs is `detecting.py`, the answer that
is made of them `outputs.py`. Pure NumPy; all coordinates of one picture are in one unit, whichever it is.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Box(NamedTuple):
    """One thing that was found.

    Attributes:
        label: What it is.
        score: How sure the model is of it, from 0 to 1, calibrated.
        x0: Left edge, counted from the left of the picture.
        y0: Upper edge, counted from the top.
        x1: Right edge, above `x0`.
        y1: Lower edge, above `y0`.
    """

    label: str
    score: float
    x0: float
    y0: float
    x1: float
    y1: float


def overlaps(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Say how much each of some boxes overlaps each of others: intersection over union.

    Args:
        first: [n, 4]: x0, y0, x1, y1; finite, x0 < x1 and y0 < y1.
        second: [m, 4], likewise.

    Returns:
        [n, m], from 0 (apart, or only touching) to 1 (the same).
    """
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    with np.errstate(invalid="ignore"):  # sides so short that no area is left: they overlap nothing
        return np.where(union > 0.0, np.minimum(shared / np.where(union > 0.0, union, 1.0), 1.0), 0.0)


def suppress(
    boxes: NDArray[np.float64], scores: NDArray[np.float64], classes: NDArray[np.intp], iou: float, most: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Keep of overlapping boxes of one class the one with the highest score (greedy non-maximum suppression).

    The procedure is that of Felzenszwalb et al. 2010, "Object Detection with Discriminatively Trained Part-Based
    Models", section 7.2, with intersection over union as the overlap.

    Args:
        boxes: [n, 4]: x0, y0, x1, y1.
        scores: [n].
        classes: [n]; boxes of different classes never suppress each other.
        iou: A box that overlaps a kept one by more than this is dropped.
        most: Boxes to keep at most.

    Returns:
        Indices of the kept boxes, the highest score first, of equal ones the first; and of those that would have been
        looked at next, had `most` been higher: nothing kept suppresses them.
    """
    left = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(left) and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(int(best))
        is_other = (classes[left] != classes[best]) | (overlaps(boxes[[best]], boxes[left])[0] <= iou)
        left = left[is_other]
    return np.array(kept, dtype=np.intp), left


def are_paired(first: Sequence[Box], second: Sequence[Box], iou: float) -> bool:
    """Tell whether two lists of boxes say the same: each box has one of the other list for itself.

    Pairs are of one label, and overlap by `iou` or more; those that overlap most are joined first. That is no search:
    where boxes of one list nearly cover each other, there may be a pairing that this does not find.

    Args:
        first: One list.
        second: The other.
        iou: Least intersection over union of a pair.

    Returns:
        Whether nothing is left over; two empty lists say the same.
    """
    if sorted(box.label for box in first) != sorted(box.label for box in second):
        return False
    if not first:
        return True
    overlap = overlaps(_corners(first), _corners(second))
    labels = [np.array([box.label for box in boxes], dtype=object) for boxes in (first, second)]
    rows, columns = np.nonzero((overlap >= iou) & (labels[0][:, None] == labels[1][None, :]))
    order = np.argsort(-overlap[rows, columns], kind="stable")
    taken: tuple[set[Any], set[Any]] = (set(), set())
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in taken[0] and column not in taken[1]:
            taken[0].add(row)
            taken[1].add(column)
    return len(taken[0]) == len(first)


def _corners(boxes: Sequence[Box]) -> NDArray[np.float64]:
    return np.array([box[2:] for box in boxes], dtype=np.float64)
