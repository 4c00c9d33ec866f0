"""Owns the threads of the agent: one per loop, named; a failing loop is logged, counted, backed off and goes on.

`ThreadWatch` says which of them, or of those that other parts own, no longer do their work.
"""

import logging
import threading
from collections.abc import Callable, Sequence

from protos.link.backoff import Backoff

STALLED_S = 10.0
"""A pipeline without a pass for so long is stuck: an idle one makes several a second."""

_JOIN_DEADLINE_S = 3.0

logger = logging.getLogger(__name__)


class Loop:
    """A supervised loop.

    Args:
        name: Of the thread.
        body: One turn; waits by itself, a second or so at most.
        on_failure: Told of every failed turn, with the loop's name.
    """

    def __init__(self, name: str, body: Callable[[], None], on_failure: Callable[[str], None]) -> None:
        self._name = name
        self._body = body
        self._on_failure = on_failure
        self._stopping = threading.Event()
        self._backoff = Backoff(initial_s=0.1, cap_s=5.0)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def name(self) -> str:
        """Of the thread."""
        return self._name

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def open(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End after the present turn; may be called twice, and before `open`."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_DEADLINE_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._body()
            except Exception:  # top of a supervised loop
                if self._stopping.is_set():
                    return  # what it works with is closing, too
                logger.exception("loop_failed", extra={"loop": self._name})
                self._on_failure(self._name)
                self._stopping.wait(self._backoff.next_s())
            else:
                self._backoff.reset()


class ThreadWatch:
    """Answers `/readyz`: a broker or a hub that is away is no reason, since the agent goes on without them.

    Args:
        silent_s: How long the pipeline has made no pass.
    """

    def __init__(self, silent_s: Callable[[], float]) -> None:
        self._silent_s = silent_s
        self._watched: list[tuple[str, Callable[[], bool]]] = []

    def watch(self, name: str, is_alive: Callable[[], bool]) -> None:
        """From now on the end of this thread is a reason."""
        self._watched.append((name, is_alive))

    def reasons(self) -> Sequence[str]:
        """Why the agent does not do its work; none while it does."""
        reasons = [f"the thread {name} has ended" for name, is_alive in self._watched if not is_alive()]
        silent_s = self._silent_s()
        if silent_s > STALLED_S:
            reasons.append(f"the pipeline has made no pass for {silent_s:.0f} s")
        return reasons
