"""Owns first contact: a join token in, an identity on disk out.

The steps are those of docs/protocol.md: 1. a key is made and written before anything is sent, so that a call whose
answer was lost can be repeated with the same key and gives the same device; 2. a certificate request is signed with it;
3. the hub is called over TLS, trusting only the authority that the token carries; 4. what it answers is checked against
the key; 5. the identity is written, the certificate last; 6. the waiting key is removed.
"""

from pathlib import Path

import grpc

from edge_agent.adapters.grpc.dialling import explained, status_of
from edge_agent.errors import EnrolmentError, HubError
from model_packs.errors import SigningError
from model_packs.process.durable import fsync_dir, make_folder, private_file
from model_packs.signing import PublicKey
from protos.codec.enrolment import request_to_wire, response_from_wire
from protos.codec.errors import CodecError
from protos.link.credentials import certificate_request_der, new_private_key_pem
from protos.link.identity import DeviceIdentity, IdentityError
from protos.link.tls import enrolment_channel
from protos.link.tokens import JoinToken
from protos.messages.enrolment import EnrolRequest, EnrolResponse
from protos.status import Status
from protos.tandem.v1.enrolment_pb2_grpc import EnrolmentServiceStub

CALL_S = 15.0
WAITING_KEY_FILE = "device.key.new"

_NEW_TOKEN = "make a new token at the hub with `cloud-hub tokens create`"  # noqa: S105 - words about a token
_SAME_RELEASE = "run the same release on hub and device"
_ENROLMENT_PORT = "hub.enrol_address must be the hub's enrolment port (8444 unless hub.toml says otherwise)"
_MENDS = ("make ", "enrol ", "choose ", "use ")
_CLOSED = ("socket closed", "handshake", "connection reset")
_REFUSALS = frozenset(
    {Status.UNAUTHENTICATED, Status.PERMISSION_DENIED, Status.ALREADY_EXISTS, Status.INVALID_ARGUMENT, Status.NOT_FOUND}
)


def enrol(address: str, token: JoinToken, device_id: str, folder: Path, agent_version: str) -> DeviceIdentity:
    """Get an identity and write it to `folder`.

    Args:
        address: host:port of the hub's enrolment service.
        token: As `cloud-hub tokens create` printed it.
        device_id: The name that the device asks for.
        folder: Where the identity goes; what is there is replaced only by a whole new one.
        agent_version: For the hub's records.

    Returns:
        The identity, already on disk.

    Raises:
        EnrolmentError: The hub refuses the token or the name, or its answer cannot be used.
        HubError: The hub is not there, or is not the one that made the token.
        OSError: The folder cannot be written.
    """
    key_pem = _waiting_key(folder)
    request = EnrolRequest(
        token_id=token.token_id,
        token_secret=token.secret,
        csr_der=certificate_request_der(key_pem, device_id),
        requested_device_id=device_id,
        agent_version=agent_version,
    )
    response = _call(address, token, request)
    try:
        PublicKey.from_pem(response.site_key_pem)
        identity = DeviceIdentity.from_parts(
            key_pem=key_pem,
            chain_pem=response.certificate_chain_pem,
            ca_pem=response.trust_bundle_pem,
            site_key_pem=response.site_key_pem,
        )
    except (IdentityError, SigningError) as exc:
        message = f"the answer of hub {address} cannot be used: {exc}"
        raise EnrolmentError(message, _SAME_RELEASE, Status.INTERNAL) from exc
    if identity.spiffe.device != device_id:
        message = f"hub {address} enrolled this device as {identity.spiffe.device!r}, not as {device_id!r}"
        raise EnrolmentError(message, _SAME_RELEASE, Status.INTERNAL)
    identity.save(folder)
    (folder / WAITING_KEY_FILE).unlink()
    fsync_dir(folder)
    return identity


def _waiting_key(folder: Path) -> bytes:
    """The key of an enrolment that was not finished, or a new one, on disk before it is used."""
    make_folder(folder)
    folder.chmod(0o700)
    path = folder / WAITING_KEY_FILE
    if path.exists():
        return path.read_bytes()
    key_pem = new_private_key_pem()
    private_file(path, key_pem)
    return key_pem


def _call(address: str, token: JoinToken, request: EnrolRequest) -> EnrolResponse:
    channel = enrolment_channel(address, token.ca_pem)
    try:
        return response_from_wire(EnrolmentServiceStub(channel).Enrol(request_to_wire(request), timeout=CALL_S))
    except CodecError as exc:
        message = f"hub {address} sent an answer that this agent cannot read: {exc}"
        raise EnrolmentError(message, _SAME_RELEASE, Status.INTERNAL) from exc
    except grpc.RpcError as exc:
        raise _refusal(address, exc) from exc
    finally:
        channel.close()


def _refusal(address: str, error: grpc.RpcError) -> EnrolmentError | HubError:
    status = status_of(error)
    if status in _REFUSALS:
        said, mend = _split(error.details() or status.name, status)
        return EnrolmentError(f"hub {address} refuses the enrolment: {said}", mend, status)
    failure = explained(address, error)
    if "is not accepted" in failure.message:
        message = f"{failure.message}; the join token is for a hub with another authority, or for another name of it"
        mend = "use a token of this very hub, and a name of it that stands in its certificate, as hub.enrol_address"
        return HubError(address, message, mend, Status.FAILED_PRECONDITION)
    what = (error.details() or "").lower()
    if status is Status.UNAVAILABLE and any(words in what for words in _CLOSED):
        message = f"hub {address} closed the connection during enrolment"
        return HubError(address, message, _ENROLMENT_PORT)
    if status is Status.UNIMPLEMENTED or "wrong_version_number" in what:
        return HubError(address, f"hub {address} does not serve enrolment there", _ENROLMENT_PORT)
    mend = failure.mend.replace("hub.address", "hub.enrol_address")
    return HubError(address, failure.message, mend, failure.status)


def _split(said: str, status: Status) -> tuple[str, str]:
    """The hub's sentence as message and mend: it tells most of its mends itself, after a colon."""
    message, _, mend = said.partition(": ")
    if mend.startswith(_MENDS):
        return message, mend
    return said, _SAME_RELEASE if status is Status.INVALID_ARGUMENT else _NEW_TOKEN
