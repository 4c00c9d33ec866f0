"""Owns what an operation of the HTTP API is: an address, the least role, its input, its answer, and who does it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from cloud_hub.adapters.http.api.fields import Group, Input
from cloud_hub.core.people import Person, Role

NOTHING = Group(())

Result = dict[str, Any] | Response
"""A document, or a response of another media type."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call: who, where, and what; the inputs are checked."""

    person: Person
    path: Mapping[str, str]
    query: Input
    body: Input


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the route table.

    Attributes:
        path: Below the API's root, parameters in braces.
        name: Unique among all; clients that are generated call it so.
        answer: Name of the answer's schema; None when the answer is empty or of another media type.
        refusals: What it may be refused for, beside 400, 401, 403 and 503, with the reason in words.
        media_type: Of the answer; empty: there is none.
    """

    method: str
    path: str
    name: str
    summary: str
    run: Callable[[Call], Awaitable[Result]]
    answer: str | None
    role: Role = Role.VIEWER
    query: Group = NOTHING
    body: Group | None = None
    status: HTTPStatus = HTTPStatus.OK
    refusals: Mapping[HTTPStatus, str] = field(default_factory=dict)
    media_type: str = "application/json"
