"""Owns a program's metrics registry and the small HTTP server that shows it: `/metrics`, `/livez`, `/readyz`.

Which metrics exist is decided where the program is built (`app.py`); whether it is ready is the app's callable.
"""

import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

Readiness = Callable[[], Sequence[str]]
"""Returns the reasons why the program is not ready; none means ready. Called on every `/readyz`."""

Document = Callable[[], bytes]
"""Returns the body of a JSON document."""

Page = Callable[[BaseHTTPRequestHandler], None]
"""Answers one GET or POST by itself, from the server's thread of that connection; may take long."""

LATENCY_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

_PLAIN_TEXT = "text/plain; charset=utf-8"
_REQUEST_TIMEOUT_S = 5

logger = logging.getLogger(__name__)


class _LoggingServer(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the library's signature
        failure = sys.exception()
        logger.warning("metrics_request_failed", extra={"client": str(client_address), "failure": repr(failure)})


class Server:
    """The HTTP server of a registry; `Registry.start_http` makes it.

    Args:
        http: The bound server.
    """

    def __init__(self, http: ThreadingHTTPServer) -> None:
        self._http = http
        self._thread = threading.Thread(target=http.serve_forever, name="metrics-http", daemon=True)
        self._is_closed = False
        self._thread.start()

    @property
    def port(self) -> int:
        """The bound port (the real one when 0 was asked for)."""
        return int(self._http.server_address[1])

    def close(self) -> None:
        """Stop serving and free the port; a second call does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class Registry:
    """One program's metrics; nothing is registered globally, so tests can have many."""

    def __init__(self) -> None:
        self._collectors = CollectorRegistry()
        ProcessCollector(registry=self._collectors)

    def counter(self, name: str, doc: str, labels: Sequence[str] = ()) -> Counter:
        """Add a count that only grows.

        Args:
            name: Metric name, with the program's prefix.
            doc: What is counted.
            labels: Label names; their values must be few and known.

        Returns:
            The counter.

        Raises:
            ValueError: The name is taken already.
        """
        return Counter(name, doc, labels, registry=self._collectors)

    def gauge(self, name: str, doc: str, labels: Sequence[str] = ()) -> Gauge:
        """Add a value that goes up and down.

        Args:
            name: Metric name, with the program's prefix and the unit.
            doc: What is shown.
            labels: Label names; their values must be few and known.

        Returns:
            The gauge.

        Raises:
            ValueError: The name is taken already.
        """
        return Gauge(name, doc, labels, registry=self._collectors)

    def histogram(
        self, name: str, doc: str, labels: Sequence[str] = (), buckets: Sequence[float] = LATENCY_BUCKETS_S
    ) -> Histogram:
        """Add a distribution.

        Args:
            name: Metric name, with the program's prefix and the unit.
            doc: What is measured.
            labels: Label names; their values must be few and known.
            buckets: Upper bounds in the metric's unit.

        Returns:
            The histogram.

        Raises:
            ValueError: The name is taken already.
        """
        return Histogram(name, doc, labels, registry=self._collectors, buckets=tuple(buckets))

    def add(self, collector: Collector) -> None:
        """Add metrics whose numbers are kept elsewhere, and asked for at every scrape.

        Args:
            collector: Gives them.

        Raises:
            ValueError: A name is taken already.
        """
        self._collectors.register(collector)

    def expose(self) -> bytes:
        """Render every metric in the Prometheus text format.

        Returns:
            The body of `/metrics`; its content type is `CONTENT_TYPE_LATEST`.
        """
        return generate_latest(self._collectors)

    def start_http(
        self,
        host: str,
        port: int,
        readiness: Readiness = tuple,
        documents: Mapping[str, Document] | None = None,
        pages: Mapping[str, Page] | None = None,
    ) -> Server:
        """Serve `/metrics`, `/livez`, `/readyz` and the program's own documents from a thread of its own.

        Args:
            host: Address to bind.
            port: TCP port; 0 takes a free one.
            readiness: Says why the program is not ready; by default it always is.
            documents: JSON documents by path (`/status`), each made anew for every request.
            pages: What answers by itself, by the beginning of its paths (`/v1/`).

        Returns:
            The running server.

        Raises:
            OSError: The address cannot be bound.
        """

        class Handler(BaseHTTPRequestHandler):
            timeout = _REQUEST_TIMEOUT_S
            protocol_version = "HTTP/1.1"  # connections go on: every answer tells its length, or closes
            disable_nagle_algorithm = True

            def do_GET(handler) -> None:  # noqa: N805 - the library's name; `self` is the registry here
                page = handler._page()
                if page is not None:
                    page(handler)
                    return
                status, body, content_type = self._answer(handler.path.partition("?")[0], readiness, documents or {})
                handler.send_response(status)
                handler.send_header("Content-Type", content_type)
                handler.send_header("Content-Length", str(len(body)))
                handler.end_headers()
                handler.wfile.write(body)

            def do_POST(handler) -> None:  # noqa: N805 - as above
                page = handler._page()
                if page is not None:
                    page(handler)
                    return
                handler.close_connection = True  # its body stays unread
                handler.send_error(HTTPStatus.METHOD_NOT_ALLOWED)

            def _page(handler) -> Page | None:  # noqa: N805 - as above
                return next((page for path, page in (pages or {}).items() if handler.path.startswith(path)), None)

            def log_message(handler, format: str, *args: object) -> None:  # noqa: A002, N805 - the library's signature
                """Write nothing: a scrape every few seconds is no event."""

        return Server(_LoggingServer((host, port), Handler))

    def _answer(
        self, path: str, readiness: Readiness, documents: Mapping[str, Document]
    ) -> tuple[HTTPStatus, bytes, str]:
        if path == "/metrics":
            return HTTPStatus.OK, self.expose(), CONTENT_TYPE_LATEST
        if path == "/livez":
            return HTTPStatus.OK, b"ok\n", _PLAIN_TEXT
        if path == "/readyz":
            reasons = readiness()
            if not reasons:
                return HTTPStatus.OK, b"ok\n", _PLAIN_TEXT
            return HTTPStatus.SERVICE_UNAVAILABLE, ("\n".join(reasons) + "\n").encode(), _PLAIN_TEXT
        if path in documents:
            return HTTPStatus.OK, documents[path](), "application/json"
        known = ", ".join(("/metrics", "/livez", "/readyz", *documents))
        return HTTPStatus.NOT_FOUND, f"there is {known}\n".encode(), _PLAIN_TEXT
