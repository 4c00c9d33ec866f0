"""Owns the API's operations on people: who is asking, and for operators, who may log in."""

from collections.abc import Sequence
from http import HTTPStatus

from starlette.responses import Response

from cloud_hub.adapters.http.api import documents
from cloud_hub.adapters.http.api.fields import Choice, Field, Group, Text
from cloud_hub.adapters.http.api.operations import Call, Operation, Result
from cloud_hub.adapters.http.views import WebParts
from cloud_hub.core.people import MAX_PASSWORD_CHARS, MIN_PASSWORD_CHARS, Role

_NAME_CHARS = 64
_NOBODY = {HTTPStatus.NOT_FOUND: "Nobody has that name."}
_PASSWORD = Field(
    "password", Text(MAX_PASSWORD_CHARS, MIN_PASSWORD_CHARS), "For the login of the console.", is_required=True
)
_PERSON = Group(
    (
        Field("name", Text(_NAME_CHARS), "To log in with.", is_required=True),
        Field("role", Choice(tuple(str(role) for role in Role)), "What they may do.", is_required=True),
        _PASSWORD,
    )
)


class PeopleOperations:
    """What the API offers about people.

    Args:
        parts: What it is made of.
    """

    def __init__(self, parts: WebParts) -> None:
        self._parts = parts

    def table(self) -> Sequence[Operation]:
        """List them."""
        return (
            Operation("GET", "/me", "getMe", "Who is asking.", self._me, "Person"),
            Operation("GET", "/people", "listPeople", "Who may log in.", self._people, "People", role=Role.OPERATOR),
            Operation(
                "POST",
                "/people",
                "addPerson",
                "Let somebody log in.",
                self._add,
                "Person",
                role=Role.OPERATOR,
                body=_PERSON,
                status=HTTPStatus.CREATED,
                refusals={HTTPStatus.CONFLICT: "Somebody has that name."},
            ),
            Operation(
                "PUT",
                "/people/{name}/password",
                "setPassword",
                "Replace somebody's password; all their sessions end.",
                self._set_password,
                None,
                role=Role.OPERATOR,
                body=Group((_PASSWORD,)),
                status=HTTPStatus.NO_CONTENT,
                media_type="",
                refusals=_NOBODY,
            ),
            Operation(
                "DELETE",
                "/people/{name}",
                "removePerson",
                "Let somebody in no more; their sessions and tokens end.",
                self._remove,
                None,
                role=Role.OPERATOR,
                status=HTTPStatus.NO_CONTENT,
                media_type="",
                refusals=_NOBODY,
            ),
        )

    async def _me(self, call: Call) -> Result:
        return documents.person(call.person)

    async def _people(self, _call: Call) -> Result:
        return documents.people(await self._parts.people.people())

    async def _add(self, call: Call) -> Result:
        body = call.body
        return documents.person(
            await self._parts.actions.add_person(call.person, body["name"], Role(body["role"]), body["password"])
        )

    async def _set_password(self, call: Call) -> Result:
        await self._parts.actions.set_password(call.person, call.path["name"], call.body["password"])
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def _remove(self, call: Call) -> Result:
        await self._parts.actions.remove_person(call.person, call.path["name"])
        return Response(status_code=HTTPStatus.NO_CONTENT)
