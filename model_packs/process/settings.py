"""Owns reading a TOML file into frozen dataclasses, and telling every mistake in it at once.

The dataclasses are the schema: field names are the keys, annotations are the types, `setting(...)` carries the
documentation. Programs declare them in their `config.py`; environment variables are theirs, too.
How types map to TOML is `setting_types.py`; where a key stands in a file is `toml_lines.py`; the sample file is
`toml_sample.py`.
"""

import dataclasses
import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from model_packs.process.exits import CliError, Exit
from model_packs.process.setting_types import Hint, Kind, Shape, TomlValue, WrongTypeError, field_shapes, scalar
from model_packs.process.toml_lines import KeyLines
from model_packs.process.toml_sample import sample_toml as sample_toml  # noqa: PLC0414 - the surface others import from

ConfigT = TypeVar("ConfigT")

_MAX_FILE_BYTES = 1 << 20
_MAX_SHOWN_CHARS = 40
_ABSENT_MEND = "write it first (the program's init command makes a commented one) or name another with --config"

FieldDefault = Any
"""Any field's default, for type checkers, as `dataclasses.field` returns it."""


@runtime_checkable
class Validated(Protocol):
    """A config dataclass that checks what types cannot say (ranges, combinations)."""

    def validate(self) -> Iterable[tuple[str, str]]:
        """Yield `(key, message)` for each problem; the key is relative to this table."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a config file.

    Attributes:
        file: The file.
        line: Line number from 1 where it could be found, else None.
        key_path: Dotted path of the key (`bindings[0].topic`); empty for the file as a whole.
        message: What is wrong, for a person.
        nearest: The valid key that an unknown one most resembles.
        mend: What to do about it, where that is not to correct the file.
    """

    file: Path
    line: int | None
    key_path: str
    message: str
    nearest: str | None = None
    mend: str | None = None

    def __str__(self) -> str:
        place = str(self.file) if self.line is None else f"{self.file}:{self.line}"
        hint = "" if self.nearest is None else f'; did you mean "{self.nearest}"?'
        return f"{place}: {self.key_path}: {self.message}{hint}" if self.key_path else f"{place}: {self.message}{hint}"


class SettingsError(CliError):
    """A config file that cannot be used; the person who wrote it can mend it.

    Args:
        problems: Every mistake found, in file order where lines are known.
    """

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        files = ", ".join(sorted({str(problem.file) for problem in problems if problem.mend is None}))
        mends = list(dict.fromkeys(problem.mend for problem in problems if problem.mend is not None))
        if files:
            mends.append(f"correct {files} as said above, then run the command again")
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(
            f"{count} in the configuration\n{lines}",
            "; ".join(mends),
            Exit.CONFIG,
        )
        self.problems = problems


def setting(
    default: FieldDefault = dataclasses.MISSING, *, doc: str, example: TomlValue = None, is_shown: bool = False
) -> FieldDefault:
    """Declare a config field: its default, its documentation and an example for the sample file.

    Args:
        default: Value when the key is absent; without it the key is required. A class (a nested dataclass, `dict`) is
            called without arguments to make the default.
        doc: What it means, with its unit; becomes the comment in the sample.
        example: Value shown in the sample; needed for required keys. For a mapping of tables: the example's name; an
            optional table or array of tables is shown live, not commented out, if this is given.
        is_shown: Show the example of an optional value live, not commented out.

    Returns:
        A dataclass field.
    """
    metadata = {"doc": doc, "example": example, "is_shown": is_shown}
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def load_toml(path: Path, config: type[ConfigT], *, absent_mend: str = _ABSENT_MEND) -> ConfigT:
    """Read a TOML file into a config dataclass.

    Relative paths in fields of type `Path` (defaults, too) are taken from the file's own folder.

    Args:
        path: The file.
        config: A frozen dataclass; nested dataclasses are tables, `tuple[Sub, ...]` are arrays of tables,
            `Mapping[str, Sub]` are tables of tables.
        absent_mend: What to do when there is no such file.

    Returns:
        The filled dataclass.

    Raises:
        SettingsError: The file is missing, is no TOML, or has unknown, missing, mistyped or invalid keys (all listed).
    """
    text = _read(path, absent_mend)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError((Problem(path, _line_of(error), "", f"not valid TOML: {error}"),)) from error
    reader = _Reader(path, KeyLines(text))
    value = reader.table(config, table, "")
    if reader.problems:
        ordered = sorted(reader.problems, key=lambda problem: (problem.line is None, problem.line or 0))
        raise SettingsError(tuple(ordered))
    return cast("ConfigT", value)


def _read(path: Path, absent_mend: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
        text = data.decode()
    except FileNotFoundError as error:
        raise SettingsError((Problem(path, None, "", "no such file", mend=absent_mend),)) from error
    except IsADirectoryError as error:
        mend = "name the file in it, not the folder"
        raise SettingsError((Problem(path, None, "", "is a folder", mend=mend),)) from error
    except UnicodeDecodeError as error:
        raise SettingsError((Problem(path, None, "", f"not UTF-8 text: byte {error.start}"),)) from error
    except OSError as error:
        raise SettingsError((Problem(path, None, "", f"cannot be read: {error.strerror}"),)) from error
    if len(data) > _MAX_FILE_BYTES:
        raise SettingsError((Problem(path, None, "", f"larger than {_MAX_FILE_BYTES} bytes"),))
    return text


def _line_of(error: tomllib.TOMLDecodeError) -> int | None:
    _, _, tail = str(error).rpartition("(at line ")
    number = tail.partition(",")[0]
    return int(number) if number.isdigit() else None


class _Reader:
    """Walks a parsed TOML table beside its dataclass and gathers problems instead of raising the first."""

    def __init__(self, path: Path, lines: KeyLines) -> None:
        self._path = path
        self._folder = path.absolute().parent
        self._lines = lines
        self._unreadable = 0  # problems that leave a table without a value; those of `validate` do not
        self.problems: list[Problem] = []

    def table(self, config: type[Any], table: Mapping[str, Any], at: str) -> object | None:
        """Build one dataclass; None when a problem was noted."""
        known_unreadable = self._unreadable
        shapes = field_shapes(config)
        for key in table:
            if key not in shapes:
                near = difflib.get_close_matches(key, shapes, n=1)
                self._note(_join(at, key), "unknown key", nearest=near[0] if near else None)
        values: dict[str, Any] = {}
        for name, shape in shapes.items():
            if name in table:
                values[name] = self._value(shape, table[name], _join(at, name))
            elif shape.is_required:
                self._note(_join(at, name), f"missing; {shape.says} is required")
            else:
                values[name] = self._located(shape.default())
        if self._unreadable > known_unreadable:
            return None
        built = cast("object", config(**values))
        if isinstance(built, Validated):
            for key, message in built.validate():
                path = _join(at, key) if key else at
                self.problems.append(Problem(self._path, self._lines.find(path), path, message))
        return built

    def _value(self, shape: Shape, value: TomlValue, at: str) -> TomlValue:
        if not shape.holds(value):
            self._note(at, f"expected {shape.says}, found {toml_type(value)}")
            return None
        read = partial(self.table if shape.is_table else self._scalar, shape.item_type)
        if shape.kind in (Kind.ARRAY, Kind.TABLES):
            return tuple(read(item, f"{at}[{index}]") for index, item in enumerate(value))
        if shape.kind in (Kind.NAMED_VALUES, Kind.NAMED_TABLES):
            return {key: read(item, _join(at, key)) for key, item in value.items()}
        return read(value, at)

    def _scalar(self, hint: Hint, value: TomlValue, at: str) -> TomlValue:
        try:
            return self._located(scalar(hint, value))
        except WrongTypeError as error:
            self._note(at, f"expected {error.expected}, found {toml_type(value)}", nearest=error.nearest)
            return None

    def _located(self, value: TomlValue) -> TomlValue:
        return self._folder / value if isinstance(value, Path) else value

    def _note(self, at: str, message: str, nearest: str | None = None) -> None:
        self._unreadable += 1
        self.problems.append(Problem(self._path, self._lines.find(at), at, message, nearest))


def toml_type(value: object) -> str:
    """Name a parsed TOML value for a person.

    Args:
        value: What tomllib returned.

    Returns:
        Its type and, for short scalars, the value.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'the string "{value}"' if len(value) <= _MAX_SHOWN_CHARS else "a long string"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, list):
        return "an array"
    return "a table" if isinstance(value, dict) else f"a {type(value).__name__}"


def _join(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key
