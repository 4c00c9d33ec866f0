"""Owns the HTTP app: health, metrics, and the registry as JSON. It changes nothing and knows no login.

Who listens where is `server.py`; the document of the registry is `core.registry`.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from cloud_hub.config import FleetConfig
from cloud_hub.core.liveness import liveness
from cloud_hub.core.registry import DeviceFacts, devices_document, heartbeat_age_s
from cloud_hub.errors import StorageError
from cloud_hub.metrics import HubMetrics
from cloud_hub.ports import Clock, DeviceStore
from model_packs.process.metrics import Registry
from protos.messages.escalation import HubIncarnation
from protos.status import TABLE

Readiness = Callable[[], Awaitable[Sequence[str]]]
"""Says why the hub is not ready; empty when it is."""

NAME = "cloud-hub"
_UNAVAILABLE = 503


class Pages:
    """The pages of the HTTP app.

    Args:
        store: The registry.
        registry: Where metrics are registered.
        metrics: The hub's metrics, refreshed from the registry when somebody looks.
        readiness: Says why the hub is not ready.
        version: The program's version.
        incarnation: Identity of the hub's database.
        clock: Wall clock.
        fleet: How often devices report, and how long a desire may wait.
    """

    def __init__(
        self,
        store: DeviceStore,
        registry: Registry,
        metrics: HubMetrics,
        readiness: Readiness,
        *,
        version: str,
        incarnation: HubIncarnation,
        clock: Clock,
        fleet: FleetConfig,
    ) -> None:
        self._store = store
        self._registry = registry
        self._metrics = metrics
        self._readiness = readiness
        self._version = version
        self._incarnation = incarnation
        self._clock = clock
        self._fleet = fleet

    def app(self) -> Starlette:
        """Make the ASGI app.

        Returns:
            The app.
        """
        return Starlette(
            routes=[
                Route("/", self._index),
                Route("/livez", self._livez),
                Route("/readyz", self._readyz),
                Route("/metrics", self._show_metrics),
                Route("/api/v1/devices", self._devices),
            ],
            exception_handlers={StorageError: _storage_failed},
        )

    async def _index(self, _request: Request) -> Response:
        links = {"devices": "/api/v1/devices", "metrics": "/metrics", "live": "/livez", "ready": "/readyz"}
        return JSONResponse({"name": NAME, "version": self._version, "links": links})

    async def _livez(self, _request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, _request: Request) -> Response:
        reasons = await self._readiness()
        if reasons:
            return PlainTextResponse("".join(f"{reason}\n" for reason in reasons), status_code=_UNAVAILABLE)
        return PlainTextResponse("ok\n")

    async def _show_metrics(self, _request: Request) -> Response:
        devices = await self._store.devices()
        now_ns = self._clock()
        states = Counter(liveness(heartbeat_age_s(one, now_ns), self._fleet.heartbeat_interval_s) for one in devices)
        self._metrics.show_devices(states, sum(one.waiting for one in devices))
        return Response(self._registry.expose(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _devices(self, _request: Request) -> Response:
        devices: Sequence[DeviceFacts] = await self._store.devices()
        return JSONResponse(
            devices_document(
                devices,
                hub_incarnation=self._incarnation,
                now_ns=self._clock(),
                heartbeat_interval_s=self._fleet.heartbeat_interval_s,
                install_timeout_s=self._fleet.install_timeout_s,
            )
        )


async def _storage_failed(_request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error}\n", status_code=TABLE[StorageError.status].http)
