"""Owns putting what a command measured between two marks of a page of docs/: the words around it stay."""

from pathlib import Path
from typing import Final

PERFORMANCE: Final = Path(__file__).parents[2] / "docs" / "performance.md"


def put(page: Path, command: str, text: str) -> None:
    """Replace what a command wrote last.

    Args:
        page: The page.
        command: Named by the marks, as `<!-- begin: make chaos -->`.
        text: Markdown.

    Raises:
        ValueError: The page has no such marks.
    """
    begin, end = f"<!-- begin: {command} -->", f"<!-- end: {command} -->"
    found = page.read_text(encoding="utf-8")
    before, has_begin, rest = found.partition(begin)
    _, has_end, after = rest.partition(end)
    if not has_begin or not has_end:
        raise ValueError(f"{page}: put the lines {begin} and {end} where the table belongs")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
