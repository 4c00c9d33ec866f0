"""A card is read into blocks and spans; nothing in it becomes markup."""

from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.core.console.card import MAX_BLOCKS, Block, BlockKind, Span, Style, read_card, spans


def kinds(markdown: str) -> list[BlockKind]:
    """The kinds of its blocks."""
    return [block.kind for block in read_card(markdown)]


def text(block: Block) -> list[str]:
    """The lines of a block without their styles."""
    return ["".join(span.text for span in line) for line in block.lines]


def test_blocks_follow_one_another_without_blank_lines() -> None:
    """A heading, a paragraph, a list and a table end where the next begins."""
    markdown = (
        "# Head\nwords\nmore words\n- one\n  still one\n- two\n"
        "| a | b |\n|---|:-:|\n| 1 | 2 |\n```\ncode\n\n# no\n```\nend"
    )
    blocks = read_card(markdown)
    assert [block.kind for block in blocks] == [
        BlockKind.HEADING,
        BlockKind.PARAGRAPH,
        BlockKind.LIST,
        BlockKind.TABLE,
        BlockKind.CODE,
        BlockKind.PARAGRAPH,
    ]
    assert (blocks[0].level, text(blocks[1]), text(blocks[2])) == (1, ["words more words"], ["one still one", "two"])
    assert [[cell[0].text for cell in row] for row in blocks[3].rows] == [["a", "b"], ["1", "2"]]
    assert blocks[4].text == "code\n\n# no"


def test_code_that_never_ends_is_code_to_the_end() -> None:
    """A missing fence loses nothing."""
    assert read_card("```\na\nb")[0].text == "a\nb"
    assert read_card("```")[0].text == ""


def test_blank_lines_and_an_empty_card_are_nothing() -> None:
    """No card, no blocks."""
    assert read_card("\n\n  \n") == ()
    assert kinds("a\n\nb") == [BlockKind.PARAGRAPH, BlockKind.PARAGRAPH]


def test_spans_know_code_strong_and_emphasis_only() -> None:
    """Everything else is text, tags and links too; a star between words is a star."""
    assert spans("a `b<i>` **c** *d*") == (
        Span(Style.PLAIN, "a "),
        Span(Style.CODE, "b<i>"),
        Span(Style.PLAIN, " "),
        Span(Style.STRONG, "c"),
        Span(Style.PLAIN, " "),
        Span(Style.EMPHASIS, "d"),
    )
    hostile = '<script>alert(1)</script> [x](javascript:alert(1)) 2*3*4 "'
    assert spans(hostile) == (Span(Style.PLAIN, hostile),)
    assert spans("") == ()


def test_a_long_card_is_cut() -> None:
    """An author cannot make a page endless."""
    assert len(read_card("a\n\n" * 1000)) == MAX_BLOCKS


@given(st.text(alphabet="#-*|`ab \n", max_size=60))
def test_any_text_is_read_to_its_end(markdown: str) -> None:
    """No card stops the page, and its words are kept, but for the name of a language behind a fence."""
    letters = "".join(
        block.text + "".join(text(block)) + "".join(span.text for row in block.rows for cell in row for span in cell)
        for block in read_card(markdown)
    )
    words = "".join(line for line in markdown.splitlines() if not line.startswith("```"))
    assert letters.count("a") == words.count("a")
