"""Owns the loop that watches the fleet: who fell silent or is back becomes an event, what is too old is deleted.

When a change is news is `core.liveness`; what is kept for how long is `[fleet]` of `hub.toml`.
"""

import asyncio
import logging

from cloud_hub.config import FleetConfig
from cloud_hub.core.liveness import liveness_changes
from cloud_hub.metrics import HubMetrics
from cloud_hub.ports import Clock, FleetWatchStore
from protos.link.backoff import Backoff

MAX_LOOK_S = 5.0
"""How long a change may wait to be told, where devices report seldom."""

PRUNE_EVERY_S = 600.0
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
    """

    def __init__(self, store: FleetWatchStore, metrics: HubMetrics, clock: Clock, config: FleetConfig) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._config = config
        self._listening_since_ns = clock()
        self._pruned_at_ns: int | None = None

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
        now_ns = self._clock()
        changes = liveness_changes(
            await self._store.heard(),
            now_ns=now_ns,
            listening_since_ns=self._listening_since_ns,
            interval_s=self._config.heartbeat_interval_s,
        )
        if changes:
            await self._store.tell_liveness(changes, now_ns)
        if self._pruned_at_ns is None or now_ns - self._pruned_at_ns > PRUNE_EVERY_S * _NS_PER_S:
            await self._store.prune(
                events_before_ns=now_ns - self._config.event_days * _NS_PER_DAY,
                max_events=self._config.max_events,
                trends_before_ns=now_ns - self._config.trend_days * _NS_PER_DAY,
            )
            while await self._forget(now_ns - self._config.answered_days * _NS_PER_DAY):
                pass
            self._pruned_at_ns = now_ns

    async def _forget(self, before_ns: int) -> int:
        """Forget a page of what is older; other writers get their turn between two pages."""
        gone = await self._store.forget(before_ns)
        self._metrics.forgotten.labels("item").inc(gone.items)
        self._metrics.forgotten.labels("verdict").inc(gone.verdicts)
        return gone.items
