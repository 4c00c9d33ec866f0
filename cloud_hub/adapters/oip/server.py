"""Owns the gRPC listener of the Open Inference Protocol: plain text on loopback, TLS elsewhere."""

from collections.abc import Mapping
from typing import Final

from cloud_hub.errors import ListenError
from protos.link.core_server import CoreServer, Streaming, Unary
from protos.oip.methods import SERVER_OPTIONS

_THREAD_NAME: Final = "oip-core"


class OipServer:
    """The listener.

    Args:
        host: IP address to bind.
        port: TCP port; 0 takes a free one.
        certificate: Private key and certificate with its chain, PEM, to serve over TLS with; None serves plain text,
            and the caller has checked that only this machine reaches the address.
    """

    def __init__(self, host: str, port: int, certificate: tuple[bytes, bytes] | None) -> None:
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._certificate = certificate
        self._server: CoreServer | None = None

    async def open(self, methods: Mapping[str, Unary | Streaming]) -> int:
        """Listen.

        Args:
            methods: By path.

        Returns:
            The bound port.

        Raises:
            ListenError: The port cannot be bound.
        """
        server = CoreServer(methods, SERVER_OPTIONS, _THREAD_NAME)
        try:
            bound = server.bind(self._address, self._certificate)
        except OSError as error:
            raise ListenError("inference over gRPC", self._address, str(error)) from error
        server.start()
        self._server = server
        return bound

    async def close(self, grace_s: float) -> None:
        """Let calls end, then cut them; a second call does nothing.

        Args:
            grace_s: How long calls may take to end.
        """
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace_s)
