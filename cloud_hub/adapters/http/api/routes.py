"""Owns the HTTP API as a whole: its one table, how a call is read and answered, and where it describes itself."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cloud_hub.adapters.http.api.cases import CaseOperations
from cloud_hub.adapters.http.api.fields import Input, read_body, read_query
from cloud_hub.adapters.http.api.fleet import FleetOperations
from cloud_hub.adapters.http.api.openapi import description
from cloud_hub.adapters.http.api.operations import Call, Operation
from cloud_hub.adapters.http.api.packs import PackOperations
from cloud_hub.adapters.http.api.people import PeopleOperations
from cloud_hub.adapters.http.gate import LoginGate
from cloud_hub.adapters.http.views import View, WebParts
from cloud_hub.core.people import Role
from cloud_hub.errors import InputProblem, RequestInvalidError

ROOT = "/api/v1"
OPENAPI_PATH = f"{ROOT}/openapi.json"
MAX_BODY_BYTES = 64 * 1024
JSON = "application/json"


class Api:
    """The HTTP API.

    Args:
        parts: What it is made of.
        gate: Stands before every operation.
    """

    def __init__(self, parts: WebParts, gate: LoginGate) -> None:
        self._parts = parts
        self._gate = gate

    def operations(self) -> Sequence[Operation]:
        """List all, each table in its own order."""
        tables = (FleetOperations, CaseOperations, PackOperations, PeopleOperations)
        return tuple(operation for table in tables for operation in table(self._parts).table())

    def routes(self) -> Sequence[Route]:
        """Put every operation behind the gate."""
        operations = self.operations()
        described = description(operations, root=ROOT, version=self._parts.version)

        async def describe(_request: Request) -> Response:
            return JSONResponse(described)

        return (
            Route(OPENAPI_PATH, self._gate.guarded(describe, Role.VIEWER), methods=["GET"]),
            *(
                Route(ROOT + one.path, self._gate.guarded(_answering(one), one.role), methods=[one.method])
                for one in operations
            ),
        )


def _answering(operation: Operation) -> View:
    async def answer(request: Request) -> Response:
        query = read_query(operation.query, request.query_params.multi_items())
        body = Input() if operation.body is None else read_body(operation.body, await _json(request), MAX_BODY_BYTES)
        result = await operation.run(Call(request.state.person, request.path_params, query, body))
        return result if isinstance(result, Response) else JSONResponse(result, operation.status)

    return answer


async def _json(request: Request) -> bytes:
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != JSON:
        raise RequestInvalidError((InputProblem("Content-Type", f"send the body as {JSON}"),))
    return await request.body()
