"""Owns finding the line of a key in a TOML text (tomllib does not say); a scan of headers and `key =` lines."""

import re

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[\w-]+|"([^"]*)"|'([^']*)'""")
_TRIPLES = ('"""', "'''")


class KeyLines:
    """The lines of a TOML text's keys and table headers.

    Args:
        text: The TOML text; it should parse, or lines may be missing.
    """

    def __init__(self, text: str) -> None:
        self._lines: dict[str, int] = {}
        counts: dict[str, int] = {}
        table = ""
        open_string: str | None = None
        for number, line in enumerate(text.splitlines(), start=1):
            if open_string is not None:
                open_string = None if open_string in line else open_string
                continue
            if header := _HEADER.match(line):
                table = self._resolve(_parts(header[2]), counts, is_array=header[1] == "[[")
                self._lines.setdefault(table, number)
            elif key := _KEY.match(line):
                self._lines.setdefault(".".join(filter(None, [table, *_parts(key[1])])), number)
                open_string = next((mark for mark in _TRIPLES if line.count(mark) == 1), None)

    def find(self, key_path: str) -> int | None:
        """Find the line of a key, or of the nearest table around it.

        Args:
            key_path: Dotted path with `[index]` for arrays of tables.

        Returns:
            The line number from 1; None when neither it nor a table around it stands in the text.
        """
        path = key_path
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return None

    @staticmethod
    def _resolve(parts: list[str], counts: dict[str, int], *, is_array: bool) -> str:
        path = ""
        for index, part in enumerate(parts):
            path = f"{path}.{part}" if path else part
            if is_array and index == len(parts) - 1:
                counts[path] = counts.get(path, -1) + 1
            if path in counts:
                path = f"{path}[{counts[path]}]"
        return path


def _parts(dotted: str) -> list[str]:
    return [match[1] or match[2] or match[0] for match in _PART.finditer(dotted)]
