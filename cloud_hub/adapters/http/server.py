"""Owns the HTTP listener: uvicorn on a socket of ours, in the hub's own loop, without signal handlers of its own."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from cloud_hub.errors import KeyFileError, ListenError

STOP_WITHIN_S = 5
"""What still runs then is cut off, such as a page that reads its stream too slowly."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A certificate with its chain, and its private key; both PEM."""

    certificate: Path
    key: Path


class HttpServer:
    """Serves one ASGI app.

    Args:
        app: The app.
        host: IP address to bind.
        port: TCP port; 0 takes a free one.
        tls: Serve over TLS with this certificate; None serves plain HTTP.
    """

    def __init__(self, app: ASGIApp, host: str, port: int, tls: TlsFiles | None = None) -> None:
        self._app = app
        self._host = host
        self._port = port
        self._tls = tls
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> int:
        """Bind and serve.

        Returns:
            The bound port.

        Raises:
            KeyFileError: The certificate or its key cannot be used.
            ListenError: The address cannot be bound.
        """
        if self._tls is not None:
            _check(self._tls)
        config = uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=STOP_WITHIN_S,
            ssl_certfile=None if self._tls is None else self._tls.certificate,
            ssl_keyfile=None if self._tls is None else self._tls.key,
        )
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            listener = socket.create_server((self._host, self._port), family=family)
        except OSError as error:
            raise ListenError("HTTP", f"{self._host}:{self._port}", error.strerror or str(error)) from error
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="http")
        await self._server.is_serving.wait()
        return int(listener.getsockname()[1])

    async def close(self) -> None:
        """Finish running requests and stop; a second call does nothing."""
        if self._server is None or self._task is None:
            return
        self._server.should_exit = True
        await self._task
        self._server = self._task = None


def _check(tls: TlsFiles) -> None:
    """Refuse what TLS could not be served with, a key under a password included: nobody is there to type it."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.certificate, tls.key, password="")
    except (OSError, ValueError) as error:
        raise KeyFileError(
            f"HTTP cannot be served over TLS with {tls.certificate} and {tls.key}: {error}",
            "give a certificate with its chain and its own key without a password, both PEM, "
            "under [http] in hub.toml; or empty both for plain HTTP",
        ) from error


class _Server(uvicorn.Server):
    """Tells when it serves, and leaves signals to the program."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_serving = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets=sockets)
        self.is_serving.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none: the program stops everything in its own order."""
        yield
