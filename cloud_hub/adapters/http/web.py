"""Owns the HTTP app as a whole: which address leads where, who may go there, and what every answer carries.

Open are health (`health.py`), the login and what the console loads; everything else stands behind the gate
(`gate.py`): the console's pages, and what the HTTP API offers. Refusals and failures become problem details for
programs and pages for people (`problems.py`). Who listens where is `server.py`.
"""

import logging
from collections.abc import Sequence
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_hub.adapters.http.api.routes import Api
from cloud_hub.adapters.http.events import LIVE_PATH, Live
from cloud_hub.adapters.http.gate import API_PATH, LOGIN_PATH, LOGOUT_PATH, LoginGate
from cloud_hub.adapters.http.health import Health
from cloud_hub.adapters.http.problems import problem_json, problem_of
from cloud_hub.adapters.http.views import Console
from cloud_hub.core.people import Role
from cloud_hub.errors import HubError, StorageError

NAME = "cloud-hub"
"""How the hub presents itself to every caller, without its version."""

MAX_BODY_BYTES = 256 * 1024
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'self'"
)
HEADERS = {
    "Server": NAME,
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # `no-referrer` would make a form's Origin null, and the gate could not judge it
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

logger = logging.getLogger(__name__)


class Web:
    """The HTTP app.

    Args:
        gate: Says who calls.
        console: What people see.
        health: What machines ask.
        live: What open pages hear.
        api: What programs call.
    """

    def __init__(self, gate: LoginGate, console: Console, health: Health, live: Live, api: Api) -> None:
        self._gate = gate
        self._console = console
        self._health = health
        self._live = live
        self._api = api

    def app(self) -> ASGIApp:
        """Make the ASGI app.

        Returns:
            The app; every answer of it carries the security headers.
        """
        app = Starlette(
            routes=self.routes(),
            middleware=[Middleware(_BodyLimit)],
            exception_handlers={HTTPException: self._problem, HubError: self._problem, Exception: self._problem},
        )
        return _SecurityHeaders(app)

    def routes(self) -> Sequence[BaseRoute]:
        """List every address."""
        gate = self._gate
        return [
            *self._health.routes(),
            self._console.static(),
            Route(LOGIN_PATH, gate.login_form, methods=["GET"]),
            Route(LOGIN_PATH, gate.sign_in, methods=["POST"]),
            Route(LOGOUT_PATH, gate.guarded(gate.sign_out, Role.VIEWER), methods=["POST"]),
            Route(LIVE_PATH, gate.guarded(self._live.view, Role.VIEWER), methods=["GET"]),
            *self._api.routes(),
            *(
                Route(page.path, gate.guarded(page.view, page.role), methods=list(page.methods))
                for page in self._console.pages()
            ),
        ]

    async def _problem(self, request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        if request.url.path.startswith(API_PATH):
            return problem_json(problem)
        if "text/html" not in request.headers.get("Accept", ""):
            return PlainTextResponse(f"{problem.detail}\n", problem.status, dict(problem.headers))
        try:
            await self._gate.recognise(request)
        except StorageError:
            request.state.person, request.state.csrf = None, ""
        return self._console.problem_page(request, problem)


class _SecurityHeaders:
    """Adds to every answer, those to errors included, what tells the browser to be strict."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers)


class _BodyLimit:
    """Stops reading a body that is larger than anything that this app takes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        read_bytes = 0

        async def receive_within_limit() -> Message:
            nonlocal read_bytes
            message = await receive()
            read_bytes += len(message.get("body", b""))
            if read_bytes > MAX_BODY_BYTES:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return message

        await self._app(scope, receive_within_limit, send)
