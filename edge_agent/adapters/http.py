"""Owns the agent's HTTP port: `/metrics`, `/livez`, `/readyz`, `/status`, the watch API, and local calls over REST.

There is no login; it binds to loopback unless the config says otherwise. What the pages say is the app's,
the watch API is `watch_api.py`.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from edge_agent.adapters.watch_api import WATCH_PATH, WatchApi
from edge_agent.config import Address
from edge_agent.errors import ConfigurationError
from model_packs.process.metrics import Page, Readiness, Registry, Server

STATUS_PATH = "/status"


class AgentHttp:
    """The server; the constructor only stores.

    Args:
        address: Where to listen; port 0 takes a free one.
        registry: The metrics.
        readiness: Why the agent is not ready.
        status: The document of `/status`.
        watch: Answers below `/v1/`.
        calls: Answers local calls by the beginning of their path; None: there are none.
    """

    def __init__(
        self,
        address: Address,
        registry: Registry,
        readiness: Readiness,
        status: Callable[[], Mapping[str, Any]],
        watch: WatchApi,
        *,
        calls: Mapping[str, Page] | None = None,
    ) -> None:
        self._address = address
        self._registry = registry
        self._readiness = readiness
        self._status = status
        self._watch = watch
        self._calls = calls or {}
        self._server: Server | None = None

    @property
    def bound(self) -> Address:
        """Where it listens."""
        port = self._address.port if self._server is None else self._server.port
        return Address(self._address.host, port)

    def open(self) -> None:
        """Bind and serve from a thread of its own.

        Raises:
            ConfigurationError: The address cannot be bound.
        """
        try:
            self._server = self._registry.start_http(
                self._address.host,
                self._address.port,
                self._readiness,
                {STATUS_PATH: self._document},
                {WATCH_PATH: self._watch.answer, **self._calls},
            )
        except OSError as error:
            raise ConfigurationError(
                (f"http.listen: {self._address} cannot be bound: {error.strerror}",),
                "stop what listens there, or set another http.listen in agent.toml (port 0 takes a free one)",
            ) from error

    def close(self) -> None:
        """Stop serving; may be called twice."""
        self._watch.close()
        if self._server is not None:
            self._server.close()
            self._server = None

    def _document(self) -> bytes:
        return json.dumps(self._status()).encode()
