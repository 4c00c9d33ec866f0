"""How long to wait before dialling again: exponential, capped, full jitter.

Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015; the wait itself is tenacity's.
"""

from tenacity import RetryCallState, Retrying, wait_random_exponential


class Backoff:
    """Waits of one peer; `reset` after a success.

    Args:
        initial_s: Upper end of the first wait.
        cap_s: Upper end of every wait.
    """

    def __init__(self, initial_s: float = 0.5, cap_s: float = 30.0) -> None:
        self._wait = wait_random_exponential(multiplier=initial_s, max=cap_s)
        self._state = RetryCallState(Retrying(), fn=None, args=(), kwargs={})

    def next_s(self) -> float:
        """Seconds to wait before the next attempt; the upper end grows with each call."""
        wait_s = float(self._wait(self._state))
        self._state.attempt_number += 1
        return wait_s

    def reset(self) -> None:
        """Forget the failures."""
        self._state.attempt_number = 1
