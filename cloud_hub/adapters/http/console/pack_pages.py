"""Owns the packs: what can run, who signed it, what does it promise? A list, and one page a pack."""

from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from cloud_hub.adapters.http.console import reading
from cloud_hub.adapters.http.console.frame import Frame, Place
from cloud_hub.adapters.http.views import WebParts
from cloud_hub.core.console.card import read_card
from cloud_hub.core.console.fleet_view import Moment
from cloud_hub.core.console.pack_view import PackUse, conditions, holders, promise, uses
from cloud_hub.ports import PackFacts

_NOBODY = PackUse(0, 0)
_NOT_FOUND = 404
_HEARS = ("packs", "fleet")


@dataclass(frozen=True, slots=True)
class PackRow:
    """A pack in the list."""

    facts: PackFacts
    promise: str
    use: PackUse


class PackPages:
    """Views of packs.

    Args:
        parts: What pages are made of.
        frame: Draws them.
    """

    def __init__(self, parts: WebParts, frame: Frame) -> None:
        self._parts = parts
        self._frame = frame

    async def list(self, request: Request) -> Response:
        """Show all published packs."""
        parts, moment = self._parts, self._moment()
        known = uses(await parts.fleet.devices())
        found = await parts.shelf.packs()
        packs = [one for one in found if isinstance(one, PackFacts)]
        return await self._frame.page(
            request,
            "packs.html",
            Place("packs", "Packs", _HEARS, pace_s=5),
            now_ns=moment.now_ns,
            packs=[
                PackRow(one, promise(one.certificate, one.manifest), known.get(str(one.ref), _NOBODY)) for one in packs
            ],
            unreadable=[one for one in found if not isinstance(one, PackFacts)],
        )

    async def show(self, request: Request) -> Response:
        """Show one pack.

        Raises:
            HTTPException: It is not published, or cannot be read.
            StorageError: The pack store or the database does not answer.
        """
        parts, moment = self._parts, self._moment()
        name = f"{request.path_params['name']}@{request.path_params['version']}"
        facts = await reading.published(parts, name)
        if facts is None:
            raise HTTPException(_NOT_FOUND)
        devices = await parts.fleet.devices()
        return await self._frame.page(
            request,
            "pack.html",
            Place("pack", "Packs", _HEARS, pace_s=5),
            now_ns=moment.now_ns,
            facts=facts,
            promise=promise(facts.certificate, facts.manifest),
            conditions=() if facts.certificate is None else conditions(facts.certificate),
            card=read_card(facts.card),
            holders=holders(devices, name, moment),
            use=uses(devices).get(name, _NOBODY),
        )

    def _moment(self) -> Moment:
        return Moment(self._parts.clock(), self._parts.heartbeat_interval_s, self._parts.install_timeout_s)
