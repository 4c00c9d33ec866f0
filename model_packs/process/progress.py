"""Owns showing that long work moves: a bar on a terminal; elsewhere a line now and then, and none for short work.

It writes to stderr only, so that stdout stays for answers. The work itself is the caller's.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from types import TracebackType
from typing import Self, TextIO, TypeVar, overload

T = TypeVar("T")

_BAR_WIDTH = 30
_TTY_INTERVAL_S = 0.1
_LINE_INTERVAL_S = 5.0
_SHORT_WORK_S = 1.0


class Bar:
    """The progress of one piece of work; use it as a context manager and call `advance`.

    Args:
        total: How many steps there are; None when nobody knows.
        label: What is being done, in two or three words.
        stream: Where to write.
        clock: Monotonic seconds.
    """

    def __init__(
        self, total: int | None, label: str, stream: TextIO, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total = total
        self._label = label
        self._stream = stream
        self._clock = clock
        self._is_tty = stream.isatty()
        self._interval_s = _TTY_INTERVAL_S if self._is_tty else _LINE_INTERVAL_S
        self._done = 0
        self._began_s = self._shown_at_s = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_tty or self._clock() - self._began_s > _SHORT_WORK_S:
            self._show(is_last=True)

    def advance(self, steps: int = 1) -> None:
        """Record finished steps; something is written only when enough time has passed.

        Args:
            steps: How many more are done.
        """
        self._done += steps
        if self._clock() - self._shown_at_s >= self._interval_s:
            self._show(is_last=False)

    def _show(self, *, is_last: bool) -> None:
        self._shown_at_s = self._clock()
        count = str(self._done) if self._total is None else f"{self._done}/{self._total}"
        if not self._is_tty:
            self._stream.write(f"{self._label}: {count}\n")
        elif self._total:
            filled = min(_BAR_WIDTH, _BAR_WIDTH * self._done // self._total)
            bar = "#" * filled + "." * (_BAR_WIDTH - filled)
            self._stream.write(f"\r{self._label} [{bar}] {count}" + ("\n" if is_last else ""))
        else:
            self._stream.write(f"\r{self._label} {count}" + ("\n" if is_last else ""))
        self._stream.flush()


@overload
def progress(work: int, label: str, *, stream: TextIO | None = None) -> Bar: ...


@overload
def progress(work: Iterable[T], label: str, *, stream: TextIO | None = None) -> Iterator[T]: ...


def progress(work: int | Iterable[T], label: str, *, stream: TextIO | None = None) -> Bar | Iterator[T]:
    """Show progress over an iterable, or over a number of steps that the caller advances.

    Args:
        work: The items (each is passed through), or the number of steps (a `Bar` is returned).
        label: What is being done.
        stream: Where to write; stderr by default.

    Returns:
        An iterator over the same items, or a `Bar` to use in a `with` block.
    """
    out = sys.stderr if stream is None else stream
    if isinstance(work, int):
        return Bar(work, label, out)
    return _tracked(work, label, out)


def _tracked(items: Iterable[T], label: str, stream: TextIO) -> Iterator[T]:
    with Bar(len(items) if isinstance(items, Sized) else None, label, stream) as bar:
        for item in items:
            yield item
            bar.advance()
