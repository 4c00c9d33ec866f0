"""Owns ending runs that take too long: a model that hangs must not keep the thread that runs it for ever.

ONNX Runtime looks at a run's `terminate` flag between two nodes and inside loops, so a graph that loops ends; one
kernel that never returns does not, and only the process's end helps. The price of a run under watch is two readings of
the clock. One thread a session looks a few times within the limit, at most once a second.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, Final

_LOOKS: Final = 4
_SLOWEST_LOOK_S: Final = 1.0


class Turn:
    """One run under watch; used again for the next when it ended in good time.

    Args:
        options: What the engine takes with the run; its `terminate` ends it.
    """

    __slots__ = ("began_s", "options")

    def __init__(self, options: Any) -> None:  # noqa: ANN401 - onnxruntime.RunOptions; the library ships no types
        self.options = options
        self.began_s = 0.0


class RunWatch:
    """Watches the runs of one session.

    Args:
        limit_s: How long a run may take.
        new_options: Makes what the engine takes with a run.
        monotonic_s: The clock.
    """

    def __init__(
        self, limit_s: float, new_options: Callable[[], Any], monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit_s = limit_s
        self._monotonic_s = monotonic_s
        self._new_options = new_options
        self._turns: list[Turn] = []
        self._idle: list[Turn] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._look_now_and_then, name="run-watch", daemon=True)

    def open(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def close(self) -> None:
        """Stop watching; may be called twice."""
        self._closing.set()

    def begin(self) -> Turn:
        """A run begins now.

        Returns:
            Its turn; `end` must be called with it, whatever the run did.
        """
        try:
            turn = self._idle.pop()
        except IndexError:  # more runs at once than ever before
            turn = Turn(self._new_options())
            self._turns.append(turn)
        turn.began_s = self._monotonic_s()
        return turn

    def end(self, turn: Turn) -> None:
        """The run is over."""
        took_s = self._monotonic_s() - turn.began_s
        turn.began_s = 0.0
        if took_s < self.limit_s / 2:
            self._idle.append(turn)
        else:  # the watch may be about to end it, and must not end the next one
            self._turns.remove(turn)

    def _look_now_and_then(self) -> None:
        pause_s = min(self.limit_s / _LOOKS, _SLOWEST_LOOK_S)
        while not self._closing.wait(pause_s):
            now_s = self._monotonic_s()
            for turn in list(self._turns):
                began_s = turn.began_s
                if began_s and now_s - began_s > self.limit_s:
                    turn.options.terminate = True
