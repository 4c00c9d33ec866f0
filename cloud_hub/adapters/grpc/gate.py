"""Owns who is calling: identity out of the client certificate, checked against the registry, refusals as statuses.

Never out of a message. Without TLS (`--insecure`, loopback only) it is the call's metadata, and the device is local.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import grpc

from cloud_hub.adapters.x509.certificates import peer_key_digest
from cloud_hub.core.devices import DeviceKey, checked_name
from cloud_hub.errors import DeviceKeyError, DeviceRemovedError, DeviceUnknownError, HubError
from cloud_hub.ports import Clock, DeviceStore
from protos.link.identity import SpiffeId
from protos.link.tls import DEVICE_METADATA
from protos.status import Status

LOCAL_SITE = "local"
"""Site of devices that call without TLS."""

HELLO_S = 10.0
"""How long a stream may stay without its first message."""

_SPIFFE_ID = "peer_spiffe_id"
_CERTIFICATE = "x509_pem_cert"
_CODES = {code.value[0]: code for code in grpc.StatusCode}

Context = grpc.aio.ServicerContext[Any, Any]


class Gate(Protocol):
    """Says who is calling, or refuses."""

    async def admit(self, context: Context) -> DeviceKey:
        """Identify the caller; raises DeviceFault when it may not call, StorageError."""


class CertificateGate:
    """Identity from the SPIFFE id in the client certificate; TLS has checked the chain and the dates.

    Args:
        store: The registry.
        org_id: The hub's organisation.
        trust_domain: The hub's trust domain.
    """

    def __init__(self, store: DeviceStore, *, org_id: str, trust_domain: str) -> None:
        self._store = store
        self._org_id = org_id
        self._trust_domain = trust_domain

    async def admit(self, context: Context) -> DeviceKey:
        """Identify the caller."""
        auth = context.auth_context()
        uri = b"".join(auth.get(_SPIFFE_ID, ())).decode(errors="replace")
        try:
            name = SpiffeId.parse(uri)
            presented = peer_key_digest(b"".join(auth.get(_CERTIFICATE, ())))
        except ValueError as error:
            raise DeviceUnknownError(f"the caller ({uri or 'no SPIFFE id in its certificate'})") from error
        if (name.trust_domain, name.org) != (self._trust_domain, self._org_id):
            raise DeviceUnknownError(uri)
        key = DeviceKey(name.org, name.site, name.device)
        known = await self._store.device(key)
        if known is None:
            raise DeviceUnknownError(str(key))
        if known.is_removed:
            raise DeviceRemovedError(str(key))
        if known.public_key_digest != presented:
            raise DeviceKeyError(str(key))
        return key


class MetadataGate:
    """Identity from metadata, for `--insecure` on loopback: whoever can connect may claim any name.

    Args:
        store: The registry; an unknown device is added to it.
        org_id: The hub's organisation.
        clock: Wall clock.
    """

    def __init__(self, store: DeviceStore, *, org_id: str, clock: Clock) -> None:
        self._store = store
        self._org_id = org_id
        self._clock = clock

    async def admit(self, context: Context) -> DeviceKey:
        """Identify the caller."""
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        name = metadata.get(DEVICE_METADATA)
        if name is None:
            raise DeviceUnknownError(f"the caller (no {DEVICE_METADATA!r} in the call's metadata)")
        key = DeviceKey(self._org_id, LOCAL_SITE, checked_name("device", name))
        known = await self._store.device(key)
        if known is None:
            await self._store.register_local(key, self._clock())
        elif known.is_removed:
            raise DeviceRemovedError(str(key))
        return key


@asynccontextmanager
async def refusals_told(context: Context) -> AsyncIterator[None]:
    """End the call with the status of a `HubError` raised inside.

    Args:
        context: The call.
    """
    try:
        yield
    except HubError as error:
        await context.abort(grpc_code(error.status), str(error))


def grpc_code(status: Status) -> grpc.StatusCode:
    """Translate a status.

    Args:
        status: Ours.

    Returns:
        gRPC's.
    """
    return _CODES[status.value]
