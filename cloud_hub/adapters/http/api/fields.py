"""Owns how input of the HTTP API is declared, read strictly, and described: one declaration gives both.

A body is a JSON object of fields; a query is the same as text. Unknown keys are refused, and all problems of an input
are told at once. What an operation does with it is `routes.py` and the modules beside.
"""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cloud_hub.errors import InputProblem, RequestInvalidError
from model_packs.strict_json import parse

Schema = dict[str, Any]
"""A JSON Schema (draft 2020-12)."""

_MAX_SHOWN_CHARS = 60
_WHOLE = re.compile(r"-?\d{1,18}")
_FLAGS = {"true": True, "false": False}


class NotThisError(Exception):
    """A value is not what its field takes; says what is expected instead."""


class Kind(Protocol):
    """What a field takes."""

    def schema(self) -> Schema:
        """Describe it."""

    def read(self, value: object, at: str, problems: list[InputProblem]) -> object:
        """Read a parsed JSON value; raises NotThisError, or adds problems of its parts."""

    def from_text(self, text: str) -> object:
        """Turn a query's text into what `read` takes."""


@dataclass(frozen=True, slots=True)
class Text:
    """A string of some length.

    Attributes:
        pattern: A regular expression that both Python and ECMA-262 read alike; all of it must match.
        pattern_said: The same in words.
    """

    most: int
    least: int = 1
    pattern: str = ""
    pattern_said: str = ""
    is_nullable: bool = False

    def schema(self) -> Schema:
        """Describe it."""
        kind: str | list[str] = ["string", "null"] if self.is_nullable else "string"
        bounds: Schema = {"type": kind, "minLength": self.least, "maxLength": self.most}
        return bounds | ({"pattern": f"^(?:{self.pattern})$"} if self.pattern else {})

    def read(self, value: object, _at: str, _problems: list[InputProblem]) -> object:
        """Take a string."""
        if value is None and self.is_nullable:
            return None
        if not isinstance(value, str) or not self.least <= len(value) <= self.most:
            or_null = " or null" if self.is_nullable else ""
            raise NotThisError(f"expected text of {self.least} to {self.most} characters{or_null}")
        if not _is_unicode(value):
            raise NotThisError("expected text: half of a surrogate pair stands in it")
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise NotThisError(f"expected {self.pattern_said}")
        return value

    def from_text(self, text: str) -> object:
        """Take it as it is."""
        return text


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number within bounds."""

    least: int
    most: int

    def schema(self) -> Schema:
        """Describe it."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}

    def read(self, value: object, _at: str, _problems: list[InputProblem]) -> object:
        """Take an integer."""
        if isinstance(value, bool) or not isinstance(value, int) or not self.least <= value <= self.most:
            raise NotThisError(f"expected a whole number from {self.least} to {self.most}")
        return value

    def from_text(self, text: str) -> object:
        """Take digits."""
        return int(text) if _WHOLE.fullmatch(text) else text


@dataclass(frozen=True, slots=True)
class Number:
    """A number above a bound, at most another."""

    above: float
    most: float

    def schema(self) -> Schema:
        """Describe it."""
        return {"type": "number", "exclusiveMinimum": self.above, "maximum": self.most}

    def read(self, value: object, _at: str, _problems: list[InputProblem]) -> object:
        """Take a number."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.above < value <= self.most:
            raise NotThisError(f"expected a number above {self.above:g}, at most {self.most:g}")
        return float(value)

    def from_text(self, text: str) -> object:
        """Take a decimal number."""
        try:
            number = float(text)
        except ValueError:
            return text
        return number if math.isfinite(number) else text


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    def schema(self) -> Schema:
        """Describe it."""
        return {"type": "boolean"}

    def read(self, value: object, _at: str, _problems: list[InputProblem]) -> object:
        """Take a boolean."""
        if not isinstance(value, bool):
            raise NotThisError("expected true or false")
        return value

    def from_text(self, text: str) -> object:
        """Take the JSON word."""
        return _FLAGS.get(text, text)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words."""

    words: Sequence[str]

    def schema(self) -> Schema:
        """Describe it."""
        return {"type": "string", "enum": list(self.words)}

    def read(self, value: object, _at: str, _problems: list[InputProblem]) -> object:
        """Take one of the words."""
        if not isinstance(value, str) or value not in self.words:
            raise NotThisError(f"expected one of {', '.join(self.words)}")
        return value

    def from_text(self, text: str) -> object:
        """Take it as it is."""
        return text


@dataclass(frozen=True, slots=True)
class Field:
    """One key of an input."""

    name: str
    kind: Kind
    doc: str
    is_required: bool = False
    default: object = None


@dataclass(frozen=True, slots=True)
class Group:
    """An object with known keys."""

    fields: Sequence[Field]

    def schema(self) -> Schema:
        """Describe it."""
        return {
            "type": "object",
            "additionalProperties": False,
            "required": [one.name for one in self.fields if one.is_required],
            "properties": {one.name: {**one.kind.schema(), "description": one.doc} for one in self.fields},
        }

    def read(self, value: object, at: str, problems: list[InputProblem]) -> object:
        """Take an object; every problem of its keys is noted."""
        if not isinstance(value, Mapping):
            raise NotThisError("expected an object")
        known = {one.name: one for one in self.fields}
        for key in value.keys() - known.keys():
            near = difflib.get_close_matches(key, known, n=1)
            hint = f': did you mean "{near[0]}"?' if near else f": it takes {', '.join(known) or 'nothing'}"
            shown = ascii(key[:_MAX_SHOWN_CHARS])[1:-1] if not _is_unicode(key) else key[:_MAX_SHOWN_CHARS]
            problems.append(InputProblem(_within(at, shown), f"is not known{hint}"))
        return {name: _read_field(one, value, at, problems) for name, one in known.items()}

    def from_text(self, text: str) -> object:
        """No query holds an object."""
        return text


@dataclass(frozen=True, slots=True)
class Items:
    """A list of objects with the same keys."""

    group: Group
    least: int
    most: int

    def schema(self) -> Schema:
        """Describe it."""
        return {"type": "array", "minItems": self.least, "maxItems": self.most, "items": self.group.schema()}

    def read(self, value: object, at: str, problems: list[InputProblem]) -> object:
        """Take a list; every problem of its entries is noted."""
        if not isinstance(value, list) or not self.least <= len(value) <= self.most:
            raise NotThisError(f"expected a list of {self.least} to {self.most} entries")
        entries: list[object] = []
        for number, one in enumerate(value):
            place = f"{at}[{number}]"
            try:
                entries.append(self.group.read(one, place, problems))
            except NotThisError as wrong:
                problems.append(InputProblem(place, str(wrong)))
        return entries

    def from_text(self, text: str) -> object:
        """No query holds a list."""
        return text


@dataclass(frozen=True, slots=True)
class Input:
    """What an operation got: values by name, as their fields declare them."""

    values: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - the declared kind of each field says what it is
        return self.values[name]


def read_body(group: Group, data: bytes, max_bytes: int) -> Input:
    """Read a JSON body.

    Args:
        group: What it may hold.
        data: As it came; empty stands for an object without keys.
        max_bytes: Most bytes of it.

    Returns:
        The values.

    Raises:
        RequestInvalidError: It is no JSON, or has problems: all of them.
    """
    try:
        value = parse(data or b"{}", max_bytes)
    except ValueError as error:
        raise RequestInvalidError((InputProblem("body", f"is no JSON that can be read: {error}"),)) from error
    return _read(group, value, "body")


def read_query(group: Group, pairs: Sequence[tuple[str, str]]) -> Input:
    """Read a query.

    Args:
        group: What it may hold.
        pairs: Names and texts as they came.

    Returns:
        The values.

    Raises:
        RequestInvalidError: It has problems: all of them.
    """
    kinds = {one.name: one.kind for one in group.fields}
    texts = {name: kinds[name].from_text(text) if name in kinds else text for name, text in pairs}
    twice = tuple(
        InputProblem(name, "stands twice in the query") for name in texts if sum(name == key for key, _ in pairs) > 1
    )
    if twice:
        raise RequestInvalidError(twice)
    return _read(group, texts, "query")


def _read(group: Group, value: object, where: str) -> Input:
    problems: list[InputProblem] = []
    try:
        values = group.read(value, "", problems)
    except NotThisError as wrong:
        raise RequestInvalidError((InputProblem(where, str(wrong)),)) from wrong
    if problems:
        raise RequestInvalidError(tuple(sorted(problems, key=lambda one: one.at)))
    return Input(values) if isinstance(values, Mapping) else Input()


def _read_field(one: Field, value: Mapping[str, object], at: str, problems: list[InputProblem]) -> object:
    place = _within(at, one.name)
    if one.name not in value:
        if one.is_required:
            problems.append(InputProblem(place, f"is missing: {one.doc}"))
        return one.default
    try:
        return one.kind.read(value[one.name], place, problems)
    except NotThisError as wrong:
        problems.append(InputProblem(place, str(wrong)))
        return one.default


def _is_unicode(text: str) -> bool:
    """Whether it can be written down: JSON may escape half of a surrogate pair, which is no character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _within(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name
