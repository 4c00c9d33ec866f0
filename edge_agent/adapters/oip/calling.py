"""Owns what both protocols do around one call: permits to wait, deadlines, and whether its caller is still there.

Who waits for the hub, or keeps a stream open, holds a permit, so that what waits is bounded. How a call is answered on
the loop of the gRPC server is `loop_calls.py`, in a thread of the REST server `Calling.call`.
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

# An answer that is sent at its deadline comes too late: so much of what is left is for its way back.
_MARGIN_SHARE: Final = 0.1
_MARGIN_MIN_S: Final = 0.02
_MARGIN_MAX_S: Final = 0.25


class Caller:
    """One call's caller: whether it is still there, and until when it would wait.

    Args:
        now_s: Monotonic; it came now.
        looks: Looks whether it is there; None: it is until `leave`.
        left_s: Time until its deadline; None: it has none.
    """

    def __init__(
        self,
        now_s: Callable[[], float],
        looks: Callable[[], bool] | None = None,
        left_s: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._now_s = now_s
        self.came_s = now_s()
        self._looks = looks
        self._has_left = False
        self.left_s = left_s

    def leave(self) -> None:
        """It left."""
        self._has_left = True

    def is_there(self) -> bool:
        """Whether it still takes an answer; any thread may ask."""
        return not self._has_left and (self._looks is None or self._looks())

    def spent_s(self) -> float:
        """How long it has waited."""
        return self._now_s() - self.came_s


class Calling:
    """The calls of one agent.

    Args:
        models: Whom they may ask.
        regions: Shared memory of their callers.
        max_waiters: Streams and waiting calls at once.
        new_inbox: Makes an inbox for a thread that waits so many seconds at most, while its caller is there.
        now_s: Monotonic.
    """

    def __init__(
        self,
        models: Models,
        regions: SharedMemory,
        max_waiters: int,
        new_inbox: Callable[[float, Callable[[], bool]], Letters],
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

    @contextmanager
    def waiting(self, wishes: Wishes, caller: Caller, *, has_permit: bool = False) -> Iterator[float | None]:
        """Let a call wait for the hub, if it wishes to; who left because its time was over is told so.

        Args:
            wishes: From its parameters.
            caller: Who asks.
            has_permit: It waits already, on a stream.

        Yields:
            How long it may wait, in seconds; None: not at all.

        Raises:
            CallError: No permit is left, or its time is over.
        """
        left_s = _left_s(wishes, caller)
        if wishes.wait_s and not has_permit:
            with self.permit(), self.waiting(wishes, caller, has_permit=True) as patience_s:
                yield patience_s
            return
        try:
            if not wishes.wait_s:
                yield None
            else:
                yield wishes.wait_s if left_s is None else min(wishes.wait_s, _patience_s(left_s))
        except CallError as error:
            if error.status is Status.CANCELLED:
                _left_s(wishes, caller)
            raise

    def call(
        self,
        served: Served,
        inputs: Mapping[str, NDArray[Any]],
        version: str,
        wishes: Wishes,
        caller: Caller,
    ) -> CallAnswer:
        """Answer a call in the caller's thread.

        Args:
            served: The model.
            inputs: Checked.
            version: That must answer; empty: whichever runs.
            wishes: From its parameters.
            caller: Who asks.

        Raises:
            CallError: No permit is left, its time is over, or as `Callee.call` says.
            TensorError: As `Callee.call` says.
        """
        with self.waiting(wishes, caller) as patience_s:
            inbox = None if patience_s is None else self._new_inbox(patience_s, caller.is_there)
            return served.callee.call(
                inputs, version=version, inbox=inbox, is_wanted=partial(is_wanted, wishes, caller)
            )


def is_wanted(wishes: Wishes, caller: Caller) -> bool:
    """Whether somebody still takes the answer of a call that has waited for its turn."""
    return caller.is_there() and (wishes.timeout_s is None or caller.spent_s() < wishes.timeout_s)


def _patience_s(left_s: float) -> float:
    """How long a call may wait that is due in so long."""
    return max(0.0, left_s - min(_MARGIN_MAX_S, max(_MARGIN_MIN_S, left_s * _MARGIN_SHARE)))


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
