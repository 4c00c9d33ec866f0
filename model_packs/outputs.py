"""Owns tagged outputs: what a model answered, in a form that prediction events, verdicts and revisions share.

A task is one class here and one entry in `_READERS`, with its rule of agreement: whether two answers to one window say
the same, as the pack's `agreement_loss` counts it. Confidence is not part of an output (`scoring.py` computes it
beside).
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

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

LARGEST_NUMBER: Final = 1e300


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


Output: TypeAlias = Classification | Regression | Text | RawTensors
"""Any output."""


def agree(first: Output | None, second: Output | None) -> bool | None:
    """Tell whether two answers to one window say the same, by their task's loss.

    Args:
        first: The answer whose tolerance counts: the edge's.
        second: The other.

    Returns:
        Whether they agree; None where one of them is no answer, or nobody can tell.
    """
    if isinstance(first, Classification) and isinstance(second, Classification):
        return first.label == second.label
    if isinstance(first, Regression) and isinstance(second, Regression):
        return abs(first.value - second.value) <= first.tolerance
    if isinstance(first, Text) and isinstance(second, Text):
        return first.text.strip() == second.text.strip()
    return None


def spoken(label: str, like: Output | None) -> Output | None:
    """Make an output of what a person says of a window.

    Args:
        label: What they said is right.
        like: What a model answered there; None: it could not, or it is not known.

    Returns:
        An answer of the same task, certain; None if what they said is no such answer (no number, a text as long as a
        label may be, which was cut, or raw tensors, which nobody can say). Who calls the model's answer right, by what
        it `told`, means the whole of it.
    """
    if isinstance(like, RawTensors):
        return None
    if isinstance(like, Text):
        return like if label == like.told else Text(label) if len(label) < MAX_LABEL_CHARS else None
    if not isinstance(like, Regression):
        return Classification(label, {label: 1.0})
    if label == like.told:
        return replace(like, low=None, high=None)
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
    "text": _text,
    "tensor": _tensors,
}
