"""Owns what one model version did since the program started, as plain numbers that a run adds to once."""

import threading
from collections.abc import Sequence
from typing import Final

from cloud_hub.serving.interface import ModelStatistics, Spent

_NS_PER_MS: Final = 1_000_000


class Counts:
    """The numbers of one model version; any thread may add and read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows = 0
        self._last_ns = 0
        self._success = [0, 0]
        self._fail = [0, 0]
        self._queue = [0, 0]
        self._input = [0, 0]
        self._compute = [0, 0]
        self._output = [0, 0]
        self._hit = [0, 0]
        self._miss = [0, 0]
        self._batches: dict[int, list[int]] = {}

    def note_run(
        self, *, rows: Sequence[int], requests: int, input_ns: int, compute_ns: int, output_ns: int, now_ns: int
    ) -> None:
        """Add one batch.

        Args:
            rows: Windows of each session run in it.
            requests: How many were in it.
            input_ns: Putting together.
            compute_ns: All its session runs.
            output_ns: Taking apart.
            now_ns: Wall clock, nanoseconds since the Unix epoch.
        """
        each_ns = compute_ns // max(1, len(rows))
        with self._lock:
            self._last_ns = now_ns
            for total, took_ns in ((self._input, input_ns), (self._compute, compute_ns), (self._output, output_ns)):
                total[0] += requests
                total[1] += took_ns * requests
            for windows in rows:
                batch = self._batches.setdefault(windows, [0, 0])
                batch[0] += 1
                batch[1] += each_ns

    def note_answers(self, *, answered: int, windows: int, took_ns: int, failed: int, queue_ns: int) -> None:
        """Add what became of one batch's requests.

        Args:
            answered: Requests with an answer.
            windows: Their windows.
            took_ns: From admission to the answer, all of them together.
            failed: Requests without one.
            queue_ns: Waiting, all requests together.
        """
        with self._lock:
            self._windows += windows
            self._success[0] += answered
            self._success[1] += took_ns
            self._fail[0] += failed
            self._queue[0] += answered + failed
            self._queue[1] += queue_ns

    def note_dropped(self, waited_ns: int) -> None:
        """Add one request whose time was over before its run."""
        with self._lock:
            self._fail[0] += 1
            self._fail[1] += waited_ns

    def note_cache(self, *, is_hit: bool, took_ns: int) -> None:
        """Add one question to the answer cache; a hit is an answered request, too."""
        with self._lock:
            for total in (self._hit, self._success) if is_hit else (self._miss,):
                total[0] += 1
                total[1] += took_ns

    def read(self, name: str, version: str) -> ModelStatistics:
        """Read the numbers.

        Args:
            name: Of the model.
            version: Of the model.

        Returns:
            A copy.
        """
        with self._lock:
            batches = tuple((windows, Spent(*total)) for windows, total in sorted(self._batches.items()))
            return ModelStatistics(
                name=name,
                version=version,
                inference_count=self._windows,
                execution_count=sum(spent.count for _, spent in batches),
                last_inference_ms=self._last_ns // _NS_PER_MS,
                success=Spent(*self._success),
                fail=Spent(*self._fail),
                queue=Spent(*self._queue),
                compute_input=Spent(*self._input),
                compute_infer=Spent(*self._compute),
                compute_output=Spent(*self._output),
                cache_hit=Spent(*self._hit),
                cache_miss=Spent(*self._miss),
                batches=batches,
            )
