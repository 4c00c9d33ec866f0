"""Owns a device's page: what is it doing, what does it hold, what changed? And installing a pack on one binding."""

from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cloud_hub.adapters.http.console import policies, reading, recent
from cloud_hub.adapters.http.console.addresses import device_path, with_query
from cloud_hub.adapters.http.console.frame import Frame, Place
from cloud_hub.adapters.http.views import WebParts
from cloud_hub.core.cases import CaseFilter
from cloud_hub.core.console import charts, fleet_view, pack_view
from cloud_hub.core.console.event_view import told
from cloud_hub.core.console.fleet_view import Moment
from cloud_hub.core.console.wording import State
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.liveness import Liveness
from cloud_hub.core.people import Role
from cloud_hub.core.registry import DeviceFacts, liveness_of
from cloud_hub.core.twin import SlotStatus
from cloud_hub.ports import PackFacts
from protos.messages.fleet import SlotReport

_EVENTS, _CASES = 30, 8
_NOT_FOUND, _SEE_OTHER = 404, 303


@dataclass(frozen=True, slots=True)
class Slot:
    """One binding of the twin; `back` is the pack that an undo would install, empty when there is none."""

    status: SlotStatus
    state: State
    report: SlotReport | None
    back: str


class DevicePage:
    """Views of one device.

    Args:
        parts: What pages are made of.
        frame: Draws them.
    """

    def __init__(self, parts: WebParts, frame: Frame) -> None:
        self._parts = parts
        self._frame = frame

    async def show(self, request: Request) -> Response:
        """Show a device.

        Raises:
            HTTPException: There is no such device.
            StorageError: The database does not answer.
        """
        device = await self._device(request)
        parts, key, now_ns = self._parts, device.key, self._parts.clock()
        span = charts.range_of(request.query_params.get("range", ""))
        moment = Moment(now_ns, parts.heartbeat_interval_s, parts.install_timeout_s)
        since_ns = charts.since_ns(span, now_ns)
        trend = await parts.fleet.trend(key, since_ns, now_ns)
        counts = await parts.cases.case_trend(since_ns, span.bucket_s, key)
        lately = fleet_view.lately(trend, counts)
        slots = fleet_view.statuses(device, moment)
        lines = (
            ("Escalated", "% of its windows", charts.escalation_share(trend, span, now_ns)),
            ("Answer p95", "ms", charts.latency(trend, span, now_ns)),
            ("Unsent", "items in its outbox", charts.unsent(trend, span, now_ns)),
        )
        wanted = CaseFilter(site_id=key.site_id, device_id=key.device_id)
        cases = (await parts.cases.cases(wanted, _CASES)).cases
        address = f"{key.site_id}/{key.device_id}"
        return await self._frame.page(
            request,
            "device.html",
            Place("device", "Fleet", ("device", "cases"), device=address, charts=True),
            now_ns=now_ns,
            key=key,
            device=device,
            state=fleet_view.standing(device, slots, await recent.of_device(parts, key, now_ns), moment),
            is_silent=liveness_of(device, now_ns, parts.heartbeat_interval_s) is not Liveness.ONLINE,
            problems=() if device.heartbeat is None else device.heartbeat.problems,
            lately=lately,
            slots=[_slot(device, status, moment) for status in slots],
            policies=await policies.of_device(parts, device, now_ns),
            bindings=() if device.heartbeat is None else device.heartbeat.bindings,
            span=span,
            ranges=charts.RANGES,
            range_path=lambda range_key: with_query(device_path(key), range=range_key),
            device_charts=lines,
            charts_empty=all(not line.values for _, _, chart in lines for line in chart.lines) or not trend,
            cases=[reading.row(case) for case in cases],
            show_device=False,
            events=[(event, told(event)) for event in await parts.fleet.recent_events(_EVENTS, key)],
            may_operate=_may_operate(request),
        )

    async def choose(self, request: Request) -> Response:
        """Ask what a binding should run.

        Raises:
            HTTPException: There is no such device or binding.
            StorageError: The database does not answer.
        """
        device = await self._device(request)
        parts, now_ns = self._parts, self._parts.clock()
        moment = Moment(now_ns, parts.heartbeat_interval_s, parts.install_timeout_s)
        binding = request.path_params["binding"]
        found = [one for one in fleet_view.statuses(device, moment) if one.binding == binding]
        if not found:
            raise HTTPException(_NOT_FOUND)
        packs = [one for one in await parts.shelf.packs() if isinstance(one, PackFacts)]
        known = [pack_view.Offer(one.manifest, one.certificate, one.size_bytes) for one in packs]
        return await self._frame.page(
            request,
            "install.html",
            Place("install", "Fleet"),
            now_ns=now_ns,
            key=device.key,
            status=found[0],
            choices=pack_view.choices(known, found[0], _failures(device, binding)),
            chosen=request.query_params.get("pack", ""),
        )

    async def install(self, request: Request) -> Response:
        """State the desire and go back to the device, where its progress shows.

        Raises:
            HubError: It is refused by name, or cannot be stored.
            HTTPException: There is no such device.
        """
        device = await self._device(request)
        form = await request.form()
        binding, pack = request.path_params["binding"], str(form.get("pack", ""))
        await self._parts.actions.desire(request.state.person, device.key, binding, pack)
        return RedirectResponse(device_path(device.key), _SEE_OTHER)

    async def unassign(self, request: Request) -> Response:
        """End the desire and go back to the device.

        Raises:
            HubError: It is refused by name, or cannot be stored.
            HTTPException: There is no such device.
        """
        device = await self._device(request)
        await self._parts.actions.end_desire(request.state.person, device.key, request.path_params["binding"])
        return RedirectResponse(device_path(device.key), _SEE_OTHER)

    async def _device(self, request: Request) -> DeviceFacts:
        place = request.path_params
        device = await self._parts.fleet.facts(DeviceKey(self._parts.org_id, place["site"], place["device"]))
        if device is None:
            raise HTTPException(_NOT_FOUND)
        return device


def _slot(device: DeviceFacts, status: SlotStatus, moment: Moment) -> Slot:
    slots = () if device.heartbeat is None else device.heartbeat.slots
    report = next((one for one in slots if one.binding == status.binding), None)
    previous = "" if report is None else report.previous_pack or ""
    state = fleet_view.slot_state(status, device, moment)
    return Slot(status, state, report, "" if previous == status.desired_pack else previous)


def _failures(device: DeviceFacts, binding: str) -> dict[str, str]:
    slots = () if device.heartbeat is None else device.heartbeat.slots
    failures = [one.failure for one in slots if one.binding == binding and one.failure is not None]
    return {one.pack: f"{one.detail} ({one.reason})" for one in failures}


def _may_operate(request: Request) -> bool:
    role: Role = request.state.person.role
    return role.allows(Role.OPERATOR)
