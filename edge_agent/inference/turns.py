"""Owns whose turn it is to run a session: at most so many local calls at once, and nobody while a pack is swapped.

Tokens in a queue: taking one costs no more than a lock, and who waits is woken in order.
"""

import queue
from collections.abc import Iterator
from contextlib import contextmanager

RUNS_AT_ONCE = 2
"""Of all bindings together; more would only wait for each other's cores."""


class Turns:
    """The turns of one process.

    Args:
        count: How many may run at once.
    """

    def __init__(self, count: int = RUNS_AT_ONCE) -> None:
        self._count = count
        self._free: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(None)
        self.take = self._free.get
        self.take_now = self._free.get_nowait
        self._put = self._free.put

    def give_back(self) -> None:
        """Let the next one run."""
        self._put(None)

    @contextmanager
    def nobody_runs(self) -> Iterator[None]:
        """Wait for those who run, and hold back all others meanwhile; one thread at a time may ask for that."""
        for _ in range(self._count):
            self._free.get()
        try:
            yield
        finally:
            for _ in range(self._count):
                self._free.put(None)
