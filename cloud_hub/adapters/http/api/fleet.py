"""Owns the API's operations on devices: the registry, trends, events, what one should run, and letting devices in."""

from collections.abc import Sequence
from http import HTTPStatus

from cloud_hub.adapters.http.api import documents
from cloud_hub.adapters.http.api.fields import Field, Group, Number, Text, Whole
from cloud_hub.adapters.http.api.operations import Call, Operation, Result
from cloud_hub.adapters.http.views import WebParts
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import ABOUT_PEOPLE, EventId, EventKind
from cloud_hub.core.people import Role
from cloud_hub.core.registry import DeviceFacts, devices_document
from cloud_hub.errors import DeviceAbsentError
from cloud_hub.inviting import MAX_TTL_H, MAX_USES, Invitation

DEVICE_SCHEMA = "tandem.device/1"
NO_DEVICE = {HTTPStatus.NOT_FOUND: "No such device."}

_NAME_CHARS = 64
_PACK_CHARS = 200
_MAX_EVENTS = 500
_MAX_ID = 10**18 - 1
_DAYS_S = 24.0 * 3600
_NS_PER_S = 1_000_000_000

_SINCE = Field(
    "since_s", Number(above=0, most=31 * _DAYS_S), "How far back, in seconds; an hour if not given.", default=3600.0
)
_AFTER = Field("after", Whole(0, _MAX_ID), "Only events with a larger id.", default=0)
_LIMIT = Field("limit", Whole(1, _MAX_EVENTS), "Most events.", default=100)
_DESIRE = Group((Field("pack", Text(_PACK_CHARS), "name@version of a published edge pack.", is_required=True),))
_INVITATION = Group(
    (
        Field("site", Text(_NAME_CHARS), "Site that devices join.", is_required=True),
        Field("uses", Whole(1, MAX_USES), "Devices that may use it.", default=1),
        Field("ttl_h", Number(above=0, most=MAX_TTL_H), "Hours until it expires.", default=24.0),
        Field("device", Text(_NAME_CHARS, is_nullable=True), "For this device only; may replace its key."),
    )
)


class FleetOperations:
    """What the API offers about devices.

    Args:
        parts: What it is made of.
    """

    def __init__(self, parts: WebParts) -> None:
        self._parts = parts

    def table(self) -> Sequence[Operation]:
        """List them."""
        device = "/devices/{site}/{device}"
        return (
            Operation("GET", "/devices", "listDevices", "The registry.", self._devices, "Devices"),
            Operation("GET", device, "getDevice", "One device.", self._device, "Device", refusals=NO_DEVICE),
            Operation(
                "GET",
                f"{device}/desired",
                "getDesired",
                "What a device should run.",
                self._desired,
                "Desired",
                refusals=NO_DEVICE,
            ),
            Operation(
                "PUT",
                f"{device}/desired/{{binding}}",
                "setDesired",
                "Say what a binding of a device should run; the device gets it with its next heartbeat.",
                self._desire,
                "Desired",
                role=Role.OPERATOR,
                body=_DESIRE,
                refusals=NO_DEVICE,
            ),
            Operation(
                "DELETE",
                f"{device}/desired/{{binding}}",
                "endDesired",
                "Say that nothing is wanted of a binding any more: the device runs there what it has.",
                self._end_desire,
                "Desired",
                role=Role.OPERATOR,
                refusals={HTTPStatus.BAD_REQUEST: "Nothing is desired there.", **NO_DEVICE},
            ),
            Operation(
                "GET",
                f"{device}/trends",
                "getDeviceTrends",
                "What a device did, bucket by bucket.",
                self._device_trends,
                "Trends",
                query=Group((_SINCE,)),
                refusals=NO_DEVICE,
            ),
            Operation(
                "GET",
                f"{device}/events",
                "getDeviceEvents",
                "What happened to a device, oldest first.",
                self._device_events,
                "Events",
                query=Group((_AFTER, _LIMIT)),
                refusals=NO_DEVICE,
            ),
            Operation(
                "GET",
                "/trends",
                "listTrends",
                "What all devices did, bucket by bucket.",
                self._trends,
                "Trends",
                query=Group((_SINCE,)),
            ),
            Operation(
                "GET",
                "/events",
                "listEvents",
                "What happened, oldest first; what concerns people is for operators only. /live tells it at once.",
                self._events,
                "Events",
                query=Group((_AFTER, _LIMIT)),
            ),
            Operation(
                "POST",
                "/join-tokens",
                "createJoinToken",
                "Make a token that lets devices enrol.",
                self._invite,
                "JoinToken",
                role=Role.OPERATOR,
                body=_INVITATION,
                status=HTTPStatus.CREATED,
            ),
        )

    async def _devices(self, _call: Call) -> Result:
        return self._registry(await self._parts.fleet.devices())

    async def _device(self, call: Call) -> Result:
        registry = self._registry([await self._facts(call)])
        (device,) = registry.pop("devices")
        return {**registry, "schema": DEVICE_SCHEMA, "device": device}

    async def _desired(self, call: Call) -> Result:
        facts = await self._facts(call)
        return documents.desired(facts.key, facts.desired)

    async def _desire(self, call: Call) -> Result:
        twin = await self._parts.actions.desire(call.person, self.key(call), call.path["binding"], call.body["pack"])
        return documents.desired(twin.device, twin)

    async def _end_desire(self, call: Call) -> Result:
        twin = await self._parts.actions.end_desire(call.person, self.key(call), call.path["binding"])
        return documents.desired(twin.device, twin)

    async def _device_trends(self, call: Call) -> Result:
        return await self._trend(call, (await self._facts(call)).key)

    async def _trends(self, call: Call) -> Result:
        return await self._trend(call, None)

    async def _device_events(self, call: Call) -> Result:
        return await self._page(call, (await self._facts(call)).key)

    async def _events(self, call: Call) -> Result:
        return await self._page(call, None)

    async def _invite(self, call: Call) -> Result:
        body = call.body
        made = await self._parts.actions.invite(Invitation(body["site"], body["uses"], body["ttl_h"], body["device"]))
        return documents.join_token(made)

    async def _trend(self, call: Call, device: DeviceKey | None) -> Result:
        now_ns = self._parts.clock()
        since_ns = now_ns - int(call.query["since_s"] * _NS_PER_S)
        points = await self._parts.fleet.trend(device, since_ns, now_ns)
        return documents.trends(points, now_ns=now_ns, since_ns=since_ns)

    async def _page(self, call: Call, device: DeviceKey | None) -> Result:
        after = EventId(call.query["after"])
        found = await self._parts.fleet.events(after, call.query["limit"], device)
        hidden = frozenset[EventKind]() if call.person.role.allows(Role.OPERATOR) else ABOUT_PEOPLE
        return documents.events(found, hidden=hidden, after=after)

    async def _facts(self, call: Call) -> DeviceFacts:
        key = self.key(call)
        facts = await self._parts.fleet.facts(key)
        if facts is None:
            raise DeviceAbsentError(str(key))
        return facts

    def key(self, call: Call) -> DeviceKey:
        """Name the device that a call's address names."""
        return DeviceKey(self._parts.org_id, call.path["site"], call.path["device"])

    def _registry(self, devices: Sequence[DeviceFacts]) -> documents.Document:
        parts = self._parts
        return devices_document(
            devices,
            hub_incarnation=parts.hub_incarnation(),
            now_ns=parts.clock(),
            heartbeat_interval_s=parts.heartbeat_interval_s,
            install_timeout_s=parts.install_timeout_s,
        )
