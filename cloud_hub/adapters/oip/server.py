"""Owns the gRPC listener of the Open Inference Protocol: plain text on loopback, TLS elsewhere."""

from collections.abc import Callable, Mapping
from typing import Any

import grpc

from cloud_hub.adapters.oip.grpc_service import UNPARSED
from cloud_hub.errors import ListenError
from protos.oip.methods import SERVER_OPTIONS, add_to_server


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
        self._server: grpc.aio.Server | None = None

    async def open(self, behaviours: Mapping[str, Callable[..., Any]]) -> int:
        """Listen.

        Args:
            behaviours: What each method does.

        Returns:
            The bound port.

        Raises:
            ListenError: The port cannot be bound.
        """
        server = grpc.aio.server(options=SERVER_OPTIONS)
        add_to_server(server, behaviours, UNPARSED)
        own = self._certificate
        try:
            if own is None:
                bound = server.add_insecure_port(self._address)
            else:
                credentials = grpc.ssl_server_credentials([own])
                bound = server.add_secure_port(self._address, credentials)
        except RuntimeError as error:
            raise ListenError("inference over gRPC", self._address, str(error)) from error
        await server.start()
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
