"""Owns which escalation stream is each device's current one: the newest epoch wins, older ones are sent away."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from cloud_hub.core.devices import DeviceKey
from cloud_hub.metrics import HubMetrics
from protos.messages.escalation import GoAway, Verdict

SPREAD_MS = 10
"""How much later each device is told to come back than the one before, when all are sent away."""

_RESTORED = GoAway("the hub's database was put back from a backup")

logger = logging.getLogger(__name__)


class Stream(Protocol):
    """One open stream, as the registry sees it."""

    @property
    def device(self) -> DeviceKey:
        """Whose it is."""

    @property
    def epoch(self) -> int:
        """Its session epoch."""

    def ring(self, verdict: Verdict) -> None:
        """The device's verdict log has grown by this one."""

    def send_away(self, farewell: GoAway) -> None:
        """End it after what has arrived is stored and acknowledged."""


class Streams:
    """The open streams by device.

    Args:
        metrics: Where open streams are shown.
    """

    def __init__(self, metrics: HubMetrics) -> None:
        self._metrics = metrics
        self._current: dict[DeviceKey, Stream] = {}
        self._farewell: GoAway | None = None
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def enter(self, stream: Stream) -> None:
        """Make a stream its device's current one; whichever of the two is older is sent away.

        Args:
            stream: A stream that has its epoch.
        """
        if self._farewell is not None:
            stream.send_away(self._farewell)
            return
        before = self._current.get(stream.device)
        if before is not None and before.epoch > stream.epoch:
            stream.send_away(_superseded(before))
            return
        if before is not None:
            before.send_away(_superseded(stream))
        self._current[stream.device] = stream
        self._is_empty.clear()
        self._metrics.streams_open.set(len(self._current))

    def tell_restored(self) -> None:
        """End every stream: the database took a new incarnation, which devices learn of with their next Hello."""
        logger.warning("hub_restored", extra={"streams": len(self._current)})
        self._send_all_away(_RESTORED)

    def leave(self, stream: Stream) -> None:
        """Forget a stream that has ended.

        Args:
            stream: It may be another's predecessor already.
        """
        if self._current.get(stream.device) is stream:
            del self._current[stream.device]
            self._metrics.streams_open.set(len(self._current))
        if not self._current:
            self._is_empty.set()

    def ring(self, logged: Sequence[tuple[DeviceKey, Verdict]]) -> None:
        """Tell the devices' streams what was added to their logs.

        Args:
            logged: In the logs' order.
        """
        for device, verdict in logged:
            stream = self._current.get(device)
            if stream is not None:
                stream.ring(verdict)

    async def close(self, farewell: GoAway, drain_s: float) -> None:
        """End every stream, and every one that still comes, and wait until what has arrived is acknowledged.

        Args:
            farewell: What they are told; each is told to come back a little later than the one before.
            drain_s: How long to wait; who needs longer is cut off and sends its items again.
        """
        self._farewell = farewell
        self._send_all_away(farewell)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                await self._is_empty.wait()

    def _send_all_away(self, farewell: GoAway) -> None:
        for place, stream in enumerate(tuple(self._current.values())):
            stream.send_away(replace(farewell, retry_after_ms=farewell.retry_after_ms + place * SPREAD_MS))


def _superseded(newer: Stream) -> GoAway:
    return GoAway(reason=f"superseded by session {newer.epoch} of the same device")
