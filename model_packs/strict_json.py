"""Owns reading JSON documents strictly: known keys only, exact types, every problem gathered rather than the first.

What a document means is said by the module that reads it (`manifest_reading.py`, `layout.py`).
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

JsonValue = Any
"""What `json.loads` returns; its type is what this module finds out."""

T = TypeVar("T")

_MAX_SHOWN_CHARS = 60


def parse(data: bytes, max_bytes: int) -> JsonValue:
    """Parse untrusted JSON: capped, no duplicate keys, no NaN or Infinity.

    Args:
        data: UTF-8 bytes.
        max_bytes: Refuse more than this.

    Returns:
        The document.

    Raises:
        ValueError: It is no such JSON; the message says why.
    """
    if len(data) > max_bytes:
        raise ValueError(f"{len(data)} bytes; at most {max_bytes} are read")
    try:
        return json.loads(data.decode(), object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def canonical(value: JsonValue) -> bytes:
    """Write JSON in the one form that digests and signatures are taken of.

    Args:
        value: The document, without NaN or Infinity.

    Returns:
        UTF-8 bytes: sorted keys, no white space, shortest float form.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _without_duplicates(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return table


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


class Table:
    """One JSON object under inspection. Readers note problems and return a placeholder of the right type.

    Args:
        value: What should be an object.
        at: Its key path, for messages.
        problems: Where problems are gathered; the caller raises when it is not empty at the end.
    """

    def __init__(self, value: JsonValue, at: str, problems: list[str]) -> None:
        self._at = at
        self._problems = problems
        self._used: set[str] = set()
        self._table: Mapping[str, JsonValue] = value if isinstance(value, dict) else {}
        self._is_absent = not isinstance(value, dict)
        if self._is_absent:
            self.note("", f"must be an object, not {_shown(value)}")

    def note(self, key: str, message: str) -> None:
        """Add a problem.

        Args:
            key: Key in this object; empty for the object itself.
            message: What is wrong.
        """
        path = ".".join(part for part in (self._at, key) if part)
        self._problems.append(f"{path}: {message}" if path else message)

    def has(self, key: str) -> bool:
        """Tell whether an optional key is present and not null; it counts as known either way.

        Args:
            key: The key.

        Returns:
            True if there is something to read.
        """
        self._used.add(key)
        return self._table.get(key) is not None

    def finish(self) -> None:
        """Note every key that nobody asked for."""
        for key in self._table.keys() - self._used:
            self.note(key[:_MAX_SHOWN_CHARS], "unknown key")

    def text(self, key: str, pattern: str = "", choices: Iterable[str] = ()) -> str:
        """Read a string.

        Args:
            key: The key.
            pattern: Regular expression that it must match whole, if given.
            choices: The only values allowed, if given.

        Returns:
            The string, or an empty one after a problem.
        """
        value = self._take(key)
        allowed = tuple(choices)
        if not isinstance(value, str):
            return self._wrong(key, "a string", value, "")
        if pattern and not re.fullmatch(pattern, value):
            return self._wrong(key, f"of the form {pattern}", value, "")
        if allowed and value not in allowed:
            return self._wrong(key, f"one of {', '.join(allowed)}", value, "")
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        """Read an integer within bounds.

        Args:
            key: The key.
            low: Smallest value allowed.
            high: Largest value allowed.

        Returns:
            The integer, or `low` after a problem.
        """
        value = self._take(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            return self._wrong(key, f"an integer from {low} to {high}", value, low)
        return value

    def number(self, key: str, low: float, high: float = math.inf) -> float:
        """Read a finite number within bounds.

        Args:
            key: The key.
            low: Smallest value allowed.
            high: Largest value allowed.

        Returns:
            The number, or `low` after a problem.
        """
        value = self._take(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return self._wrong(key, "a number", value, low)
        if not low <= value <= high:
            return self._wrong(key, f"a number from {low} to {high}", value, low)
        return float(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Read an array of strings.

        Args:
            key: The key.

        Returns:
            The strings, or none after a problem.
        """
        value = self._take(key)
        if not isinstance(value, list) or any(not isinstance(item, str) for item in value):
            return self._wrong(key, "an array of strings", value, ())
        return tuple(value)

    def integers(self, key: str) -> tuple[int, ...]:
        """Read an array of integers.

        Args:
            key: The key.

        Returns:
            The integers, or none after a problem.
        """
        value = self._take(key)
        if not isinstance(value, list) or any(isinstance(i, bool) or not isinstance(i, int) for i in value):
            return self._wrong(key, "an array of integers", value, ())
        return tuple(value)

    def reals(self, key: str, low: float, high: float) -> tuple[float, ...]:
        """Read an array of finite numbers within bounds.

        Args:
            key: The key.
            low: Smallest value allowed.
            high: Largest value allowed.

        Returns:
            The numbers, or none after a problem.
        """
        value = self._take(key)
        is_array = isinstance(value, list) and not any(isinstance(i, bool) for i in value)
        if not is_array or not all(isinstance(i, int | float) and low <= i <= high for i in value):
            return self._wrong(key, f"an array of numbers from {low} to {high}", value, ())
        return tuple(float(i) for i in value)

    def mapping(self, key: str) -> dict[str, str]:
        """Read an object whose values are strings.

        Args:
            key: The key.

        Returns:
            The strings by name, or none after a problem.
        """
        value = self._take(key)
        if not isinstance(value, dict) or any(not isinstance(item, str) for item in value.values()):
            return self._wrong(key, "an object of strings", value, {})
        return dict(value)

    def numbers(self, key: str, low: float, high: float) -> dict[str, float]:
        """Read an object whose values are finite numbers within bounds.

        Args:
            key: The key.
            low: Smallest value allowed.
            high: Largest value allowed.

        Returns:
            The numbers by name, or none after a problem.
        """
        inner = self.table(key)
        return {name: inner.number(name, low, high) for name in inner.names}

    @property
    def names(self) -> tuple[str, ...]:
        """The object's keys, for objects whose keys are names rather than a schema."""
        return tuple(self._table)

    def table(self, key: str) -> "Table":
        """Read an object.

        Args:
            key: The key.

        Returns:
            The object; call its `finish` after reading it.
        """
        return Table(self._take(key), f"{self._at}.{key}" if self._at else key, self._problems)

    def tables(self, key: str) -> tuple["Table", ...]:
        """Read an array of objects.

        Args:
            key: The key.

        Returns:
            The objects; call `finish` of each after reading it.
        """
        value = self._take(key)
        path = f"{self._at}.{key}" if self._at else key
        if not isinstance(value, list):
            return self._wrong(key, "an array of objects", value, ())
        return tuple(Table(item, f"{path}[{index}]", self._problems) for index, item in enumerate(value))

    def _take(self, key: str) -> JsonValue:
        self._used.add(key)
        return self._table.get(key)

    def _wrong(self, key: str, expected: str, found: JsonValue, placeholder: T) -> T:
        if key not in self._table and not self._is_absent:
            self.note(key, f"missing; must be {expected}")
        elif not self._is_absent:
            self.note(key, f"must be {expected}, not {_shown(found)}")
        return placeholder


def _shown(value: JsonValue) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= _MAX_SHOWN_CHARS else text[:_MAX_SHOWN_CHARS] + "…"
