"""How long to wait before dialling again: exponential, capped, full jitter; and how often at all, in the long run.

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


class RetryBudget:
    """How often a peer may be dialled whatever comes of it: also when it greets each time and then leaves.

    A token bucket: a burst at once, then one attempt each time a token has come back.

    Args:
        burst: Attempts without a wait.
        every_s: How long a token takes to come back.
    """

    def __init__(self, burst: int = 20, every_s: float = 3.0) -> None:
        self._burst = burst
        self._every_s = every_s
        self._tokens = float(burst)
        self._at_s: float | None = None

    def spend(self, now_s: float) -> float:
        """Take a token for one attempt.

        Args:
            now_s: Monotonic clock.

        Returns:
            Seconds to wait until the attempt may be made; 0 within the budget.
        """
        if self._at_s is not None:
            self._tokens = min(self._burst, self._tokens + (now_s - self._at_s) / self._every_s)
        self._at_s = now_s
        self._tokens -= 1
        return max(0.0, -self._tokens * self._every_s)
