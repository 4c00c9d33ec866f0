"""Owns the REST form of local calls, below /v2/ of the agent's HTTP port: the same calls, with binary tensors.

Each connection has a thread of the HTTP server; who runs a session, and who may wait, is decided as for gRPC, and who
hangs up waits no more. The port may be open to a scraper of metrics: calls are answered to programs on this machine
only, unless the configuration lets others in. Addresses, JSON and tensors are `protos/oip`.
"""

import json
import logging
import select
import socket
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Final
from urllib.parse import urlsplit

from edge_agent.adapters.oip.calling import Caller, Calling
from edge_agent.adapters.oip.decision_parameters import parameters_of_rows
from edge_agent.adapters.oip.grpc_server import NAME, NO_LOADING
from edge_agent.adapters.oip.models import Wishes, refusal_of
from edge_agent.errors import CallError
from protos.codec.errors import CodecError
from protos.link.tls import is_loopback
from protos.oip import describing, rest
from protos.oip.rest import Address, Operation
from protos.oip.rest_codec import RestAnswer
from protos.status import TABLE, Status

PATH: Final = "/v2"

_OF_MEMORY: Final = frozenset(
    {Operation.SHARED_MEMORY_STATUS, Operation.SHARED_MEMORY_REGISTER, Operation.SHARED_MEMORY_UNREGISTER}
)
_MAX_DIGITS: Final = 20  # Python reads no number of thousands
_NOTHING: Final = RestAnswer(b"", {})

logger = logging.getLogger(__name__)


class RestServer:
    """Answers below /v2/; called from the HTTP server's threads.

    Args:
        calling: Answers calls.
        version: Of the agent.
        is_ready: Whether the agent is.
        max_message_bytes: Of a request, decompressed.
        is_local_only: Programs on other machines are refused.
    """

    def __init__(
        self,
        calling: Calling,
        version: str,
        is_ready: Callable[[], bool],
        *,
        max_message_bytes: int,
        is_local_only: bool,
    ) -> None:
        self._calling = calling
        self._models = calling.models
        self._version = version
        self._is_ready = is_ready
        self._max_message_bytes = max_message_bytes
        self._is_local_only = is_local_only
        self._is_closed = False

    def close(self) -> None:
        """Refuse what comes from now on; may be called twice."""
        self._is_closed = True

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one GET or POST."""
        address = rest.address_of(request.command, urlsplit(request.path).path)
        model = "" if address is None else address.model
        try:
            body = self._body(request)
            answer, status = self._answered(request, address, body), HTTPStatus.OK.value
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - the top of a call: told, logged, and the next one is served
            answer, status = self._told(error, model)
        request.send_response(status)
        for name, value in answer.headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(answer.body)))
        request.end_headers()
        request.wfile.write(answer.body)

    def _body(self, request: BaseHTTPRequestHandler) -> bytes:
        """The request's body, read whole before it is judged, so that the connection can go on."""
        if request.command != "POST":
            return b""
        length = request.headers.get("Content-Length", "")
        is_number = length.isascii() and length.isdigit() and len(length) <= _MAX_DIGITS
        if not is_number or int(length) > self._max_message_bytes:
            request.close_connection = True  # what is not read would be taken for the next request
            raise CallError(
                f"Content-Length must be 0 to {self._max_message_bytes} bytes (oip.max_message_bytes)",
                "send the length, and less",
                Status.INVALID_ARGUMENT,
            )
        body = request.rfile.read(int(length))
        encoding = request.headers.get("Content-Encoding", "")
        if encoding:
            body = rest.inflated([body], encoding)
        if len(body) > self._max_message_bytes:
            raise CodecError("body", f"must be at most {self._max_message_bytes} bytes")
        return body

    def _answered(self, request: BaseHTTPRequestHandler, address: Address | None, body: bytes) -> RestAnswer:
        if self._is_closed:
            raise CallError("the agent is stopping", "call again when it is back", Status.UNAVAILABLE)
        if not _is_here(request) and (self._is_local_only or (address is not None and address.operation in _OF_MEMORY)):
            raise CallError(
                "local calls are for programs on this machine",
                "set oip.listen to an address that others reach",
                Status.PERMISSION_DENIED,
            )
        if address is None:
            raise CallError(
                f"nothing is at {request.command} {request.path[:200]}",
                "the protocol's addresses begin with /v2/models/{name}",
                Status.NOT_FOUND,
            )
        if address.operation is Operation.MODEL_INFER:
            return self._infer(request, address, body)
        return self._described(address, body)

    def _infer(self, request: BaseHTTPRequestHandler, address: Address, body: bytes) -> RestAnswer:
        caller = Caller(self._calling.now_s, partial(_is_open, request.connection))
        served = self._models.find(address.model, address.version)
        json_bytes = rest.header_length(request.headers.get(rest.HEADER_LENGTH), len(body))
        regions = self._calling.regions if _is_here(request) else None
        asked = served.rest.read(body, json_bytes, regions)
        wishes = Wishes.of(asked.parameters)
        answer = self._calling.call(served, asked.asked.inputs, address.version, wishes, caller)
        return served.rest.write(
            asked,
            answer.outputs,
            version=answer.version,
            parameters=parameters_of_rows(answer.rows),
            regions=regions,
        )

    def _described(self, address: Address, body: bytes) -> RestAnswer:
        """Answer what is no inference: each operation by its own small function."""
        ways: dict[Operation, Callable[[], RestAnswer]] = {
            Operation.SERVER_LIVE: lambda: _NOTHING,
            Operation.SERVER_READY: self._ready,
            Operation.SERVER_METADATA: self._server_metadata,
            Operation.MODEL_READY: lambda: self._model_ready(address),
            Operation.MODEL_METADATA: lambda: self._metadata(address),
            Operation.MODEL_CONFIG: lambda: self._config(address),
            Operation.MODEL_STATISTICS: lambda: self._statistics(address),
            Operation.REPOSITORY_INDEX: self._index,
            Operation.SHARED_MEMORY_STATUS: lambda: self._regions(address),
            Operation.SHARED_MEMORY_REGISTER: lambda: self._register(address, body),
            Operation.SHARED_MEMORY_UNREGISTER: lambda: self._unregister(address),
        }
        if address.operation not in ways:
            raise NO_LOADING
        return ways[address.operation]()

    def _ready(self) -> RestAnswer:
        if not self._is_ready():
            raise CallError("the agent is not ready; /readyz says why", "call again when it is", Status.UNAVAILABLE)
        return _NOTHING

    def _server_metadata(self) -> RestAnswer:
        extensions = (*describing.EXTENSIONS, describing.SHARED_MEMORY)
        return _json(describing.document(describing.server_metadata(NAME, self._version, extensions)))

    def _model_ready(self, address: Address) -> RestAnswer:
        self._models.find(address.model, address.version)
        return _NOTHING

    def _metadata(self, address: Address) -> RestAnswer:
        model = self._models.find(address.model, address.version).model
        return _json(describing.document(describing.model_metadata(model, [model.version])))

    def _config(self, address: Address) -> RestAnswer:
        config = describing.model_config(self._models.find(address.model, address.version).model)
        return _json(describing.document(config.config))

    def _statistics(self, address: Address) -> RestAnswer:
        rows = self._models.statistics(address.model, address.version)
        return _json(describing.document(describing.model_statistics(rows)))

    def _index(self) -> RestAnswer:
        return _json([describing.document(one) for one in describing.repository_index(self._models.index()).models])

    def _regions(self, address: Address) -> RestAnswer:
        return _json([_region(one) for one in self._calling.regions.status(address.region)])

    def _register(self, address: Address, body: bytes) -> RestAnswer:
        self._calling.regions.register(address.region, *_registration(body))
        return _NOTHING

    def _unregister(self, address: Address) -> RestAnswer:
        self._calling.regions.unregister(address.region)
        return _NOTHING

    def _told(self, error: Exception, model: str) -> tuple[RestAnswer, int]:
        refusal = refusal_of(error)
        if refusal is None:
            logger.error("local_call_failed", exc_info=error, extra={"model": model})
            refusal = Status.INTERNAL, "the agent failed; its log says why"
        status, text = refusal
        self._models.refused(model, status)
        return _json({"error": text}), TABLE[status].http


def _is_open(connection: socket.socket) -> bool:
    """Whether a caller who waits has not hung up; what it sends meanwhile is left for the next request."""
    try:
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        return not poll.poll(0) or connection.recv(1, socket.MSG_PEEK) != b""
    except OSError:
        return False


def _is_here(request: BaseHTTPRequestHandler) -> bool:
    """Whether the caller is a program on this machine."""
    return is_loopback(f"{request.client_address[0]}:0")


def _json(value: object) -> RestAnswer:
    return RestAnswer(json.dumps(value).encode(), {"Content-Type": rest.JSON_TYPE})


def _region(one: Any) -> dict[str, Any]:  # noqa: ANN401 - `shared_memory.Region`
    return {"name": one.name, "key": one.key, "offset": one.offset, "byte_size": one.size}


def _registration(body: bytes) -> tuple[str, int, int]:
    try:
        document = json.loads(body)
        key, offset, size = document["key"], document.get("offset", 0), document["byte_size"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CodecError("body", "must be a JSON object with key, byte_size and, if not 0, offset") from error
    if not isinstance(key, str) or type(offset) is not int or type(size) is not int:
        raise CodecError("body", "key must be text, offset and byte_size integers")
    return key, offset, size
