"""Owns what both protocols do around one call: permits to wait, deadlines, and the count of what gets no answer.

Who waits, for the hub or on a stream, holds a thread; so there are permits for it, and the others always have their
turn. What comes before, the bytes, and behind, is `grpc_server.py` and `rest_server.py`.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from numpy.typing import NDArray

from edge_agent.adapters.oip.models import Letters, Models, Served, Wishes
from edge_agent.adapters.oip.shared_memory import SharedMemory
from edge_agent.core.local_call import CallAnswer
from edge_agent.errors import CallError
from protos.status import Status

_MARGIN_S: Final = 0.02  # an answer that is sent at its deadline comes too late


class Caller:
    """One call's caller: whether it is still there, and until when it would wait.

    Args:
        now_s: Monotonic; it came now.
        is_there: Whether it is; None: nobody can tell.
        left_s: Time until its deadline; None: it has none.
        on_gone: Takes what is to be called when it leaves.
    """

    def __init__(
        self,
        now_s: Callable[[], float],
        is_there: Callable[[], bool] | None = None,
        left_s: Callable[[], float | None] = lambda: None,
        on_gone: Callable[[Callable[[], None]], object] = lambda told: None,  # noqa: ARG005 - nobody can tell
    ) -> None:
        self._now_s = now_s
        self._came_s = now_s()
        self.is_there = is_there
        self.left_s = left_s
        self.on_gone = on_gone

    def spent_s(self) -> float:
        """How long it has waited."""
        return self._now_s() - self._came_s


class Leaving:
    """Tells the call in hand that its caller left; a stream has one for all of its calls, which come one by one.

    Args:
        on_gone: Takes what is to be called when the caller leaves; False: it has left already.
    """

    def __init__(self, on_gone: Callable[[Callable[[], None]], bool]) -> None:
        self._on_gone = on_gone
        self._lock = threading.Lock()
        self._told: Callable[[], None] | None = None
        self._is_over = False

    def tell(self, told: Callable[[], None]) -> None:
        """Call this when the caller leaves, and no longer what was named before; at once if it has left."""
        with self._lock:
            is_first, self._told = self._told is None, told
            is_over = self._is_over
        if is_over or (is_first and not self._on_gone(self._over)):
            told()

    def _over(self) -> None:
        with self._lock:
            self._is_over = True
            told = self._told
        if told is not None:
            told()


class Calling:
    """The calls of one agent.

    Args:
        models: Whom they may ask.
        regions: Shared memory of their callers.
        max_waiters: Streams and waiting calls at once.
        new_inbox: Makes an inbox that waits so many seconds at most.
        now_s: Monotonic.
    """

    def __init__(
        self,
        models: Models,
        regions: SharedMemory,
        max_waiters: int,
        new_inbox: Callable[[float], Letters],
        now_s: Callable[[], float],
    ) -> None:
        self.models = models
        self.regions = regions
        self._max_waiters = max_waiters
        self._permits = threading.Semaphore(max_waiters)
        self._new_inbox = new_inbox
        self.now_s = now_s

    @contextmanager
    def permit(self) -> Iterator[None]:
        """Hold a permit to wait.

        Raises:
            CallError: RESOURCE_EXHAUSTED: there is none left.
        """
        if not self._permits.acquire(blocking=False):
            raise CallError(
                f"{self._max_waiters} streams and waiting calls are open, the most there may be (oip.max_waiters)",
                "come back when one has ended",
                Status.RESOURCE_EXHAUSTED,
            )
        try:
            yield
        finally:
            self._permits.release()

    def call(
        self,
        served: Served,
        inputs: Mapping[str, NDArray[Any]],
        version: str,
        wishes: Wishes,
        caller: Caller,
        *,
        has_permit: bool = False,
    ) -> CallAnswer:
        """Answer a call that wishes for something; one without wishes goes to `Served.callee` itself.

        Args:
            served: The model.
            inputs: Checked.
            version: That must answer; empty: whichever runs.
            wishes: From its parameters.
            caller: Who asks.
            has_permit: It waits already, on a stream.

        Raises:
            CallError: No permit is left, its time is over, or as `Callee.call` says.
            TensorError: As `Callee.call` says.
        """
        left_s = _left_s(wishes, caller)
        if wishes.wait_s and not has_permit:
            with self.permit():
                return self.call(served, inputs, version, wishes, caller, has_permit=True)
        inbox: Letters | None = None
        if wishes.wait_s:
            patience_s = wishes.wait_s if left_s is None else min(wishes.wait_s, max(0.0, left_s - _MARGIN_S))
            inbox = self._new_inbox(patience_s)
            caller.on_gone(inbox.give_up)
        try:
            return served.callee.call(
                inputs, version=version, inbox=inbox, is_wanted=partial(_is_wanted, wishes, caller)
            )
        except CallError as error:
            if error.status is Status.CANCELLED:
                _left_s(wishes, caller)  # who left because its time was over is told so
            raise


def _is_wanted(wishes: Wishes, caller: Caller) -> bool:
    """Whether somebody still takes the answer of a call that has waited for its turn."""
    is_there = caller.is_there is None or caller.is_there()
    return is_there and (wishes.timeout_s is None or caller.spent_s() < wishes.timeout_s)


def _left_s(wishes: Wishes, caller: Caller) -> float | None:
    """How long a call may still take; None: as long as it takes.

    Raises:
        CallError: DEADLINE_EXCEEDED: its time is over.
    """
    ends_s = [] if wishes.timeout_s is None else [wishes.timeout_s - caller.spent_s()]
    deadline_s = caller.left_s()
    if deadline_s is not None:
        ends_s.append(deadline_s)
    left_s = min(ends_s, default=None)
    if left_s is not None and left_s <= 0.0:
        raise CallError("the time of the call is over", "call again, with more time", Status.DEADLINE_EXCEEDED)
    return left_s
