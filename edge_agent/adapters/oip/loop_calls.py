"""Owns where a call is answered on the gRPC server's loop: at once, in a thread, or after a wait that holds neither.

A short run of a model costs less than a change of threads, so it runs on the loop if a turn is free. Whatever takes
longer (other models, calls that must wait for their turn) goes to a few threads, so that the loop answers health and
other calls meanwhile. Large messages have a thread of their own: an answer that is made stands behind nobody's run.
Who waits for the hub is a coroutine.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

from numpy.typing import NDArray

from edge_agent.adapters.oip.calling import Caller, Calling, is_wanted
from edge_agent.adapters.oip.models import NO_WISHES, Letters, Served, Wishes
from edge_agent.core.local_call import CallAnswer

_THREADS: Final = 2  # as many as may run a session at once
_MESSAGE_THREADS: Final = 1

T = TypeVar("T")


class LoopCalls:
    """The calls of one gRPC server; asked on its loop.

    Args:
        calling: Knows permits and deadlines.
        new_inbox: Makes, on the loop, an inbox for a coroutine that waits so many seconds at most.
    """

    def __init__(self, calling: Calling, new_inbox: Callable[[float], Letters]) -> None:
        self._calling = calling
        self._new_inbox = new_inbox
        self._threads: ThreadPoolExecutor | None = None
        self._messages: ThreadPoolExecutor | None = None

    def open(self) -> None:
        """Take threads; each starts when it is needed."""
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="oip-run")
        self._messages = ThreadPoolExecutor(_MESSAGE_THREADS, thread_name_prefix="oip-message")

    def close(self) -> None:
        """Wait for what runs; may be called twice."""
        pools = (self._threads, self._messages)
        self._threads = self._messages = None
        for pool in pools:
            if pool is not None:
                pool.shutdown(cancel_futures=True)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Read or write a large message.

        Args:
            work: What; raises what it likes.

        Returns:
            What it returned.
        """
        return await asyncio.get_running_loop().run_in_executor(self._messages, work)

    async def plain(
        self, served: Served, inputs: Mapping[str, NDArray[Any]], version: str, caller: Caller
    ) -> CallAnswer:
        """Answer a call without wishes that `Callee.call_now` did not answer.

        Args:
            served: The model.
            inputs: Checked.
            version: That must answer; empty: whichever runs.
            caller: Who asks.

        Raises:
            CallError: As `Callee.call` says.
            TensorError: As `Callee.call` says.
        """
        return await self._later(served, inputs, version, NO_WISHES, caller=caller, inbox=None)

    async def answer(
        self,
        served: Served,
        inputs: Mapping[str, NDArray[Any]],
        version: str,
        wishes: Wishes,
        caller: Caller,
        *,
        has_permit: bool,
    ) -> CallAnswer:
        """Answer a call.

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
        with self._calling.waiting(wishes, caller, has_permit=has_permit) as patience_s:
            inbox = None if patience_s is None else self._new_inbox(patience_s)
            answer = served.callee.call_now(inputs, version=version, inbox=inbox)
            if answer is None:
                answer = await self._later(served, inputs, version, wishes, caller=caller, inbox=inbox)
            return answer if inbox is None else await served.callee.revised(answer, inbox)

    async def _later(
        self,
        served: Served,
        inputs: Mapping[str, NDArray[Any]],
        version: str,
        wishes: Wishes,
        *,
        caller: Caller,
        inbox: Letters | None,
    ) -> CallAnswer:
        work = partial(
            served.callee.call_in_turn,
            inputs,
            version=version,
            inbox=inbox,
            is_wanted=partial(is_wanted, wishes, caller),
            came_s=caller.came_s,
        )
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except asyncio.CancelledError:
            caller.leave()
            raise
