r"""Owns the commands that stand in Markdown pages: finds the tagged blocks, runs them as a reader would, compares.

A block tagged ``console test`` holds lines ``$ command`` (continued after a backslash) and, below each, the output
that the page shows. A block tagged ``console test terminal`` is a terminal of its own: its last command keeps running
while the later blocks run, as soon as it has printed the lines that the page shows. All blocks of one page share one
working folder. In shown output ``…`` stands for anything, and a line of only ``…`` for any lines.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.simulators.processes import Process, run_to_end
from tests.simulators.waiting import wait_until

_FENCE = re.compile(r"^```console test(?P<terminal> terminal)?\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMAND_DEADLINE_S = 120.0
_SHELL = ("bash", "-eu", "-o", "pipefail", "-c")


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a page and the output lines that the page shows for it."""

    text: str
    shown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """One tagged block; ``is_terminal`` when its last command keeps running."""

    commands: tuple[Command, ...]
    is_terminal: bool


def blocks(page: str) -> tuple[Block, ...]:
    """The tagged blocks of a Markdown page, in order.

    Raises:
        ValueError: A block starts with output, so no command could have printed it.
    """
    return tuple(Block(_commands(found["body"]), found["terminal"] is not None) for found in _FENCE.finditer(page))


def _commands(body: str) -> tuple[Command, ...]:
    commands: list[Command] = []
    lines = iter(body.splitlines())
    for line in lines:
        if line.startswith("$ "):
            text = line.removeprefix("$ ")
            while text.endswith("\\"):
                text += "\n" + next(lines)
            commands.append(Command(text, ()))
        elif not commands:
            raise ValueError(f"a block must start with `$ command`, not with {line!r}")
        elif line.strip():
            commands[-1] = Command(commands[-1].text, (*commands[-1].shown, line))
    return tuple(commands)


def missing_lines(shown: Sequence[str], printed: str) -> tuple[str, ...]:
    """The shown lines that do not appear in ``printed`` in their order; empty when all do."""
    actual = iter(line.rstrip() for line in printed.splitlines())
    missing: list[str] = []
    for line in shown:
        if line.strip() == "…":
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in line.rstrip().split("…")))
        if not any(pattern.fullmatch(candidate) for candidate in actual):
            missing.append(line)
    return tuple(missing)


class Page:
    """Runs the blocks of one page in ``folder``; leave it with ``close()``, which ends the terminals.

    What ``prefix`` says is put before each command, such as a network to run in.
    """

    def __init__(self, folder: Path, logs: Path, environ: Mapping[str, str], prefix: Sequence[str] = ()) -> None:
        self._shell = (*prefix, *_SHELL)
        self._folder = folder
        self._logs = logs
        self._environ = environ
        self._terminals: list[Process] = []

    def run(self, block: Block) -> None:
        """Run one block.

        Raises:
            AssertionError: A command failed, or did not print what the page shows.
        """
        commands = block.commands[:-1] if block.is_terminal else block.commands
        for command in commands:
            self._run_command(command)
        if block.is_terminal:
            self._open_terminal(block.commands[-1])

    def close(self) -> None:
        """End every terminal, the latest first."""
        for terminal in reversed(self._terminals):
            terminal.kill()

    def _run_command(self, command: Command) -> None:
        finished = run_to_end(
            [*self._shell, command.text], cwd=self._folder, environ=self._environ, deadline_s=_COMMAND_DEADLINE_S
        )
        printed = finished.stdout + finished.stderr
        assert finished.returncode == 0, f"$ {command.text}\nended with status {finished.returncode}:\n{printed}"
        missing = missing_lines(command.shown, printed)
        assert not missing, f"$ {command.text}\ndid not print {missing}, but:\n{printed}"

    def _open_terminal(self, command: Command) -> None:
        name = Path(shlex.split(command.text)[0]).name
        terminal = Process(
            [*self._shell, command.text],
            log_path=self._logs / f"terminal-{len(self._terminals)}-{name}.log",
            cwd=self._folder,
            environ=self._environ,
        )
        self._terminals.append(terminal)
        terminal.start()

        def shown() -> bool:
            if not terminal.is_running:
                raise AssertionError(f"$ {command.text}\nended:\n{terminal.log}")
            return not missing_lines(command.shown, terminal.log)

        wait_until(shown, _COMMAND_DEADLINE_S, f"{command.shown} from `{command.text}`, see {terminal.log_path}")
