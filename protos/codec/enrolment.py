"""First contact between its frozen values and its generated classes."""

from protos.codec.errors import CodecError
from protos.messages.enrolment import EnrolRequest, EnrolResponse
from protos.tandem.v1 import enrolment_pb2 as pb

MAX_CSR_BYTES = 16 * 1024


def request_to_wire(request: EnrolRequest) -> pb.EnrolRequest:
    """The device's request."""
    return pb.EnrolRequest(
        wire_version=request.wire_version,
        token_id=request.token_id,
        token_secret=request.token_secret,
        csr_der=request.csr_der,
        requested_device_id=request.requested_device_id,
        agent_version=request.agent_version,
    )


def request_from_wire(wire: pb.EnrolRequest) -> EnrolRequest:
    """The device's request.

    Raises:
        CodecError: The certificate request is absent or too large.
    """
    if not 0 < len(wire.csr_der) <= MAX_CSR_BYTES:
        raise CodecError("csr_der", f"{len(wire.csr_der)} bytes, wanted 1 to {MAX_CSR_BYTES}")
    return EnrolRequest(
        token_id=wire.token_id,
        token_secret=wire.token_secret,
        csr_der=wire.csr_der,
        requested_device_id=wire.requested_device_id,
        agent_version=wire.agent_version,
        wire_version=wire.wire_version,
    )


def response_to_wire(response: EnrolResponse) -> pb.EnrolResponse:
    """The hub's answer."""
    return pb.EnrolResponse(
        org_id=response.org_id,
        site_id=response.site_id,
        device_id=response.device_id,
        certificate_chain_pem=response.certificate_chain_pem,
        trust_bundle_pem=response.trust_bundle_pem,
        site_key_pem=response.site_key_pem,
        hub_time_ns=response.hub_time_ns,
    )


def response_from_wire(wire: pb.EnrolResponse) -> EnrolResponse:
    """The hub's answer.

    Raises:
        CodecError: The certificate, the trust bundle or the site key is absent.
    """
    for name in ("certificate_chain_pem", "trust_bundle_pem", "site_key_pem"):
        if not getattr(wire, name):
            raise CodecError(name, "is empty")
    return EnrolResponse(
        org_id=wire.org_id,
        site_id=wire.site_id,
        device_id=wire.device_id,
        certificate_chain_pem=wire.certificate_chain_pem,
        trust_bundle_pem=wire.trust_bundle_pem,
        site_key_pem=wire.site_key_pem,
        hub_time_ns=wire.hub_time_ns,
    )
