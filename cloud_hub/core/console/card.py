"""Owns how a model card's Markdown is read: into blocks and spans, never into HTML, so nothing in it can be markup.

A small subset: headings, paragraphs, lists, tables, fenced code; emphasis and code inside a line. All else is text.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

MAX_BLOCKS = 400

_HEADING = re.compile(r"(#{1,6})\s+(.*)")
_ITEM = re.compile(r"\s{0,3}[-*]\s+(.*)")
_RULE = re.compile(r"\|?[\s:|-]+\|?")
_SPAN = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*|(?<![*\w])\*([^*]+)\*(?!\w)")
_FENCE = "```"


class BlockKind(StrEnum):
    """What a block is."""

    HEADING = "heading"
    PARAGRAPH = "paragraph"
    LIST = "list"
    TABLE = "table"
    CODE = "code"


class Style(StrEnum):
    """How a piece of a line is set."""

    PLAIN = "plain"
    CODE = "code"
    STRONG = "strong"
    EMPHASIS = "emphasis"


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a line."""

    style: Style
    text: str


Line = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """One block.

    Attributes:
        level: Of a heading, 1 to 6; else 0.
        lines: One line of a heading or paragraph, one each item of a list, none for the others.
        rows: Of a table, the head first.
        text: Of code.
    """

    kind: BlockKind
    level: int = 0
    lines: tuple[Line, ...] = ()
    rows: tuple[tuple[Line, ...], ...] = ()
    text: str = ""


def read_card(markdown: str) -> tuple[Block, ...]:
    """Read a card.

    Args:
        markdown: As the pack's author wrote it; not trusted.

    Returns:
        Its first `MAX_BLOCKS` blocks.
    """
    lines = markdown.splitlines()
    blocks: list[Block] = []
    at = 0
    while at < len(lines) and len(blocks) < MAX_BLOCKS:
        if not lines[at].strip():
            at += 1
            continue
        end = _end(lines, at)
        blocks.append(_block(lines[at:end]))
        at = end
    return tuple(blocks)


def spans(text: str) -> Line:
    """Read one line.

    Args:
        text: The line.

    Returns:
        Its pieces, in order.
    """
    return tuple(_spans(text))


def _end(lines: Sequence[str], at: int) -> int:
    """Where the block that starts at `at` ends."""
    first = lines[at]
    if first.startswith(_FENCE):
        closing = (number for number in range(at + 1, len(lines)) if lines[number].startswith(_FENCE))
        return next(closing, len(lines) - 1) + 1
    if _HEADING.fullmatch(first):
        return at + 1
    end = at + 1
    while end < len(lines) and lines[end].strip() and not _starts_other(first, lines[end]):
        end += 1
    return end


def _starts_other(first: str, line: str) -> bool:
    if line.startswith(_FENCE) or _HEADING.fullmatch(line):
        return True
    if first.startswith("|") != line.startswith("|"):
        return True
    return _ITEM.fullmatch(line) is not None and _ITEM.fullmatch(first) is None


def _block(lines: Sequence[str]) -> Block:
    first = lines[0]
    if first.startswith(_FENCE):
        body = lines[1:-1] if len(lines) > 1 and lines[-1].startswith(_FENCE) else lines[1:]
        return Block(BlockKind.CODE, text="\n".join(body))
    heading = _HEADING.fullmatch(first)
    if heading is not None:
        return Block(BlockKind.HEADING, level=len(heading[1]), lines=(spans(heading[2]),))
    if first.startswith("|"):
        cells = [line.strip().strip("|").split("|") for line in lines if not _RULE.fullmatch(line)]
        return Block(BlockKind.TABLE, rows=tuple(tuple(spans(cell.strip()) for cell in row) for row in cells))
    if _ITEM.fullmatch(first):
        return Block(BlockKind.LIST, lines=tuple(spans(item) for item in _items(lines)))
    return Block(BlockKind.PARAGRAPH, lines=(spans(" ".join(line.strip() for line in lines)),))


def _items(lines: Sequence[str]) -> list[str]:
    items: list[str] = []
    for line in lines:
        match = _ITEM.fullmatch(line)
        if match is None:
            items[-1] += " " + line.strip()
        else:
            items.append(match[1])
    return items


def _spans(text: str) -> Iterator[Span]:
    at = 0
    for match in _SPAN.finditer(text):
        if match.start() > at:
            yield Span(Style.PLAIN, text[at : match.start()])
        code, strong, emphasis = match.groups()
        if code is not None:
            yield Span(Style.CODE, code)
        elif strong is not None:
            yield Span(Style.STRONG, strong)
        else:
            yield Span(Style.EMPHASIS, emphasis)
        at = match.end()
    if at < len(text):
        yield Span(Style.PLAIN, text[at:])
