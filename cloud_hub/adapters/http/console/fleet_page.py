"""Owns the fleet page: is anything wrong, and what does the edge keep? The worst stands first."""

from starlette.requests import Request
from starlette.responses import Response

from cloud_hub.adapters.http.console import policies, reading, recent
from cloud_hub.adapters.http.console.addresses import with_query
from cloud_hub.adapters.http.console.frame import Frame, Place
from cloud_hub.adapters.http.views import WebParts
from cloud_hub.core.console import charts, fleet_view
from cloud_hub.core.console.event_view import fleet_news
from cloud_hub.core.console.fleet_view import LATELY_S, Moment

_NS_PER_S = 1_000_000_000
_EVENTS, _EVENTS_READ = 8, 60
_POLICIES = 20
_MANY_DEVICES = 200
_SLOW_PACE_S = 10


class FleetPage:
    """Views of the fleet.

    Args:
        parts: What pages are made of.
        frame: Draws them.
    """

    def __init__(self, parts: WebParts, frame: Frame) -> None:
        self._parts = parts
        self._frame = frame

    async def show(self, request: Request) -> Response:
        """Show all devices, or those that match `q`."""
        parts, now_ns = self._parts, self._parts.clock()
        query = request.query_params.get("q", "")
        span = charts.range_of(request.query_params.get("range", ""))
        moment = Moment(now_ns, parts.heartbeat_interval_s, parts.install_timeout_s)
        lately_ns = now_ns - LATELY_S * _NS_PER_S
        devices = await parts.fleet.devices()
        fleet = fleet_view.fleet(
            devices,
            await parts.fleet.lately(lately_ns, now_ns),
            await parts.cases.case_trend(lately_ns, LATELY_S, None),
            moment,
            await recent.changed(parts, now_ns),
        )
        counts = await parts.cases.case_trend(charts.since_ns(span, now_ns), span.bucket_s, None)
        sites = {row.device.site_id for row in fleet.rows}
        is_large = len(fleet.rows) > _MANY_DEVICES
        place = Place("fleet", "Fleet", ("fleet", "cases"), charts=True, pace_s=_SLOW_PACE_S if is_large else 2)
        return await self._frame.page(
            request,
            "fleet.html",
            place,
            now_ns=now_ns,
            fleet=fleet,
            rows=fleet_view.matching(fleet.rows, query),
            query=query,
            site=next(iter(sites)) if len(sites) == 1 else "",
            many_sites=len(sites) > 1,
            lately=f"last {LATELY_S // 60} min",
            span=span,
            ranges=charts.RANGES,
            range_path=lambda key: with_query("/", q=query, range="" if key == charts.DEFAULT_RANGE.key else key),
            chart=charts.escalations(counts, span, now_ns),
            next=await self._next(request),
            policies=(await policies.of_fleet(parts, devices, now_ns))[:_POLICIES],
            news=fleet_news(await parts.fleet.recent_events(_EVENTS_READ), _EVENTS),
        )

    async def _next(self, request: Request) -> reading.ShownCase | None:
        """The case that stands first in this person's queue."""
        queue = await self._parts.cases.review_queue(1, request.state.person.name)
        if not queue:
            return None
        detail = await self._parts.cases.case(queue[0].device, queue[0].prediction_id)
        return None if detail is None else await reading.shown(self._parts, detail)
