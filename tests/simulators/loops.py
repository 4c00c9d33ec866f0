"""Owns running an async test in a loop of its own."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import ParamSpec

P = ParamSpec("P")

_DEADLINE_S = 60.0


def in_loop(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run an ``async def`` test, fixtures and all, in a new event loop; it fails after a minute."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(_DEADLINE_S):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run
