"""Owns the enrolment service, the one service without a client certificate, on a port of its own.

It is step 4 of enrolment (docs/adr/0004-join-token-carries-the-ca.md), and hands the device what step 5 stores:
4a. read the request and its wire version; 4b. check the name and the certificate request (signature, P-256); 4c. in one
transaction check the token, issue the certificate and record both; 4d. answer with the certificate, whom to trust, and
the key that signs packs.
"""

import logging

from cloud_hub.adapters.grpc.gate import Context, grpc_code
from cloud_hub.core.devices import DeviceKey, checked_name
from cloud_hub.errors import CertificateRequestError, HubError, WireVersionError
from cloud_hub.metrics import HubMetrics
from cloud_hub.ports import Authority, Clock, DeviceStore, Enrolment, IssuedCertificate
from protos.codec.enrolment import request_from_wire, response_to_wire
from protos.codec.errors import CodecError
from protos.messages.enrolment import EnrolResponse
from protos.messages.escalation import WIRE_VERSION
from protos.tandem.v1 import enrolment_pb2 as pb

logger = logging.getLogger(__name__)


class EnrolmentService:
    """`tandem.v1.EnrolmentService`.

    Args:
        store: The registry, with the tokens.
        authority: Signs certificates.
        site_key_pem: Public key that signs packs.
        metrics: Where calls are counted.
        clock: Wall clock.
    """

    def __init__(
        self, store: DeviceStore, authority: Authority, *, site_key_pem: bytes, metrics: HubMetrics, clock: Clock
    ) -> None:
        self._store = store
        self._authority = authority
        self._site_key_pem = site_key_pem
        self._metrics = metrics
        self._clock = clock

    async def Enrol(self, request: pb.EnrolRequest, context: Context) -> pb.EnrolResponse:  # noqa: N802 - the service's own name
        """Turn a join token and a certificate request into an identity."""
        try:
            response = await self._enrol(request)
        except HubError as error:
            self._metrics.enrolments.labels(error.status.name.lower()).inc()
            logger.warning("enrolment_refused", extra={"token": request.token_id[:64], "reason": str(error)})
            await context.abort(grpc_code(error.status), str(error))
        self._metrics.enrolments.labels("ok").inc()
        return response_to_wire(response)

    async def _enrol(self, wire: pb.EnrolRequest) -> EnrolResponse:
        try:
            request = request_from_wire(wire)
        except CodecError as error:
            raise CertificateRequestError(str(error)) from error
        if request.wire_version != WIRE_VERSION:
            raise WireVersionError(request.wire_version, WIRE_VERSION)
        now_ns = self._clock()
        enrolment = Enrolment(
            token_id=request.token_id,
            token_secret=request.token_secret,
            device_id=checked_name("device", request.requested_device_id),
            public_key_digest=self._authority.public_key_digest(request.csr_der),
            agent_version=request.agent_version,
        )

        def issue(device: DeviceKey) -> IssuedCertificate:
            return self._authority.issue(request.csr_der, device, now_ns)

        device, issued = await self._store.enrol(enrolment, issue, now_ns)
        logger.info("device_enrolled", extra={"device": str(device), "serial": issued.serial})
        return EnrolResponse(
            org_id=device.org_id,
            site_id=device.site_id,
            device_id=device.device_id,
            certificate_chain_pem=issued.chain_pem,
            trust_bundle_pem=self._authority.certificate_pem,
            site_key_pem=self._site_key_pem,
            hub_time_ns=now_ns,
        )
