"""Owns writing the commented sample of a config file from the dataclasses that declare it."""

import enum
import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_packs.process.setting_types import Kind, Shape, field_shapes

_COMMENT_WIDTH = 98
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_VALUES = frozenset({Kind.SCALAR, Kind.ARRAY, Kind.NAMED_VALUES})


def sample_toml(config: type[Any]) -> str:
    """Write the sample: required (and shown) keys with their example, optional ones commented out with their default.

    Args:
        config: The dataclass that declares the file.

    Returns:
        TOML text that loads as it stands, and also with every `#key = value` line uncommented.

    Raises:
        TypeError: A key without a default has no example (a mistake of the program).
    """
    return "\n".join(_table(config, "", is_live=True)).strip() + "\n"


def _table(config: type[Any], at: str, *, is_live: bool) -> list[str]:
    shapes = list(field_shapes(config).values())
    lines: list[str] = []
    for shape in (shape for shape in shapes if shape.kind in _VALUES):
        lines += [*_comment(shape.doc), _assignment(shape, is_live=is_live), ""]
    for shape in (shape for shape in shapes if shape.kind not in _VALUES):
        lines += _section(shape, at, is_live=is_live)
    return lines


def _section(shape: Shape, at: str, *, is_live: bool) -> list[str]:
    path = f"{at}.{shape.name}" if at else shape.name
    is_shown = is_live and (shape.is_required or shape.example is not None or _has_plain_default(shape))
    if shape.kind is Kind.TABLES:
        header = f"[[{path}]]"
    elif shape.kind is Kind.NAMED_TABLES:
        path = f"{path}.{_key(str(shape.example or 'name'))}"
        header = f"[{path}]"
    else:
        header = f"[{path}]"
    return [
        *_comment(shape.doc),
        header if is_shown else f"#{header}",
        *_table(shape.item_type, path, is_live=is_shown),
    ]


def _has_plain_default(shape: Shape) -> bool:
    """A table that is there anyway may have its header shown; one that is absent by default must not appear."""
    return shape.kind is Kind.TABLE and not shape.is_required and shape.default() is not None


def _assignment(shape: Shape, *, is_live: bool) -> str:
    default = None if shape.is_required else shape.default()
    shown = shape.example if shape.example is not None and not default else default
    if shown is None:
        raise TypeError(f"the setting {shape.name} has no default and needs an example for the sample file")
    line = f"{shape.name} = {to_toml(shown)}"
    return line if is_live and (shape.is_required or shape.is_shown) else f"#{line}"


def to_toml(value: object) -> str:
    """Write a value as TOML.

    Args:
        value: A string, number, boolean, path, enum member, sequence or mapping of these.

    Returns:
        The text after `key = `.

    Raises:
        TypeError: TOML has no such value.
    """
    if isinstance(value, enum.Enum):
        return to_toml(value.value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(to_toml(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(str(key))} = {to_toml(item)}" for key, item in value.items()) + " }"
    raise TypeError(f"TOML has no {type(value).__name__}")


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else to_toml(key)


def _comment(doc: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(doc, _COMMENT_WIDTH)]
