"""Which threads a call on the loop goes to."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from edge_agent.adapters.oip.calling import Caller, Calling
from edge_agent.adapters.oip.loop_calls import LoopCalls
from edge_agent.inference.revisions import LoopInbox
from tests.unit.edge_agent.adapters.oip.served import DEADLINE_S, Slow
from tests.unit.edge_agent.adapters.sqlite.builders import TestClock

WINDOW = {"window": np.zeros((1, 5, 2), np.float32)}


def test_an_answer_is_written_while_other_calls_wait_for_their_turn() -> None:
    """Else who was first in a burst of calls would be answered after the run of the last one."""
    slow = Slow()
    calls = LoopCalls(cast("Calling", None), LoopInbox)  # `plain` asks it for nothing
    served = cast("Any", SimpleNamespace(callee=slow))

    async def ask() -> str:
        runs = [asyncio.create_task(calls.plain(served, WINDOW, "", Caller(TestClock().monotonic_s))) for _ in range(3)]
        for _ in range(2):
            await asyncio.to_thread(slow.began.acquire)
        try:
            return await asyncio.wait_for(calls.in_thread(lambda: "written"), DEADLINE_S / 10)
        finally:
            slow.may_end.set()
            await asyncio.gather(*runs)

    calls.open()
    try:
        assert asyncio.run(ask()) == "written"
    finally:
        calls.close()
