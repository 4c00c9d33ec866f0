"""Owns the one polling wait of the test suite. What is waited for belongs to the caller.

Tests never sleep for a fixed time: they wait for a fact, with a deadline, and say what was missing.
"""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.02


def wait_until(condition: Callable[[], T], deadline_s: float, what: str) -> T:
    """Return the first truthy value of ``condition``.

    Args:
        condition: Asked every 20 ms; an exception of its own passes through.
        deadline_s: How long to ask, on the monotonic clock.
        what: The fact in words, for the message of a failure.

    Raises:
        AssertionError: The fact did not come true in time.
    """
    last = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > last:
            raise AssertionError(f"not within {deadline_s:g} s: {what} (last value: {value!r})")
        time.sleep(_POLL_S)
