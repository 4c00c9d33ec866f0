"""How long work shows that it moves."""

import io

from model_packs.process.progress import Bar, progress


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        """Claim it."""
        return True


def test_items_pass_through_and_short_work_says_nothing() -> None:
    """Away from a terminal nobody waits for a second's work."""
    stream = io.StringIO()
    assert list(progress(["a", "b"], "copying", stream=stream)) == ["a", "b"]
    assert stream.getvalue() == ""


def test_the_end_of_longer_work_is_one_line() -> None:
    """Away from a terminal more than a second is told once it is done."""
    now_s = [0.0]
    stream = io.StringIO()
    with Bar(2, "copying", stream, clock=lambda: now_s[0]) as bar:
        now_s[0] += 1.5
        bar.advance(2)
    assert stream.getvalue() == "copying: 2/2\n"


def test_a_terminal_sees_a_bar() -> None:
    """The bar is redrawn in place and ends its line."""
    stream = Terminal()
    with progress(10, "download", stream=stream) as bar:
        bar.advance(10)
    assert stream.getvalue().endswith("\rdownload [##############################] 10/10\n")


def test_lines_come_at_most_every_few_seconds() -> None:
    """A thousand steps in one second write nothing in between."""
    now_s = [0.0]
    stream = io.StringIO()
    bar = Bar(None, "rows", stream, clock=lambda: now_s[0])
    for _ in range(1000):
        now_s[0] += 0.001
        bar.advance()
    assert stream.getvalue() == ""
    now_s[0] += 5.0
    bar.advance()
    assert stream.getvalue() == "rows: 1001\n"
