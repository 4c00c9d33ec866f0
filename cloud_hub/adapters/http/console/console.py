"""Owns the console's addresses: which page lies where, and the least role that it takes. The gate stands before all.

What a page shows is its own module's part; how it is framed `frame.py`'s; what people may change `..actions`'s.
"""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount

from cloud_hub.adapters.http.console import static_files, templating
from cloud_hub.adapters.http.console.device_page import DevicePage
from cloud_hub.adapters.http.console.escalation_pages import EscalationPages
from cloud_hub.adapters.http.console.fleet_page import FleetPage
from cloud_hub.adapters.http.console.frame import Frame
from cloud_hub.adapters.http.console.pack_pages import PackPages
from cloud_hub.adapters.http.console.people_page import PeoplePage
from cloud_hub.adapters.http.console.review_page import ReviewPage
from cloud_hub.adapters.http.problems import Problem
from cloud_hub.adapters.http.views import Page, WebParts
from cloud_hub.core.people import Role


class Console:
    """What people see of the hub.

    Args:
        parts: What pages are made of.
    """

    def __init__(self, parts: WebParts) -> None:
        self._version = static_files.version_of(static_files.FOLDER)
        self._frame = Frame(parts, templating.environment(), f"/static/{self._version}")
        self._fleet = FleetPage(parts, self._frame)
        self._device = DevicePage(parts, self._frame)
        self._escalations = EscalationPages(parts, self._frame)
        self._review = ReviewPage(parts, self._frame)
        self._packs = PackPages(parts, self._frame)
        self._people = PeoplePage(parts, self._frame)

    def pages(self) -> Sequence[Page]:
        """List the pages behind the login."""
        device = "/devices/{site}/{device}"
        install = f"{device}/install/{{binding:path}}"
        return (
            Page("/", self._fleet.show),
            Page(device, self._device.show),
            Page(install, self._device.choose, Role.OPERATOR),
            Page(install, self._device.install, Role.OPERATOR, ("POST",)),
            Page(f"{device}/unassign/{{binding:path}}", self._device.unassign, Role.OPERATOR, ("POST",)),
            Page("/escalations", self._escalations.list),
            Page("/escalations/{site}/{device}/{prediction_id}", self._escalations.show),
            Page("/review", self._review.show),
            Page("/review", self._review.label, Role.LABELER, ("POST",)),
            Page("/review/more", self._review.more),
            Page("/packs", self._packs.list),
            Page("/packs/{name}/{version}", self._packs.show),
            Page("/people", self._people.show, Role.OPERATOR),
            Page("/people", self._people.act, Role.OPERATOR, ("POST",)),
        )

    def static(self) -> Mount:
        """Serve what anybody may load."""
        return static_files.mount(self._version)

    def login_page(
        self, request: Request, *, problem: str = "", next_path: str = "/", status_code: int = 200
    ) -> Response:
        """Draw the form that posts `name`, `password` and `next` to `/login`."""
        return self._frame.login(request, problem, next_path, status_code)

    def problem_page(self, request: Request, problem: Problem) -> Response:
        """Draw why a page is not there, with the problem's status."""
        return self._frame.problem(request, problem)
