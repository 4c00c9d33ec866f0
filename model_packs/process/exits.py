"""Owns how a program ends: the exit codes, the error that a person reads, and the outermost call.

Which failure gets which code is decided where the failure is known.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, NoReturn

_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class Exit(IntEnum):
    """The exit codes of every program here (the numbers of BSD sysexits)."""

    OK = 0
    USAGE = 64
    DATA = 65
    UNAVAILABLE = 69
    CONFIG = 78


class CliError(Exception):
    """A failure that ends a command with a message and a mend, and no traceback.

    Args:
        message: What is wrong; names the file, field, device or topic.
        mend: What the reader can do about it.
        code: The exit code.
    """

    def __init__(self, message: str, mend: str, code: Exit) -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend
        self.exit = code


class Parser(argparse.ArgumentParser):
    """An argument parser that ends with `Exit.USAGE`, where argparse itself would end with 2.

    A sub-command that is given an argument it does not know says so itself, with its own usage; argparse would let the
    whole program's parser say it.
    """

    def parse_known_args(  # type: ignore[override]  # argparse overloads it for namespaces of any class
        self,
        args: Sequence[str] | None = None,
        namespace: Any = None,  # noqa: ANN401 - as argparse declares it
    ) -> tuple[Any, list[str]]:
        """Parse; what argparse calls for each sub-command, too. See `ArgumentParser.parse_known_args`.

        Args:
            args: The arguments; those of the process if None.
            namespace: Filled if given.

        Returns:
            The namespace and no unknown arguments: they end the program.
        """
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Print the usage and the mistake, and end the program.

        Args:
            message: What argparse found wrong.
        """
        self.print_usage(sys.stderr)
        self.exit(Exit.USAGE, f"error: {message}\n  mend: {self.prog} --help lists what it takes\n")


def run(main: Callable[[], int]) -> NoReturn:
    """Call a program's body and end the process with its exit code.

    Args:
        main: Returns the exit code, or raises `CliError`.

    Raises:
        SystemExit: Always. A `CliError` is printed as `error: …` and `  mend: …` on stderr first.
    """
    try:
        code = int(main())
        sys.stdout.flush()
    except CliError as error:
        sys.stderr.write(f"error: {error.message}\n  mend: {error.mend}\n")
        code = int(error.exit)
    except BrokenPipeError:
        # The reader of our output left (`… | head`): nobody is there to tell, and the flush at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = int(Exit.OK)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    sys.exit(code)
