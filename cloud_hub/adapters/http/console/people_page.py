"""Owns the people page: who may log in, and which programs and devices may come. A secret is shown once."""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cloud_hub.adapters.http.console.frame import Frame, Place
from cloud_hub.adapters.http.views import WebParts
from cloud_hub.core.people import Person, Role
from cloud_hub.errors import HubError, StorageError
from cloud_hub.inviting import Invitation
from protos.status import TABLE

JOIN_TTL_H = 24.0
_PASSWORD_BYTES = 15
_SEE_OTHER, _BAD_REQUEST = 303, 400


@dataclass(frozen=True, slots=True)
class Secret:
    """What is shown once."""

    title: str
    text: str


class PeoplePage:
    """Views of people and tokens.

    Args:
        parts: What pages are made of.
        frame: Draws them.
    """

    def __init__(self, parts: WebParts, frame: Frame) -> None:
        self._parts = parts
        self._frame = frame
        self._deeds: dict[str, Callable[[Person, FormData], Awaitable[Secret | None]]] = {
            "add": self._add,
            "password": self._password,
            "token": self._token,
            "remove": self._remove,
            "join": self._join,
        }

    async def show(self, request: Request) -> Response:
        """Show who there is."""
        return await self._page(request, None, "")

    async def act(self, request: Request) -> Response:
        """Do what a button says; what is refused is told on the same page.

        Raises:
            HTTPException: The form asks for nothing that this page does.
            StorageError: The database does not answer.
        """
        form = await request.form()
        deed = self._deeds.get(str(form.get("do", "")))
        if deed is None:
            raise HTTPException(_BAD_REQUEST, "the form asks for nothing that this page does: load the page again")
        try:
            secret = await deed(request.state.person, form)
        except StorageError:
            raise
        except HubError as error:
            response = await self._page(request, None, str(error))
            response.status_code = TABLE[error.status].http
            return response
        return RedirectResponse("/people", _SEE_OTHER) if secret is None else await self._page(request, secret, "")

    async def _page(self, request: Request, secret: Secret | None, problem: str) -> Response:
        return await self._frame.page(
            request,
            "people.html",
            Place("people", "People"),
            now_ns=self._parts.clock(),
            people=await self._parts.people.people(),
            secret=secret,
            problem=problem,
        )

    async def _add(self, by: Person, form: FormData) -> Secret | None:
        name, role = _text(form, "name"), _role(form)
        password = secrets.token_urlsafe(_PASSWORD_BYTES)
        await self._parts.actions.add_person(by, name, role, password)
        return Secret(f"Password of {name}", password)

    async def _password(self, by: Person, form: FormData) -> Secret | None:
        name, password = _text(form, "name"), secrets.token_urlsafe(_PASSWORD_BYTES)
        await self._parts.actions.set_password(by, name, password)
        return Secret(f"New password of {name}", password)

    async def _token(self, by: Person, form: FormData) -> Secret | None:
        name = _text(form, "name")
        token = await self._parts.people.open_api_token(name, actor=by.name, now_ns=self._parts.clock())
        return Secret(f"API token of {name}, for `Authorization: Bearer`", token)

    async def _remove(self, by: Person, form: FormData) -> Secret | None:
        await self._parts.actions.remove_person(by, _text(form, "name"))
        return None

    async def _join(self, _by: Person, form: FormData) -> Secret | None:
        site = _text(form, "site")
        made = await self._parts.actions.invite(Invitation(site, 1, JOIN_TTL_H, None))
        return Secret(f"Join token for one device at {site}, good for 24 hours", made.encoded)


def _text(form: FormData, name: str) -> str:
    return str(form.get(name, ""))


def _role(form: FormData) -> Role:
    given = _text(form, "role")
    found = next((role for role in Role if role.value == given), None)
    if found is None:
        raise HTTPException(_BAD_REQUEST, "the form names no role: load the page again")
    return found
