"""The runner of the pages' commands finds blocks, compares output and notices what is wrong."""

import os
from pathlib import Path

import pytest

from tests.e2e.console_blocks import Block, Command, Page, blocks, missing_lines

PAGE = """
Text.

```console
$ make demo
```

```console test
$ printf 'a\\n' \\
    && true
a
$ true
```

```console test terminal
$ echo up; sleep 60
up
```
"""


def test_only_tagged_blocks_are_found() -> None:
    """An untagged block is not run; a continued line is one command; output belongs to the command above it."""
    assert blocks(PAGE) == (
        Block((Command("printf 'a\\n' \\\n    && true", ("a",)), Command("true", ())), is_terminal=False),
        Block((Command("echo up; sleep 60", ("up",)),), is_terminal=True),
    )


def test_output_without_a_command_is_refused() -> None:
    """A block that starts with output cannot be checked."""
    with pytest.raises(ValueError, match="must start with"):
        blocks("```console test\nout of nowhere\n```\n")


@pytest.mark.parametrize(
    ("shown", "missing"),
    [
        (["one", "three"], ()),
        (["t…e"], ()),
        (["…", "two"], ()),
        (["three", "one"], ("one",)),
        (["on"], ("on",)),
        (["o.e"], ("o.e",)),
    ],
)
def test_shown_lines_must_appear_whole_and_in_order(shown: list[str], missing: tuple[str, ...]) -> None:
    """Lines match as a whole, in order, with … for anything and nothing else special."""
    assert missing_lines(shown, "one\ntwo\nthree\n") == missing


def test_a_page_runs_with_its_terminal_beside_it(tmp_path: Path, run_folder: Path) -> None:
    """The terminal keeps running while later commands run, and is gone after close."""
    page = Page(tmp_path, run_folder, {})
    try:
        (terminal,) = blocks("```console test terminal\n$ echo $$ >pid; echo up; exec sleep 60\nup\n```\n")
        page.run(terminal)
        pid = int((tmp_path / "pid").read_text())
        os.kill(pid, 0)
    finally:
        page.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [("$ false", "ended with status 1"), ("$ echo b\na", "did not print"), ("$ cat missing | true", "status 1")],
)
def test_a_page_that_is_not_true_fails(tmp_path: Path, run_folder: Path, body: str, complaint: str) -> None:
    """A failing command, also inside a pipe, and another output are noticed."""
    (block,) = blocks(f"```console test\n{body}\n```\n")
    with pytest.raises(AssertionError, match=complaint):
        Page(tmp_path, run_folder, {}).run(block)
