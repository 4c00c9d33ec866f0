"""The scanner: boxes of forms, as a pure plan."""

import itertools

import numpy as np

from deploy.demo.fleet import BRANCH
from deploy.demo.forms import BOXES_A_FORM, Digit, schedule
from deploy.demo.questions import Question
from model_packs.shipped.form_digits import crops
from tests.unit.deploy.test_watches import START_NS

DIGITS = [
    Digit(np.full((28, 28), value, dtype=np.uint8), Question(str(value), "boxes", value, {}, str(value)))
    for value in range(3)
]


def test_no_box_comes_twice_although_the_digits_do() -> None:
    """The device knows a repeated message by form and box, so these never repeat; answers are joined by them."""
    boxes = list(itertools.islice(schedule(BRANCH, DIGITS, START_NS), 100))
    topics = [box.topic for box in boxes]
    assert len(set(topics)) == 100
    assert topics[BOXES_A_FORM - 1 : BOXES_A_FORM + 1] == ["branch/f0001/8/crop", "branch/f0002/1/crop"]
    assert [box.closes.question.truth for box in boxes[:4]] == ["0", "1", "2", "0"]
    for box in boxes:
        captures = BRANCH.source.match(box.topic)
        assert captures is not None
        assert BRANCH.key(captures, 0) == box.closes.key


def test_boxes_leave_one_after_the_other() -> None:
    """Each is due later than the one before, and is a model input of its own."""
    boxes = list(itertools.islice(schedule(BRANCH, DIGITS, START_NS), 9))
    due = [box.due_ns for box in boxes]
    assert due == sorted(set(due))
    assert all(box.opens and not box.closes.is_compared for box in boxes)


def test_a_payload_is_the_jpeg_that_the_family_is_made_for() -> None:
    """What the device decodes are the pixels that the packs' figures are stated for."""
    box = next(schedule(BRANCH, DIGITS, START_NS))
    assert np.array_equal(crops.pixels(box.payload()), crops.as_seen(DIGITS[0].image[None])[0])
