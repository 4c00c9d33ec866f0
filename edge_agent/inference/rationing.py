"""Owns what the answers of one process may spend: leases of the budget, in memory, by pool.

A decision never waits for the disk: it spends from a lease that was debited durably before, and a thread behind brings
the next one (`run_once`). An audit is paid for when it is drawn: its call is *held* from then on, so that none is drawn
for which there is no call, and comes back where the policy's own escalation pays. The arithmetic is `core/budget.py`,
the durable side `adapters/sqlite/budget_ledger.py`.
"""

import math
import sys
import threading
from collections.abc import Sequence
from typing import Protocol

from edge_agent.core.budget import Granted, Pool, Resource
from edge_agent.core.decision import Shortage
from edge_agent.core.worth import Worth

LEASE_CALLS = 32
POLL_S = 0.5


class Lender(Protocol):
    """The durable ledger, as a ration sees it."""

    def lease(self, pool: Pool, wanted: int, spent: int) -> Granted:
        """Debit calls, and their money, durably.

        Args:
            pool: Whose.
            wanted: How many calls.
            spent: How many calls of earlier leases were made since the last time.

        Raises:
            StoreError: The store is closed.
        """
        ...


class Ration:
    """The calls that may be made now. Any thread may ask; `run_once` is the body of its own loop.

    Args:
        lender: Grants leases; None: calls are not bounded.
        horizon_s: How far ahead calls are kept for larger gains.
    """

    def __init__(self, lender: Lender | None, horizon_s: float = math.inf) -> None:
        self._lender = lender
        self._worth = Worth(horizon_s)
        self.spending = threading.Lock()  # held by who looks at what is available and then spends it
        self._lock = threading.Lock()
        self._calls = dict.fromkeys(Pool, 0)
        self._spent = dict.fromkeys(Pool, 0)
        self._left = dict.fromkeys(Pool, 0)  # in the ledger, at the last lease
        self._short_of = dict.fromkeys(Pool, Shortage.CALLS)
        self._is_low = threading.Event()

    def available(self, pool: Pool) -> int:
        """How many calls of a pool may be made now."""
        with self._lock:
            return sys.maxsize if self._lender is None else self._calls[pool]

    def short_of(self, pool: Pool) -> Shortage:
        """What a pool without calls is short of."""
        with self._lock:
            return self._short_of[pool]

    def worthy(self, gains: Sequence[float], now_s: float) -> list[bool]:
        """Tell which questions are worth a call of the main pool; the caller has `spending`.

        Args:
            gains: What is expected of each, 0..1.
            now_s: Monotonic.

        Returns:
            All of them while calls are not bounded, or not short (`core/worth.py`).
        """
        if self._lender is None:
            return [True] * len(gains)
        with self._lock:
            calls = self._calls[Pool.MAIN] + self._left[Pool.MAIN]
        return self._worth.worthy(gains, calls, now_s)

    def spend(self, pool: Pool) -> None:
        """Make one of the available calls."""
        self.hold(pool)
        self.settle(pool)

    def hold(self, pool: Pool) -> None:
        """Take one of the available calls in hand: it is settled or given back."""
        if self._lender is None:
            return
        with self._lock:
            self._calls[pool] -= 1
            is_low = self._calls[pool] < LEASE_CALLS // 2
        if is_low:
            self._is_low.set()

    def settle(self, pool: Pool) -> None:
        """Make a call that is in hand."""
        if self._lender is not None:
            with self._lock:
                self._spent[pool] += 1

    def give_back(self, pool: Pool) -> None:
        """Put a call that is in hand back: it is not needed."""
        if self._lender is not None:
            with self._lock:
                self._calls[pool] += 1

    def run_once(self) -> None:
        """Wait until a lease runs low, half a second at most, and bring every pool's lease up to its size."""
        self._is_low.wait(POLL_S)
        self._is_low.clear()
        self.top_up()

    def top_up(self) -> None:
        """Bring every pool's lease up to its size now, and tell the ledger what was spent."""
        for pool in Pool:
            self._top_up(pool)

    def _top_up(self, pool: Pool) -> None:
        with self._lock:
            wanted, spent = max(0, LEASE_CALLS - self._calls[pool]), self._spent[pool]
        if self._lender is None or (not wanted and not spent):
            return
        granted = self._lender.lease(pool, wanted, spent)
        with self._lock:
            self._calls[pool] += granted.calls
            self._spent[pool] -= spent
            self._left[pool] = granted.left
            self._short_of[pool] = Shortage((granted.short_of or Resource.CALLS).value)
