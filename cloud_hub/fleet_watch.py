"""Owns the loop that watches the fleet: who fell silent or is back becomes an event, what is too old is deleted.

When a change is news is `core.liveness`; what is kept for how long is `[fleet]` of `hub.toml`. A wall clock that jumps
is logged, is nobody's silence, and deletes nothing: ages count once it kept pace with the monotonic one for a while.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from cloud_hub.config import FleetConfig
from cloud_hub.core.liveness import liveness_changes
from cloud_hub.metrics import HubMetrics
from cloud_hub.ports import Clock, FleetWatchStore
from protos.link.backoff import Backoff

MAX_LOOK_S = 5.0
"""How long a change may wait to be told, where devices report seldom."""

PRUNE_EVERY_S = 600.0
SETTLED_S = 3600.0
"""How long the wall clock must have kept pace before anything is deleted for its age."""

MAX_DRIFT_S = 10.0
"""How much the clocks may differ from one look to the next; more is a jump."""

_NS_PER_S = 1_000_000_000
_NS_PER_DAY = 86_400 * _NS_PER_S

logger = logging.getLogger(__name__)


class FleetWatch:
    """Watches who is heard, and keeps the fleet's records within their bounds.

    Args:
        store: What it reads and writes.
        metrics: Where failures of the loop, and what was forgotten, are counted.
        clock: Wall clock.
        config: How often devices report, and how long events and trends are kept.
        monotonic_s: Monotonic clock.
    """

    def __init__(
        self,
        store: FleetWatchStore,
        metrics: HubMetrics,
        clock: Clock,
        config: FleetConfig,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._config = config
        self._monotonic_s = monotonic_s
        self._listening_since_ns = clock()
        self._looked_at = (self._listening_since_ns, monotonic_s())
        self._steady_since_s = self._looked_at[1]
        self._pruned_at_s: float | None = None

    async def run(self) -> None:
        """Watch until cancelled. A failure is logged and counted; the next look sees the same again."""
        interval_s = min(self._config.heartbeat_interval_s, MAX_LOOK_S)
        backoff = Backoff(initial_s=interval_s, cap_s=60.0)
        while True:
            try:
                await self.look()
                backoff.reset()
                pause_s = interval_s
            except Exception:  # the top of this loop: whatever broke, what was not told is told at the next look
                logger.exception("fleet_watch_failed")
                self._metrics.loop_failures.labels("fleet_watch").inc()
                pause_s = backoff.next_s()
            await asyncio.sleep(pause_s)

    async def look(self) -> None:
        """Look once.

        Raises:
            StorageError: The database refused; nothing of it was told.
        """
        now_ns, now_s = self._clock(), self._monotonic_s()
        self._note_a_jump(now_ns, now_s)
        changes = liveness_changes(
            await self._store.heard(),
            now_ns=now_ns,
            listening_since_ns=self._listening_since_ns,
            interval_s=self._config.heartbeat_interval_s,
        )
        if changes:
            await self._store.tell_liveness(changes, now_ns)
        is_due = self._pruned_at_s is None or now_s - self._pruned_at_s > PRUNE_EVERY_S
        if is_due and now_s - self._steady_since_s >= SETTLED_S:
            await self._store.prune(
                events_before_ns=now_ns - self._config.event_days * _NS_PER_DAY,
                max_events=self._config.max_events,
                trends_before_ns=now_ns - self._config.trend_days * _NS_PER_DAY,
            )
            while await self._forget(now_ns - self._config.answered_days * _NS_PER_DAY):
                pass
            self._pruned_at_s = now_s

    def _note_a_jump(self, now_ns: int, now_s: float) -> None:
        before_ns, before_s = self._looked_at
        self._looked_at = (now_ns, now_s)
        jump_s = (now_ns - before_ns) / _NS_PER_S - (now_s - before_s)
        if abs(jump_s) > MAX_DRIFT_S:
            logger.warning("clock_jumped", extra={"jump_s": round(jump_s, 3), "pruning_waits_s": SETTLED_S})
            self._steady_since_s = now_s
            self._listening_since_ns = now_ns

    async def _forget(self, before_ns: int) -> int:
        """Forget a page of what is older; other writers get their turn between two pages."""
        gone = await self._store.forget(before_ns)
        self._metrics.forgotten.labels("item").inc(gone.items)
        self._metrics.forgotten.labels("verdict").inc(gone.verdicts)
        return gone.items
