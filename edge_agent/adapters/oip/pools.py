"""Owns the threads of the gRPC server: a pool that hands a call to a thread at the least cost.

The pool of the standard library makes a future for each call, which nobody waits for; on a small model that is a
twentieth of what an answer costs. All threads are there from the start, since who waits holds one.
"""

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

logger = logging.getLogger(__name__)


class CallPool(ThreadPoolExecutor):
    """A pool for `grpc.server`, which takes this class only; it submits calls, and looks at no result.

    Args:
        threads: How many.
        name: Of the threads, with a number behind.
    """

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self._calls: queue.SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._done: Future[Any] = Future()
        self._done.set_result(None)
        self._members = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True) for number in range(threads)
        ]
        self._has_begun = False

    def begin(self) -> None:
        """Start the threads."""
        self._has_begun = True
        for thread in self._members:
            thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 - as it is
        """Run a call in one of the threads; the future is done already, and says nothing of it."""
        if kwargs:
            raise TypeError("calls of a server come without keywords")
        self._calls.put((fn, args))
        return self._done

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as it is
        """End the threads when what was submitted is done."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        for _ in self._members if self._has_begun else ():
            self._calls.put(None)
        for thread in self._members if wait and self._has_begun else ():
            thread.join()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            behaviour, arguments = call
            try:
                behaviour(*arguments)
            except Exception:  # top of a supervised loop: grpc tells its caller, the thread takes the next call
                logger.exception("call_thread_failed")
            call = behaviour = arguments = None  # type: ignore[assignment]  # a waiting thread keeps no call alive
