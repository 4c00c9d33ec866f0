"""Owns how the agent reaches its hub: which channel, and what a failure means, naming the thing and the mend.

gRPC's errors are translated here and stop here. When to dial again is decided by `redial.py`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import grpc

from edge_agent.config import DeviceConfig, HubConfig
from edge_agent.errors import HubError
from edge_agent.ports import Clock
from protos.link.identity import REENROL_COMMANDS, DeviceIdentity, IdentityError
from protos.link.tls import HubChannel, device_channel, insecure_channel
from protos.status import Status

_NS_PER_S = 1_000_000_000
_REENROL = f"enrol the device again: {REENROL_COMMANDS}"
_UNRESOLVED = ("errors resolving", "hostname lookup", "dns resolution", "resolution failed", "domain name not found")


class Dialler(Protocol):
    """A way to the hub."""

    @property
    def address(self) -> str:
        """host:port, for people."""
        ...

    def dial(self) -> HubChannel:
        """A new channel; it connects when it is first used.

        Raises:
            HubError: There is nothing to connect with; the mend says what is missing.
        """
        ...

    def explain(self, error: grpc.RpcError) -> HubError:
        """What a failed call means."""
        ...


@dataclass(frozen=True, slots=True)
class MutualTls:
    """The hub by mutual TLS; the identity is read anew for each channel, so that a new enrolment heals a running agent.

    Attributes:
        address: host:port.
        identity_folder: Where the enrolment put key and certificate.
    """

    address: str
    identity_folder: Path
    clock: Clock

    def dial(self) -> HubChannel:
        """A channel with the device's certificate."""
        return device_channel(self.address, self._identity())

    def explain(self, error: grpc.RpcError) -> HubError:
        """Look at the own certificate first: an expired one makes gRPC say "socket closed", as a bad network does."""
        not_after_ns = self._identity().not_after_ns
        if not_after_ns <= self.clock.wall_ns():
            end = datetime.fromtimestamp(not_after_ns // _NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
            message = f"hub {self.address} refuses the device's certificate, which expired at {end}"
            return HubError(self.address, message, _REENROL, Status.UNAUTHENTICATED)
        return explained(self.address, error)

    def _identity(self) -> DeviceIdentity:
        try:
            return DeviceIdentity.load(self.identity_folder)
        except IdentityError as exc:
            raise HubError(self.address, str(exc), exc.mend, Status.UNAUTHENTICATED) from exc


@dataclass(frozen=True, slots=True)
class LoopbackPlain:
    """A hub on this machine, in plain text (`cloud-hub serve --insecure`)."""

    address: str
    device: str

    def dial(self) -> HubChannel:
        """A channel that names the device in its metadata."""
        try:
            return insecure_channel(self.address, self.device)
        except ValueError as exc:
            raise HubError(self.address, str(exc), "set hub.insecure = false", Status.FAILED_PRECONDITION) from exc

    def explain(self, error: grpc.RpcError) -> HubError:
        """What a failed call means."""
        return explained(self.address, error)


def hub_dialler(hub: HubConfig, device: DeviceConfig, clock: Clock) -> Dialler:
    """The way to the configured hub.

    Args:
        hub: Where it is, and whether it speaks TLS.
        device: Where its identity lies, and its name.
        clock: Wall clock, to judge the certificate's age.
    """
    address = str(hub.services)
    return LoopbackPlain(address, device.id) if hub.insecure else MutualTls(address, device.identity_dir, clock)


def status_of(error: grpc.RpcError) -> Status:
    """The status of a failed call."""
    return Status(error.code().value[0])


def explained(address: str, error: grpc.RpcError) -> HubError:
    """Translate a failed call: what the hub said where it said something, and what gRPC saw where it did not.

    Args:
        address: host:port of the hub.
        error: What the call raised.

    Returns:
        The error with a mend.
    """
    status = status_of(error)
    said = error.details() or "no details"
    match status:
        case Status.UNAUTHENTICATED | Status.PERMISSION_DENIED:
            return HubError(address, f"hub {address} refuses this device: {said}", _REENROL, status)
        case Status.UNAVAILABLE:
            return HubError(address, *_unreached(address, said), status)
        case Status.DEADLINE_EXCEEDED:
            what = f"hub {address} did not answer in time"
            return HubError(address, what, "check the network, and the hub with `cloud-hub doctor`", status)
        case Status.FAILED_PRECONDITION | Status.UNIMPLEMENTED:
            return HubError(address, f"hub {address}: {said}", "run the same release on hub and device", status)
        case _:
            what = f"hub {address} failed with {status.name}: {said}"
            return HubError(address, what, "look at the hub's log, or run `cloud-hub doctor`", status)


def _unreached(address: str, said: str) -> tuple[str, str]:
    """Message and mend of UNAVAILABLE, by the words that gRPC uses for its cause."""
    lower = said.lower()
    # Name resolution first: gRPC's words for its failure hold "hostname", as those for a wrong certificate do.
    if any(words in lower for words in _UNRESOLVED):
        return f"the name of hub {address} does not resolve", "check hub.address, or the device's DNS"
    if "certificate_verify_failed" in lower or "hostname" in lower or "peer name" in lower:
        what = f"the certificate of hub {address} is not accepted: {said}"
        mend = f"use a name that stands in the hub's certificate; if the hub has a new authority, {_REENROL}"
        return what, mend
    if "wrong_version_number" in lower:
        return f"hub {address} does not speak TLS there", "check hub.address, or start the hub without --insecure"
    if "connection refused" in lower:
        return f"nothing listens at hub {address}", "start the hub (`cloud-hub serve`), or correct hub.address"
    if "handshake" in lower or "socket closed" in lower or "connection reset" in lower:
        return (
            f"hub {address} closed the connection ({said})",
            f"if it does so every time, the hub does not accept this device's certificate: {_REENROL}",
        )
    return f"hub {address} cannot be reached: {said}", "check hub.address, the network and the firewall"
