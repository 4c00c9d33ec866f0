"""Boxes that overlap, that stand for one thing, and that mean the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model_packs.boxes import Box, are_paired, overlaps, suppress

SIDE = st.integers(0, 12)
RECTANGLES = st.lists(
    st.tuples(SIDE, SIDE, st.integers(1, 8), st.integers(1, 8)).map(lambda r: (r[0], r[1], r[0] + r[2], r[1] + r[3])),
    max_size=12,
)
IOU = st.floats(0.0, 1.0)


def array(rectangles: list[tuple[int, int, int, int]]) -> NDArray[np.float64]:
    """[n, 4], for none, too."""
    return np.array(rectangles, dtype=np.float64).reshape(-1, 4)


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1.0),
        ((0, 0, 2, 2), (1, 0, 3, 2), 1 / 3),
        ((0, 0, 2, 2), (2, 0, 4, 2), 0.0),
        ((0, 0, 2, 2), (5, 5, 6, 6), 0.0),
        ((0, 0, 4, 4), (1, 1, 3, 3), 0.25),
        ((0, 0, 1e-200, 1e-200), (0, 0, 1e-200, 1e-200), 0.0),
    ],
)
def test_overlap_is_intersection_over_union(
    first: tuple[float, ...], second: tuple[float, ...], overlap: float
) -> None:
    """Boxes that only touch share nothing; sides too short for an area overlap nothing."""
    (found,) = overlaps(np.array([first], np.float64), np.array([second], np.float64))
    assert found == pytest.approx([overlap])


@given(RECTANGLES, st.data(), IOU, st.integers(1, 12))
def test_what_stands_for_one_thing_is_a_sorted_part_without_overlaps(
    rectangles: list[tuple[int, int, int, int]], data: st.DataObject, iou: float, most: int
) -> None:
    """Kept boxes are some of those given, the surest first; of a class none overlaps another too much."""
    n = len(rectangles)
    scores = np.array(data.draw(st.lists(st.floats(0.0, 1.0), min_size=n, max_size=n)), np.float64)
    classes = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)), np.intp)
    boxes = array(rectangles)
    kept, more = suppress(boxes, scores, classes, iou, most)
    assert len(kept) == len(set(kept.tolist())) <= most
    assert set(kept.tolist()) | set(more.tolist()) <= set(range(n))
    assert not set(kept.tolist()) & set(more.tolist())
    assert (np.diff(scores[kept]) <= 0.0).all()
    same = classes[kept][:, None] == classes[kept][None, :]
    apart = overlaps(boxes[kept], boxes[kept])[same & ~np.eye(len(kept), dtype=np.bool_)]
    assert (apart <= iou).all()
    if len(kept) < most:
        assert not len(more)
        for dropped in set(range(n)) - set(kept.tolist()):  # each gave way to a surer one of its class
            stronger = [one for one in kept if classes[one] == classes[dropped] and scores[one] >= scores[dropped]]
            assert (overlaps(boxes[[dropped]], boxes[stronger]) > iou).any()


def test_equal_scores_keep_the_first() -> None:
    """So the same picture gives the same boxes, wherever it is answered."""
    kept, _ = suppress(array([(0, 0, 2, 2)] * 3), np.full(3, 0.5), np.zeros(3, np.intp), 0.5, 9)
    assert kept.tolist() == [0]


def test_only_more_overlap_than_allowed_drops_a_box() -> None:
    """As much as is allowed leaves both: here a half."""
    half = array([(0, 0, 2, 2), (0, 0, 2, 1)])
    for iou, kept in ((0.5, [0, 1]), (0.49, [0])):
        assert suppress(half, np.array([0.9, 0.8]), np.zeros(2, np.intp), iou, 9)[0].tolist() == kept


@given(RECTANGLES, st.data(), st.floats(0.01, 1.0))
def test_boxes_mean_the_same_as_themselves_in_any_order(
    rectangles: list[tuple[int, int, int, int]], data: st.DataObject, iou: float
) -> None:
    """Scores do not matter; one box more, or another label, does."""
    labels = data.draw(st.lists(st.sampled_from("ab"), min_size=len(rectangles), max_size=len(rectangles)))
    boxes = [Box(label, 0.5, *map(float, corners)) for label, corners in zip(labels, rectangles, strict=True)]
    other = [box._replace(score=0.9) for box in data.draw(st.permutations(boxes))]
    assert are_paired(boxes, other, iou)
    assert not are_paired(boxes, [*other, Box("a", 0.5, 0.0, 0.0, 1.0, 1.0)], iou)
    if boxes:
        assert not are_paired(boxes, [other[0]._replace(label="c"), *other[1:]], iou)


def test_each_box_has_one_for_itself() -> None:
    """Two boxes cannot share their counterpart; the pair that overlaps most is joined first."""
    near, nearer, far = (Box("a", 0.5, x, 0.0, x + 10.0, 10.0) for x in (0.0, 1.0, 40.0))
    assert not are_paired([near, nearer], [near, far], 0.5)
    assert are_paired([near, nearer], [nearer, near], 0.8)
    assert not are_paired([near], [far], 0.5)
    assert are_paired([near], [near._replace(x1=5.0)], 0.5)
    assert not are_paired([near], [near._replace(x1=4.9)], 0.5)
    here, there = Box("a", 0.5, 0.0, 0.0, 1.0, 1.0), Box("b", 0.5, 5.0, 0.0, 6.0, 1.0)
    assert not are_paired([here, there], [here._replace(label="b"), there._replace(label="a")], 0.5)
