"""Owns tagged outputs: what a model answered, in a form that prediction events, verdicts and revisions share.

A task is one class here and one entry in `_READERS`; `classification` is the first. Confidence is not part of an
output (`scoring.py` computes it beside).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from model_packs.errors import OutputError
from model_packs.strict_json import JsonValue, Table

MAX_LABELS: Final = 10_000
MAX_LABEL_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Classification:
    """One label of a fixed set.

    Attributes:
        label: The answer.
        scores: Probability by label, in the order of the pack's labels.
    """

    label: str
    scores: Mapping[str, float] = field(hash=False)

    def to_json(self) -> dict[str, JsonValue]:
        """Write the output as the `output` object of an event.

        Returns:
            A JSON object with `task`, `label` and `scores`.
        """
        return {"task": "classification", "label": self.label, "scores": dict(self.scores)}


Output: TypeAlias = Classification
"""Any output; becomes a union as tasks are added."""


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


_READERS: Final[dict[str, Callable[[Table, list[str]], Output | None]]] = {"classification": _classification}
