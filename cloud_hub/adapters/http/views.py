"""Owns what the HTTP app and the console are to each other: pages with the least role, and two faces of the gate.

The gate (`gate.py`) looks at who calls before a view runs. In every view `request.state.person` is who calls and
`request.state.csrf` what forms must carry; on the two faces the person may be None.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount

from cloud_hub.adapters.http.actions import Actions
from cloud_hub.adapters.http.problems import Problem
from cloud_hub.core.people import Role
from cloud_hub.labelling import Labelling
from cloud_hub.ports import CaseRecords, Clock, FleetRecords, PackShelf, People, PolicyBook
from protos.messages.escalation import HubIncarnation

View = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the console.

    Attributes:
        path: As Starlette writes it, parameters in braces.
        role: The least role that may open it.
    """

    path: str
    view: View
    role: Role = Role.VIEWER
    methods: tuple[str, ...] = ("GET",)


class Console(Protocol):
    """What people see."""

    def pages(self) -> Sequence[Page]:
        """List the pages behind the login."""

    def static(self) -> Mount:
        """Serve what anybody may load: scripts, styles, pictures of the console itself."""

    def login_page(
        self, request: Request, *, problem: str = "", next_path: str = "/", status_code: int = 200
    ) -> Response:
        """Draw the form that posts `name`, `password` and `next` to `/login`."""

    def problem_page(self, request: Request, problem: Problem) -> Response:
        """Draw why a page is not there, with the problem's status."""


@dataclass(frozen=True, slots=True)
class WebParts:
    """What pages and the API are made of.

    Attributes:
        fleet: Devices, twins, trends, events.
        cases: Escalated windows.
        people: Who may log in.
        policies: How devices decide, and how that fares.
        shelf: Published packs.
        labelling: Names the labels that a case may get.
        actions: What people may change.
        clock: Wall clock.
        org_id: Part of every device's key.
        hub_incarnation: Tells the identity of the hub's database.
        heartbeat_interval_s: How often devices report.
        install_timeout_s: How long a desire may go without a word from its device.
        overdue_s: After how long an audit or a chosen window is overdue.
        version: The program's.
    """

    fleet: FleetRecords
    cases: CaseRecords
    people: People
    policies: PolicyBook
    shelf: PackShelf
    labelling: Labelling
    actions: Actions
    clock: Clock
    org_id: str
    hub_incarnation: Callable[[], HubIncarnation]
    heartbeat_interval_s: float
    install_timeout_s: float
    overdue_s: float
    version: str
