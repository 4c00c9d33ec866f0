"""Tagged outputs as they travel in events and verdicts."""

import base64
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_packs.boxes import Box
from model_packs.errors import OutputError
from model_packs.outputs import (
    MAX_BOXES,
    MAX_LABEL_CHARS,
    MAX_RAW_BYTES,
    MAX_TEXT_CHARS,
    NOTHING_FOUND,
    Classification,
    Detection,
    Output,
    RawTensors,
    Regression,
    Text,
    agree,
    from_json,
    spoken,
)
from model_packs.tensors import Tensor

LABELS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), min_size=1, max_size=20)


@given(st.dictionaries(LABELS, st.floats(0, 1), min_size=1, max_size=8))
def test_a_classification_survives_the_round_trip(scores: dict[str, float]) -> None:
    """Through JSON text and back it is the same value."""
    output = Classification(next(iter(scores)), scores)
    assert from_json(json.loads(json.dumps(output.to_json()))) == output


NUMBER = {"task": "regression", "value": 1.0, "low": 0.5, "high": 2.0, "tolerance": 0.1, "unit": "mm"}
TENSOR = {"name": "y", "datatype": "FP32", "shape": [2], "data": base64.b64encode(bytes(8)).decode()}
BOX = {"label": "cat", "score": 0.5, "x0": 1.0, "y0": 2.0, "x1": 3.0, "y1": 4.0}
BOXES = {"task": "detection", "units": "pixels", "iou": 0.5, "boxes": [BOX]}
HUGE = {
    "name": "y",
    "datatype": "UINT8",
    "shape": [MAX_RAW_BYTES + 1],
    "data": base64.b64encode(bytes(MAX_RAW_BYTES + 1)).decode(),
}

OTHERS: list[Output] = [
    Regression(12.5, 12.0, 13.25, 0.5, "mm"),
    Regression(-0.0, None, None, 0.0),
    Detection((Box("cat", 0.75, 1.0, -2.5, 3.0, 4.0), Box("dog", 0.5, 0.0, 0.0, 1.0, 1.0)), "pixels", 0.5),
    Detection((), "share", 0.6),
    Text(""),
    Text("zwei\nZeilen\t\u2028"),
    RawTensors((Tensor.from_array("y", np.array([np.nan, -1.0], np.float32)), Tensor("t", "BYTES", (0,), b""))),
]

FOUND = Detection((Box("cat", 0.75, 1.0, -2.5, 3.0, 4.0), Box("dog", 0.5, 0.0, 0.0, 1.0, 1.0)), "pixels", 0.5)
EMPTY = Detection((), "pixels", 0.5)
ELSEWHERE = replace(FOUND, boxes=tuple(box._replace(x0=box.x0 - 9.0, x1=box.x1 - 9.0) for box in FOUND.boxes))


@pytest.mark.parametrize("output", OTHERS)
def test_every_output_survives_the_round_trip(output: Output) -> None:
    """Through JSON text, without NaN or Infinity in it, and back it is the same value; it can be told in a line."""
    assert from_json(json.loads(json.dumps(output.to_json(), allow_nan=False))) == output
    assert "\n" not in output.told


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (Classification("a", {"a": 1.0}), Classification("a", {"a": 0.5, "b": 0.5}), True),
        (Classification("a", {"a": 1.0}), Classification("b", {"b": 1.0}), False),
        (Regression(1.0, None, None, 0.5), Regression(1.5, None, None, 9.0), True),
        (Regression(1.0, None, None, 0.5), Regression(1.51, None, None, 9.0), False),
        (Text(" stop\n"), Text("stop"), True),
        (Text("stop"), Text("Stop"), False),
        (OTHERS[-1], OTHERS[-1], None),
        (Text("1"), Regression(1.0, None, None, 0.5), None),
        (FOUND, replace(FOUND, iou=0.99), True),
        (FOUND, replace(FOUND, boxes=FOUND.boxes[::-1]), True),
        (FOUND, replace(FOUND, boxes=FOUND.boxes[:1]), False),
        (FOUND, replace(FOUND, boxes=(FOUND.boxes[0], FOUND.boxes[0])), False),
        (FOUND, EMPTY, False),
        (EMPTY, replace(EMPTY, iou=0.1), True),
        (FOUND, replace(FOUND, units="share"), None),
        (FOUND, Text("cat"), None),
        (None, Text("stop"), None),
        (Text("stop"), None, None),
    ],
)
def test_answers_agree_as_their_task_counts(first: Output | None, second: Output | None, same: bool | None) -> None:  # noqa: FBT001 - a table
    """Labels are equal, numbers differ by no more than the first one's tolerance, texts are equal but for space."""
    assert agree(first, second) is same


@pytest.mark.parametrize(
    ("said", "like", "output"),
    [
        ("a", None, Classification("a", {"a": 1.0})),
        ("a", Classification("b", {"b": 1.0}), Classification("a", {"a": 1.0})),
        ("12.75", OTHERS[0], Regression(12.75, None, None, 0.5, "mm")),
        ("12.5 mm", OTHERS[0], Regression(12.5, None, None, 0.5, "mm")),
        ("worn", OTHERS[0], None),
        ("nan", OTHERS[0], None),
        ("1e999", OTHERS[0], None),
        ("stop", Text("go"), Text("stop")),
        ("a b", Text("a\n b"), Text("a\n b")),
        ("x" * MAX_LABEL_CHARS, Text("x" * 300), Text("x" * 300)),
        ("x" * MAX_LABEL_CHARS, Text("go"), None),
        ("0.333333 mm", Regression(1 / 3, 0.0, 1.0, 0.5, "mm"), Regression(1 / 3, None, None, 0.5, "mm")),
        ("y", OTHERS[-1], None),
        (FOUND.told, FOUND, FOUND),
        (NOTHING_FOUND, FOUND, EMPTY),
        ("cat", FOUND, None),
    ],
)
def test_what_a_person_says_becomes_an_answer_of_the_same_task(
    said: str, like: Output | None, output: Output | None
) -> None:
    """A number for a number; nobody can say raw tensors."""
    assert spoken(said, like) == output


def test_a_person_may_mean_what_another_tier_said() -> None:
    """Equal counts of boxes are told apart by a mark; where the edge had no answer, the hub's says of which kind."""
    assert FOUND.told != ELSEWHERE.told
    assert FOUND.told.startswith("1 cat, 1 dog [")
    assert spoken(ELSEWHERE.told, FOUND, [None, ELSEWHERE]) == ELSEWHERE
    assert spoken(FOUND.told, FOUND, [ELSEWHERE]) == FOUND
    assert spoken(NOTHING_FOUND, None, [ELSEWHERE]) == EMPTY
    assert spoken("2.5 mm", None, [Regression(2.5, 2.0, 3.0, 0.5, "mm")]) == Regression(2.5, None, None, 0.5, "mm")


def test_many_labels_are_told_within_a_labels_length() -> None:
    """What is cut is still told apart by its mark."""
    many = tuple(Box(f"label {number}", 0.5, 0.0, 0.0, 1.0, 1.0) for number in range(60))
    told = [replace(FOUND, boxes=boxes).told for boxes in (many, (*many, FOUND.boxes[0]))]
    assert [len(text) for text in told] == [MAX_LABEL_CHARS] * 2
    assert told[0] != told[1]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "output: must be an object"),
        ({"task": "poetry"}, "output.task: must be one of classification, regression, detection, text, tensor"),
        ({"task": "classification", "label": "a"}, "output.scores: must be an object"),
        ({"task": "classification", "label": "a", "scores": {"b": 1.0}}, "'a' has no score"),
        ({"task": "classification", "label": "a", "scores": {"a": 2}}, "output.scores.a: must be a number from 0"),
        ({"task": "classification", "label": "a", "scores": {"a": True}}, "output.scores.a: must be a number"),
        ({"task": "classification", "label": "a", "scores": {"a": 1}, "extra": 1}, "output.extra: unknown key"),
        ({**NUMBER, "value": True}, "output.value: must be a number"),
        ({**NUMBER, "value": None}, "output.value: must be a number"),
        ({**NUMBER, "low": 2.0}, "an interval's ends lie on both sides of its value"),
        ({**NUMBER, "high": None}, "both ends of an interval, or none"),
        ({**NUMBER, "tolerance": -1}, "output.tolerance: must be a number from 0"),
        ({**NUMBER, "unit": "x" * 33}, "output.unit"),
        ({**BOXES, "units": "miles"}, "output.units: must be one of pixels, share"),
        ({**BOXES, "iou": 1.5}, "output.iou: must be a number from 0"),
        ({**BOXES, "boxes": BOX}, "output.boxes: must be an array of objects"),
        ({**BOXES, "boxes": [{**BOX, "label": ""}]}, r"output.boxes\[0\].label: must be of the form"),
        ({**BOXES, "boxes": [{**BOX, "score": 1.01}]}, r"output.boxes\[0\].score: must be a number from 0"),
        ({**BOXES, "boxes": [{**BOX, "x0": 3.0}]}, "output.boxes: of a box x0 is below x1, and y0 below y1"),
        ({**BOXES, "boxes": [{**BOX, "y1": 1e10}]}, r"output.boxes\[0\].y1: must be a number from"),
        ({**BOXES, "boxes": [{**BOX, "z": 1}]}, r"output.boxes\[0\].z: unknown key"),
        ({**BOXES, "boxes": [BOX] * (MAX_BOXES + 1)}, "output.boxes: at most 300 boxes, not 301"),
        ({"task": "text", "text": 7}, "output.text: must be a string"),
        ({"task": "text", "text": "x" * (MAX_TEXT_CHARS + 1)}, "output.text: at most"),
        ({"task": "tensor", "tensors": []}, "output.tensors: 1 to 64 tensors"),
        ({"task": "tensor", "tensors": [{**TENSOR, "shape": [3]}]}, r"tensors\[0\].data: .* takes 12 bytes, not 8"),
        ({"task": "tensor", "tensors": [{**TENSOR, "shape": [1 << 40]}]}, r"takes at most 67108864 bytes"),
        ({"task": "tensor", "tensors": [{**TENSOR, "data": "?"}]}, r"tensors\[0\].data"),
        ({"task": "tensor", "tensors": [{**TENSOR, "datatype": "C64"}]}, r"tensors\[0\].datatype: must be one of"),
        ({"task": "tensor", "tensors": [HUGE]}, "output.tensors: at most 1048576 bytes in all, not 1048577"),
    ],
)
def test_what_is_no_output_is_refused(document: Any, message: str) -> None:  # noqa: ANN401 - any JSON may arrive
    """Each broken field is named."""
    with pytest.raises(OutputError, match=message):
        from_json(document)
