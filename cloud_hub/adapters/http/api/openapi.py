"""Owns the description of the HTTP API as OpenAPI 3.1, made from the same table that answers it."""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from cloud_hub.adapters.http.api.fields import Group, Schema
from cloud_hub.adapters.http.api.operations import Operation
from cloud_hub.adapters.http.api.schemas import COMPONENTS
from cloud_hub.adapters.http.problems import MEDIA_TYPE

_PARAMETER = re.compile(r"\{(\w+)\}")
_PARAMETERS = {
    "site": "Site of the device.",
    "device": "Name of the device.",
    "binding": "Name of the binding.",
    "prediction_id": "Id of the prediction.",
    "input": "Name of the model's input.",
    "name": "Name of the pack or the person.",
    "version": "Version of the pack.",
}
_ALWAYS = {
    HTTPStatus.UNAUTHORIZED: "Nobody is logged in.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The hub's database does not answer; nothing was changed.",
}
_INTRODUCTION = (
    "Everything that the console shows or does. A program sends `Authorization: Bearer TOKEN` "
    "(`cloud-hub people token NAME` makes one); a browser's login is a cookie, and what changes something then carries "
    "`X-CSRF-Token`, too. Times are nanoseconds since the Unix epoch, UTC. What is not known is null. "
    "`/live?topics=fleet,device,cases,review,packs` tells what happens as server-sent events."
)


def description(operations: Iterable[Operation], *, root: str, version: str) -> dict[str, Any]:
    """Describe the API.

    Args:
        operations: The table.
        root: Where the table's paths begin.
        version: The program's version.

    Returns:
        An OpenAPI 3.1 document.
    """
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        paths.setdefault(root + one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tandem cloud hub", "version": version, "description": _INTRODUCTION},
        "security": [{"token": []}, {"login": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "login": {"type": "apiKey", "in": "cookie", "name": "tandem_session"},
            },
            "schemas": COMPONENTS,
        },
    }


def _operation(one: Operation) -> dict[str, Any]:
    refusals = _ALWAYS | dict(one.refusals)
    if one.body is not None or one.query.fields:
        refusals[HTTPStatus.BAD_REQUEST] = "The input is not valid; every problem of it is named."
    refusals[HTTPStatus.FORBIDDEN] = f"Needs the role {one.role}."
    described: dict[str, Any] = {
        "operationId": one.name,
        "summary": one.summary,
        "description": f"Least role: {one.role}.",
        "parameters": [*_path_parameters(one.path), *_query_parameters(one.query)],
        "responses": {
            str(int(one.status)): _answer(one),
            **{str(int(status)): _refusal(why) for status, why in sorted(refusals.items())},
        },
    }
    if one.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": one.body.schema()}},
        }
    return described


def _answer(one: Operation) -> Schema:
    if not one.media_type:
        return {"description": "Done."}
    schema: Schema = {} if one.answer is None else {"$ref": f"#/components/schemas/{one.answer}"}
    return {"description": one.summary, "content": {one.media_type: {"schema": schema}}}


def _refusal(why: str) -> Schema:
    return {"description": why, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


def _path_parameters(path: str) -> list[Schema]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PARAMETERS[name],
            "schema": {"type": "string"},
        }
        for name in _PARAMETER.findall(path)
    ]


def _query_parameters(query: Group) -> list[Schema]:
    return [
        {
            "name": one.name,
            "in": "query",
            "required": one.is_required,
            "description": one.doc,
            "schema": one.kind.schema() | ({} if one.default is None else {"default": one.default}),
        }
        for one in query.fields
    ]
