"""Owns tagged outputs: what a model answered, in a form that prediction events, verdicts and revisions share.

A task is one class here and one entry in `_READERS`, with its rule of agreement: whether two answers to one window say
the same, as the pack's `agreement_loss` counts it. Confidence is not part of an output (`scoring.py` computes it
beside).
"""

import base64
import binascii
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from model_packs.boxes import Box, are_paired
from model_packs.errors import OutputError, TensorError
from model_packs.strict_json import JsonValue, Table
from model_packs.tensors import DATATYPES, MAX_NAME_CHARS, Tensor

MAX_LABELS: Final = 10_000
MAX_LABEL_CHARS: Final = 200
MAX_TEXT_CHARS: Final = 65_536
MAX_UNIT_CHARS: Final = 32
MAX_TENSORS: Final = 64
MAX_RAW_BYTES: Final = 1 << 20
"""Most bytes of the tensors of one answer: it travels in events and stays in logs."""

MAX_BOXES: Final = 300
"""Most boxes of one answer."""

BOX_UNITS: Final = ("pixels", "share")
"""What coordinates count: pixels of the model's input, or shares of its width and height."""

NOTHING_FOUND: Final = "nothing found"
"""How an answer without boxes is told."""

LARGEST_NUMBER: Final = 1e300
LARGEST_COORDINATE: Final = 1e9

_MARK_CHARS: Final = 6


@dataclass(frozen=True, slots=True)
class Classification:
    """One label of a fixed set; two agree if their labels are equal (the loss `zero_one`).

    Attributes:
        label: The answer.
        scores: Probability by label, in the order of the pack's labels.
    """

    label: str
    scores: Mapping[str, float] = field(hash=False)

    @property
    def told(self) -> str:
        """The answer in a line, for lists and people."""
        return self.label

    def to_json(self) -> dict[str, JsonValue]:
        """Write the output as the `output` object of an event.

        Returns:
            A JSON object with `task`, `label` and `scores`.
        """
        return {"task": "classification", "label": self.label, "scores": dict(self.scores)}


@dataclass(frozen=True, slots=True)
class Regression:
    """A number; two agree if they differ by no more than the first one's tolerance (the loss `within_tolerance`).

    Attributes:
        value: The answer, finite.
        low: Lower end of the interval that covers the truth with the pack's level; None: no interval is known.
        high: Its upper end; None likewise.
        tolerance: The largest error that is good enough, as the pack declares it, in the unit of the answer.
        unit: Of value, interval and tolerance; empty: none.
    """

    value: float
    low: float | None
    high: float | None
    tolerance: float
    unit: str = ""

    @property
    def told(self) -> str:
        """The number with its unit, for lists and people."""
        return f"{self.value:.6g} {self.unit}".strip()

    def to_json(self) -> dict[str, JsonValue]:
        """Write the output as the `output` object of an event.

        Returns:
            A JSON object with `task`, `value`, `low` and `high` (both null without an interval), `tolerance`, `unit`.
        """
        return {
            "task": "regression",
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "tolerance": self.tolerance,
            "unit": self.unit,
        }


@dataclass(frozen=True, slots=True)
class Detection:
    """Boxes; two agree if these can be paired by label and overlap, none left over (the loss `matched_boxes`).

    Attributes:
        boxes: At most `MAX_BOXES`, the highest score first; empty: nothing was found.
        units: Of all coordinates, one of `BOX_UNITS`.
        iou: The least overlap (intersection over union) that is good enough, as the pack declares it.
    """

    boxes: tuple[Box, ...]
    units: str
    iou: float

    @property
    def told(self) -> str:
        """How many boxes of which label, for lists and people, with a mark that tells equal counts apart."""
        if not self.boxes:
            return NOTHING_FOUND
        counts = Counter(" ".join(box.label.split()) for box in self.boxes)
        words = ", ".join(f"{count} {label}" for label, count in counts.items())
        mark = hashlib.sha256(repr([tuple(box) for box in self.boxes]).encode()).hexdigest()[:_MARK_CHARS]
        room = MAX_LABEL_CHARS - _MARK_CHARS - len(" []")
        return f"{words if len(words) <= room else words[: room - 1] + '…'} [{mark}]"

    def to_json(self) -> dict[str, JsonValue]:
        """Write the output as the `output` object of an event.

        Returns:
            A JSON object with `task`, `units`, `iou` and `boxes`: `label`, `score`, `x0`, `y0`, `x1`, `y1` of each.
        """
        return {
            "task": "detection",
            "units": self.units,
            "iou": self.iou,
            "boxes": [dict(box._asdict()) for box in self.boxes],
        }


@dataclass(frozen=True, slots=True)
class Text:
    """A text; two agree if they are equal but for white space around them (the loss `exact`).

    Attributes:
        text: The answer.
    """

    text: str

    @property
    def told(self) -> str:
        """The text in one line, cut to the length of a label."""
        return " ".join(self.text.split())[:MAX_LABEL_CHARS]

    def to_json(self) -> dict[str, JsonValue]:
        """Write the output as the `output` object of an event.

        Returns:
            A JSON object with `task` and `text`.
        """
        return {"task": "text", "text": self.text}


@dataclass(frozen=True, slots=True)
class RawTensors:
    """A model's outputs as they are; nobody can say whether two agree (the loss `none`).

    Attributes:
        tensors: One for each declared output, in order, of one window: without the batch's axis.
    """

    tensors: tuple[Tensor, ...]

    @property
    def told(self) -> str:
        """Names and forms of the tensors, cut to the length of a label."""
        forms = (f"{one.name} {one.datatype} {list(one.shape)}" for one in self.tensors)
        return ", ".join(forms)[:MAX_LABEL_CHARS]

    def to_json(self) -> dict[str, JsonValue]:
        """Write the output as the `output` object of an event.

        Returns:
            A JSON object with `task` and `tensors`; the data of each is Base64 of its raw little-endian bytes.
        """
        return {
            "task": "tensor",
            "tensors": [
                {
                    "name": one.name,
                    "datatype": one.datatype,
                    "shape": list(one.shape),
                    "data": base64.b64encode(one.data).decode("ascii"),
                }
                for one in self.tensors
            ],
        }


Output: TypeAlias = Classification | Regression | Detection | Text | RawTensors
"""Any output."""


def agree(first: Output | None, second: Output | None) -> bool | None:
    """Tell whether two answers to one window say the same, by their task's loss.

    Args:
        first: The answer whose tolerance (or least overlap) counts: the edge's.
        second: The other.

    Returns:
        Whether they agree; None where one of them is no answer, or nobody can tell: raw tensors, boxes in other units.
    """
    if isinstance(first, Classification) and isinstance(second, Classification):
        return first.label == second.label
    if isinstance(first, Regression) and isinstance(second, Regression):
        return abs(first.value - second.value) <= first.tolerance
    if isinstance(first, Detection) and isinstance(second, Detection):
        return are_paired(first.boxes, second.boxes, first.iou) if first.units == second.units else None
    if isinstance(first, Text) and isinstance(second, Text):
        return first.text.strip() == second.text.strip()
    return None


def spoken(label: str, like: Output | None, said: Sequence[Output | None] = ()) -> Output | None:
    """Make an output of what a person says of a window.

    Args:
        label: What they said is right.
        like: What a model answered there; None: it could not, or it is not known.
        said: What others answered since, oldest first.

    Returns:
        An answer of the same task, certain; None if what they said is no such answer (no number, a text as long as a
        label may be, which was cut, boxes that no model drew, or raw tensors, which nobody can say). Who calls a
        model's answer right, by what it `told`, means the whole of it.
    """
    given = [output for output in (like, *said) if output is not None]
    like = given[0] if given else None
    meant = next((output for output in given if output.told == label), None)
    if isinstance(like, Regression):
        return replace(meant, low=None, high=None) if isinstance(meant, Regression) else _number(label, like)
    if isinstance(like, RawTensors):
        return None
    if isinstance(like, Text):
        return meant or (Text(label) if len(label) < MAX_LABEL_CHARS else None)
    if isinstance(like, Detection):
        return meant or (replace(like, boxes=()) if label == NOTHING_FOUND else None)
    return Classification(label, {label: 1.0})


def _number(label: str, like: Regression) -> Regression | None:
    try:
        value = float(label.removesuffix(like.unit))
    except ValueError:
        return None
    return Regression(value, None, None, like.tolerance, like.unit) if abs(value) <= LARGEST_NUMBER else None


def from_json(value: JsonValue) -> Output:
    """Read an `output` object strictly.

    Args:
        value: A parsed JSON value from a peer or a file.

    Returns:
        The output.

    Raises:
        OutputError: It is no output of a known task; every problem is listed.
    """
    problems: list[str] = []
    table = Table(value, "output", problems)
    task = table.text("task", choices=_READERS)
    output = _READERS[task](table, problems) if not problems else None
    if output is None or problems:
        raise OutputError("; ".join(problems))
    return output


def _classification(table: Table, problems: list[str]) -> Output | None:
    label = table.text("label", pattern=rf".{{1,{MAX_LABEL_CHARS}}}")
    scores = table.numbers("scores", low=0.0, high=1.0)
    table.finish()
    if len(scores) > MAX_LABELS:
        table.note("scores", f"at most {MAX_LABELS} labels")
    if not problems and label not in scores:
        table.note("label", f"{label!r} has no score")
    return None if problems else Classification(label, scores)


def _regression(table: Table, problems: list[str]) -> Output | None:
    ends = {key: table.has(key) for key in ("low", "high")}
    low, high = (table.number(key, -LARGEST_NUMBER, LARGEST_NUMBER) if known else None for key, known in ends.items())
    answer = Regression(
        value=table.number("value", -LARGEST_NUMBER, LARGEST_NUMBER),
        low=low,
        high=high,
        tolerance=table.number("tolerance", 0.0, LARGEST_NUMBER),
        unit=table.text("unit", rf".{{0,{MAX_UNIT_CHARS}}}"),
    )
    table.finish()
    if problem := interval_problem(answer):
        table.note("low", problem)
    return None if problems else answer


def interval_problem(answer: Regression) -> str | None:
    """Tell what is wrong with an answer's interval; None: nothing."""
    if answer.low is None or answer.high is None:
        return None if answer.low is answer.high else "both ends of an interval, or none"
    is_around = answer.low <= answer.value <= answer.high
    return None if is_around else "an interval's ends lie on both sides of its value"


def _detection(table: Table, problems: list[str]) -> Output | None:
    answer = Detection(
        boxes=tuple(_box(item) for item in table.tables("boxes")),
        units=table.text("units", choices=BOX_UNITS),
        iou=table.number("iou", 0.0, 1.0),
    )
    table.finish()
    if not problems and (problem := boxes_problem(answer)):
        table.note("boxes", problem)
    return None if problems else answer


def _box(table: Table) -> Box:
    label = table.text("label", rf".{{1,{MAX_LABEL_CHARS}}}")
    edges = (table.number(key, -LARGEST_COORDINATE, LARGEST_COORDINATE) for key in ("x0", "y0", "x1", "y1"))
    box = Box(label, table.number("score", 0.0, 1.0), *edges)
    table.finish()
    return box


def boxes_problem(answer: Detection) -> str | None:
    """Tell what is wrong with an answer's boxes; None: nothing."""
    if len(answer.boxes) > MAX_BOXES:
        return f"at most {MAX_BOXES} boxes, not {len(answer.boxes)}"
    if any(not (box.x0 < box.x1 and box.y0 < box.y1) for box in answer.boxes):
        return "of a box x0 is below x1, and y0 below y1"
    if any(not max(map(abs, box[2:])) <= LARGEST_COORDINATE for box in answer.boxes):
        return f"coordinates reach {LARGEST_COORDINATE:g} at most"
    return None


def _text(table: Table, problems: list[str]) -> Output | None:
    text = table.text("text")
    table.finish()
    if len(text) > MAX_TEXT_CHARS:
        table.note("text", f"at most {MAX_TEXT_CHARS} characters")
    return None if problems else Text(text)


def _tensors(table: Table, problems: list[str]) -> Output | None:
    found = [one for one in (_tensor(item) for item in table.tables("tensors")) if one is not None]
    table.finish()
    if not problems and (problem := tensors_problem(found)):
        table.note("tensors", problem)
    return None if problems else RawTensors(tuple(found))


def tensors_problem(tensors: list[Tensor]) -> str | None:
    """Tell why tensors are too many or too large for one answer; None: they are not."""
    if not 1 <= len(tensors) <= MAX_TENSORS:
        return f"1 to {MAX_TENSORS} tensors"
    size_bytes = sum(len(one.data) for one in tensors)
    return None if size_bytes <= MAX_RAW_BYTES else f"at most {MAX_RAW_BYTES} bytes in all, not {size_bytes}"


def _tensor(table: Table) -> Tensor | None:
    name = table.text("name", rf".{{1,{MAX_NAME_CHARS}}}")
    datatype = table.text("datatype", choices=DATATYPES)
    shape = table.integers("shape")
    text = table.text("data")
    table.finish()
    try:
        return Tensor(name, datatype, shape, base64.b64decode(text, validate=True))
    except (TensorError, binascii.Error, ValueError) as error:
        table.note("data", str(error))
        return None


_READERS: Final[dict[str, Callable[[Table, list[str]], Output | None]]] = {
    "classification": _classification,
    "regression": _regression,
    "detection": _detection,
    "text": _text,
    "tensor": _tensors,
}
