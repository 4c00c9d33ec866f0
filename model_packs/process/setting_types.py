"""Owns how the annotation of a config field maps to TOML: what it takes, and how that is called in a message."""

import dataclasses
import difflib
import enum
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NewType, Union, get_args, get_origin, get_type_hints

Hint = Any
"""A field's annotation; typing gives annotations no narrower type."""

TomlValue = Any
"""What tomllib returns for a key, or what a field holds."""

_SCALAR_NAMES: dict[Hint, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    Path: "a path (a string)",
}


class WrongTypeError(ValueError):
    """A TOML value does not fit its field; the caller adds where.

    Args:
        expected: What the field takes, for a person.
        nearest: The allowed value that it most resembles.
    """

    def __init__(self, expected: str, nearest: str | None = None) -> None:
        super().__init__(expected)
        self.expected = expected
        self.nearest = nearest


class Kind(enum.Enum):
    """The forms that a field can take in TOML."""

    SCALAR = enum.auto()
    ARRAY = enum.auto()
    NAMED_VALUES = enum.auto()
    TABLE = enum.auto()
    TABLES = enum.auto()
    NAMED_TABLES = enum.auto()


@dataclass(frozen=True, slots=True)
class Shape:
    """What one config field takes.

    Attributes:
        name: The key.
        kind: Its form in TOML.
        item_type: The scalar's type, or the dataclass of the table(s).
        is_optional: The annotation allows None.
        doc: Documentation from `setting`.
        example: Example from `setting`.
        default: Makes the default; raises if the field is required.
        is_required: There is no default.
        is_shown: The sample shows its example although there is a default.
    """

    name: str
    kind: Kind
    item_type: Hint
    is_optional: bool
    doc: str
    example: TomlValue
    default: Callable[[], TomlValue]
    is_required: bool
    is_shown: bool

    @property
    def is_table(self) -> bool:
        """The items are dataclasses."""
        return self.kind in (Kind.TABLE, Kind.TABLES, Kind.NAMED_TABLES)

    def holds(self, value: TomlValue) -> bool:
        """Tell whether a value has the field's outer form; scalars are checked by `scalar`.

        Args:
            value: What tomllib returned.

        Returns:
            True if the items inside can be looked at.
        """
        if self.kind is Kind.SCALAR:
            return True
        if self.kind in (Kind.ARRAY, Kind.TABLES):
            return isinstance(value, list) and not (self.is_table and any(not isinstance(item, dict) for item in value))
        is_nested = self.kind is Kind.NAMED_TABLES
        return isinstance(value, dict) and not (is_nested and any(not isinstance(v, dict) for v in value.values()))

    @property
    def says(self) -> str:
        """What the field takes, for a person."""
        if self.kind is Kind.TABLE:
            return "a table"
        if self.kind is Kind.TABLES:
            return f"an array of tables ([[{self.name}]])"
        if self.kind is Kind.NAMED_TABLES:
            return f"a table of tables ([{self.name}.<name>])"
        inner = says_scalar(self.item_type)
        if self.kind is Kind.ARRAY:
            return f"an array, each item {inner}"
        return f"a table, each value {inner}" if self.kind is Kind.NAMED_VALUES else inner


def field_shapes(config: type[Any]) -> dict[str, Shape]:
    """Read a config dataclass's fields.

    Args:
        config: The dataclass.

    Returns:
        The shapes by key, in order of declaration.

    Raises:
        TypeError: It is no dataclass, or an annotation has no TOML form (a mistake of the program, not of its user).
    """
    if not dataclasses.is_dataclass(config):
        raise TypeError(f"{config!r} is no dataclass")
    hints = get_type_hints(config)
    return {field.name: _shape(field, hints[field.name]) for field in dataclasses.fields(config) if field.init}


def _shape(field: dataclasses.Field[Any], hint: Hint) -> Shape:
    inner, is_optional = _without_none(hint)
    kind, item_type = _kind(inner)
    required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    factory = field.default_factory
    return Shape(
        name=field.name,
        kind=kind,
        item_type=item_type,
        is_optional=is_optional,
        doc=str(field.metadata.get("doc", "")),
        example=field.metadata.get("example"),
        default=(lambda: field.default) if factory is dataclasses.MISSING else factory,
        is_required=required,
        is_shown=bool(field.metadata.get("is_shown", False)),
    )


def _without_none(hint: Hint) -> tuple[Hint, bool]:
    origin: Hint = get_origin(hint)
    if origin in (Union, types.UnionType):
        rest = [part for part in get_args(hint) if part is not types.NoneType]
        if len(rest) != 1:
            raise TypeError(f"a setting takes one type or None, not {hint!r}")
        return rest[0], True
    return hint, False


def _kind(hint: Hint) -> tuple[Kind, Hint]:
    origin: Hint = get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return Kind.TABLE, hint
    if origin is tuple:
        item, *rest = get_args(hint)
        if rest != [...]:
            raise TypeError(f"a setting takes tuple[X, ...], not {hint!r}")
        return (Kind.TABLES if dataclasses.is_dataclass(item) else Kind.ARRAY), item
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        item = get_args(hint)[1]
        return (Kind.NAMED_TABLES if dataclasses.is_dataclass(item) else Kind.NAMED_VALUES), item
    says_scalar(hint)
    return Kind.SCALAR, hint


def says_scalar(hint: Hint) -> str:
    """Name a scalar type for a person.

    Args:
        hint: str, int, float, bool, Path, an Enum class, a Literal or a NewType of one of these.

    Returns:
        A phrase that fits after "expected".

    Raises:
        TypeError: The annotation has no TOML form.
    """
    plain = _plain(hint)
    if plain in _SCALAR_NAMES:
        return _SCALAR_NAMES[plain]
    return "one of " + ", ".join(f'"{choice}"' for choice in _choices(plain))


def scalar(hint: Hint, value: TomlValue) -> TomlValue:
    """Check and convert one TOML scalar.

    Args:
        hint: The field's annotation.
        value: What tomllib returned.

    Returns:
        The value as the field's type; integers are taken for floats, strings for paths and enums.

    Raises:
        WrongTypeError: It does not fit.
    """
    plain = _plain(hint)
    if plain not in _SCALAR_NAMES:
        choices = _choices(plain)
        if isinstance(value, bool) or value not in choices:
            near = difflib.get_close_matches(str(value), [str(choice) for choice in choices], n=1)
            raise WrongTypeError(says_scalar(hint), near[0] if near else None)
        return plain(value) if isinstance(plain, type) else value
    is_fit = {
        str: isinstance(value, str),
        Path: isinstance(value, str),
        bool: isinstance(value, bool),
        int: isinstance(value, int) and not isinstance(value, bool),
        float: isinstance(value, int | float) and not isinstance(value, bool),
    }[plain]
    if not is_fit:
        raise WrongTypeError(says_scalar(hint))
    return plain(value)


def _plain(hint: Hint) -> Hint:
    while isinstance(hint, NewType):
        hint = hint.__supertype__
    return hint


def _choices(hint: Hint) -> tuple[Any, ...]:
    origin: Hint = get_origin(hint)
    if origin is Literal:
        return get_args(hint)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return tuple(member.value for member in hint)
    raise TypeError(f"a setting cannot be a {hint!r}")
