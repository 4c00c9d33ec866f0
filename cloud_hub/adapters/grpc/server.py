"""Owns the two gRPC listeners: device services behind mutual TLS, enrolment behind server TLS.

One port cannot do both: without demanding a client certificate, gRPC never asks for one.
"""

from dataclasses import dataclass

import grpc

from cloud_hub.adapters.grpc.enrolment import EnrolmentService
from cloud_hub.adapters.grpc.escalation import EscalationService
from cloud_hub.adapters.grpc.feedback import FeedbackService
from cloud_hub.adapters.grpc.fleet import FleetService
from cloud_hub.adapters.grpc.packs import PackService
from cloud_hub.errors import ListenError
from protos.link.tls import SERVER_OPTIONS
from protos.tandem.v1 import enrolment_pb2_grpc, escalation_pb2_grpc, feedback_pb2_grpc, fleet_pb2_grpc, packs_pb2_grpc


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """What the listeners present, and whose client certificates they accept; PEM."""

    key_pem: bytes
    chain_pem: bytes
    authority_pem: bytes


@dataclass(frozen=True, slots=True)
class DeviceServices:
    """What stands behind the device port."""

    escalation: EscalationService
    fleet: FleetService
    packs: PackService
    feedback: FeedbackService


class GrpcServers:
    """Both listeners.

    Args:
        host: IP address to bind.
        certificate: Keys and certificates.
    """

    def __init__(self, host: str, certificate: ServerCertificate) -> None:
        self._host = f"[{host}]" if ":" in host else host
        self._certificate = certificate
        self._servers: list[grpc.aio.Server] = []

    async def serve_devices(self, services: DeviceServices, port: int, *, is_insecure: bool) -> int:
        """Listen for devices.

        Args:
            services: What they may call.
            port: TCP port; 0 takes a free one.
            is_insecure: Plain text, no client certificates; the caller has checked that the address is loopback.

        Returns:
            The bound port.

        Raises:
            ListenError: The port cannot be bound.
        """
        server = grpc.aio.server(options=SERVER_OPTIONS)
        escalation_pb2_grpc.add_EscalationServiceServicer_to_server(services.escalation, server)
        fleet_pb2_grpc.add_FleetServiceServicer_to_server(services.fleet, server)
        packs_pb2_grpc.add_PackServiceServicer_to_server(services.packs, server)
        feedback_pb2_grpc.add_FeedbackServiceServicer_to_server(services.feedback, server)
        own = self._certificate
        credentials = grpc.ssl_server_credentials(
            [(own.key_pem, own.chain_pem)], root_certificates=own.authority_pem, require_client_auth=True
        )
        return await self._start(server, "devices", port, None if is_insecure else credentials)

    async def serve_enrolment(self, service: EnrolmentService, port: int) -> int:
        """Listen for first contacts.

        Args:
            service: What they may call.
            port: TCP port; 0 takes a free one.

        Returns:
            The bound port.

        Raises:
            ListenError: The port cannot be bound.
        """
        server = grpc.aio.server(options=SERVER_OPTIONS)
        enrolment_pb2_grpc.add_EnrolmentServiceServicer_to_server(service, server)
        own = self._certificate
        credentials = grpc.ssl_server_credentials([(own.key_pem, own.chain_pem)])
        return await self._start(server, "enrolment", port, credentials)

    async def close(self, grace_s: float) -> None:
        """Let calls end, then cut them; a second call does nothing.

        Args:
            grace_s: How long calls may take to end.
        """
        while self._servers:
            await self._servers.pop().stop(grace_s)

    async def _start(
        self, server: grpc.aio.Server, what: str, port: int, credentials: grpc.ServerCredentials | None
    ) -> int:
        address = f"{self._host}:{port}"
        try:
            if credentials is None:
                bound = server.add_insecure_port(address)
            else:
                bound = server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise ListenError(what, address, str(error)) from error
        await server.start()
        self._servers.append(server)
        return bound
