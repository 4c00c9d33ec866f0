"""Owns what machines ask without a login: is the hub alive, is it ready, and its metrics."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus

from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from cloud_hub.core.registry import liveness_of
from cloud_hub.metrics import HubMetrics
from cloud_hub.ports import CaseRecords, Clock, DeviceStore
from model_packs.process.metrics import Registry

Readiness = Callable[[], Awaitable[Sequence[str]]]
"""Says why the hub is not ready; empty when it is."""


class Health:
    """The open pages.

    Args:
        devices: The registry.
        cases: What waits for review.
        registry: Where metrics are registered.
        metrics: The hub's metrics, refreshed from the registry when somebody looks.
        readiness: Says why the hub is not ready.
        clock: Wall clock.
        heartbeat_interval_s: How often devices report.
    """

    def __init__(
        self,
        devices: DeviceStore,
        cases: CaseRecords,
        registry: Registry,
        metrics: HubMetrics,
        readiness: Readiness,
        *,
        clock: Clock,
        heartbeat_interval_s: float,
    ) -> None:
        self._devices = devices
        self._cases = cases
        self._registry = registry
        self._metrics = metrics
        self._readiness = readiness
        self._clock = clock
        self._interval_s = heartbeat_interval_s

    def routes(self) -> Sequence[Route]:
        """List them."""
        return (
            Route("/livez", self._livez),
            Route("/readyz", self._readyz),
            Route("/metrics", self._show_metrics),
        )

    async def _livez(self, _request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, _request: Request) -> Response:
        reasons = await self._readiness()
        if reasons:
            text = "".join(f"{reason}\n" for reason in reasons)
            return PlainTextResponse(text, status_code=HTTPStatus.SERVICE_UNAVAILABLE)
        return PlainTextResponse("ok\n")

    async def _show_metrics(self, _request: Request) -> Response:
        devices = await self._devices.devices()
        now_ns = self._clock()
        states = Counter(liveness_of(one, now_ns, self._interval_s) for one in devices)
        self._metrics.show_devices(states, sum(one.waiting for one in devices))
        self._metrics.reviews_waiting.set(await self._cases.review_count())
        return Response(self._registry.expose(), headers={"Content-Type": CONTENT_TYPE_LATEST})
