"""Owns how long answers took lately: a bounded memory by binding, and its 95th percentile.

The whole distribution since the start is a histogram of `metrics.py`; this is what the heartbeat says.
"""

import threading
from collections import deque
from collections.abc import Callable

from edge_agent.ports import Clock

WINDOW_S = 300.0
MAX_ANSWERS = 512


class Latencies:
    """The latest answers.

    Args:
        clock: Tells how long ago an answer was.
    """

    def __init__(self, clock: Clock) -> None:
        self._now_s: Callable[[], float] = clock.monotonic_s
        self._lock = threading.Lock()
        self._answers: dict[str, deque[tuple[float, float]]] = {}

    def answered(self, binding: str, latency_ms: float) -> None:
        """Note one answer; called by the pipeline.

        Args:
            binding: Whose.
            latency_ms: From the message that completed the question to the decision.
        """
        with self._lock:
            kept = self._answers.setdefault(binding, deque(maxlen=MAX_ANSWERS))
            kept.append((self._now_s(), latency_ms))

    def p95_ms(self, binding: str) -> float | None:
        """The time that 95 % of the last minutes' answers took at most; None when there was none.

        Args:
            binding: Whose.
        """
        since_s = self._now_s() - WINDOW_S
        with self._lock:
            recent = sorted(ms for at_s, ms in self._answers.get(binding, ()) if at_s >= since_s)
        return recent[max(0, -(-len(recent) * 95 // 100) - 1)] if recent else None
