"""Owns how a refusal or a failure is told over HTTP: one value, written as RFC 9457 problem details or as a page.

Which status an error has is `cloud_hub.errors` and `protos.status`; pages are drawn by the console.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from cloud_hub.errors import HubError, InputProblem, RequestInvalidError, StorageError, TooManySignInsError
from protos.status import TABLE

MEDIA_TYPE = "application/problem+json"

_STORAGE_MEND = "nothing was changed: try again, and if it stays, look at the hub's log and its disk"
_DETAILS = {
    HTTPStatus.NOT_FOUND: "nothing is at this address: check it, or start from the fleet",
    HTTPStatus.METHOD_NOT_ALLOWED: "this address does not take that method",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the request is larger than anything that this hub takes",
}
_UNEXPECTED = "something went wrong inside the hub that nobody foresaw: its log has the details"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there is no answer.

    Attributes:
        status: HTTP status code.
        title: The kind of problem in a few words.
        detail: What happened and what mends it, for a person.
        inputs: What is wrong with the input, all of it at once.
        headers: To send along.
    """

    status: int
    title: str
    detail: str
    inputs: tuple[InputProblem, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


def problem_of(error: Exception) -> Problem:
    """Say what an error is over HTTP.

    Args:
        error: What a view raised.

    Returns:
        The problem; an error that nobody foresaw is told without its contents.
    """
    match error:
        case HTTPException():
            status = HTTPStatus(error.status_code)
            return Problem(status, status.phrase, _DETAILS.get(status, error.detail), headers=error.headers or {})
        case StorageError():
            return _problem(error, "The hub's database does not answer", f"{error}; {_STORAGE_MEND}")
        case RequestInvalidError():
            return Problem(HTTPStatus.BAD_REQUEST, "The input is not valid", str(error), error.problems)
        case TooManySignInsError():
            headers = {"Retry-After": str(error.wait_s)}
            return Problem(HTTPStatus.TOO_MANY_REQUESTS, "Too many attempts", str(error), headers=headers)
        case HubError():
            return _problem(error, HTTPStatus(TABLE[error.status].http).phrase, str(error))
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The hub failed", _UNEXPECTED)


def problem_json(problem: Problem) -> Response:
    """Write problem details.

    Args:
        problem: The problem.

    Returns:
        The response; `problems` names each faulty part of the input.
    """
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.inputs:
        document["problems"] = [{"at": one.at, "problem": one.problem} for one in problem.inputs]
    return JSONResponse(document, problem.status, dict(problem.headers), MEDIA_TYPE)


def _problem(error: HubError, title: str, detail: str) -> Problem:
    return Problem(TABLE[error.status].http, title, detail)
