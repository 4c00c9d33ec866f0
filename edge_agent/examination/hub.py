"""Owns the doctor's look at the hub: the device's identity, whether the hub takes it, and whose clock is right."""

import threading
from collections.abc import Iterator

from edge_agent.adapters.grpc.dialling import hub_dialler
from edge_agent.adapters.grpc.fleet_session import FleetStream
from edge_agent.config import Config, DeviceConfig, HubConfig
from edge_agent.core.timestamps import to_text
from edge_agent.errors import HubError
from edge_agent.examination.findings import Finding, failed, ok, warning
from edge_agent.ports import Clock
from model_packs.process.exits import Exit
from protos.link.identity import REENROL_COMMANDS, DeviceIdentity, IdentityError
from protos.messages.escalation import StoreId
from protos.messages.fleet import DeviceHello, FleetWelcome

WELCOME_S = 5.0
CLOCK_WARNING_S = 5.0

_NS_PER_S = 1_000_000_000
_WARNING_DAYS = 30
_SECONDS_PER_DAY = 86_400


def examine_hub(config: Config, clock: Clock, agent_version: str) -> Iterator[Finding]:
    """Look at the identity and dial the hub.

    Args:
        config: Says which hub.
        clock: Compared with the hub's.
        agent_version: Told to the hub.
    """
    hub, device = config.agent.hub, config.agent.device
    if hub is None:
        yield ok("hub", "none is configured: the device works alone")
        return
    if not hub.insecure:
        found = _identity(device, clock)
        yield found
        if found.exit is Exit.CONFIG and found.mend:
            return
    yield from _session(hub, device, clock, agent_version)


def _identity(device: DeviceConfig, clock: Clock) -> Finding:
    try:
        identity = DeviceIdentity.load(device.identity_dir)
    except IdentityError as error:
        return failed("identity", str(error), error.mend, Exit.CONFIG)
    days = (identity.not_after_ns - clock.wall_ns()) / _NS_PER_S / _SECONDS_PER_DAY
    message = f"{identity.spiffe.uri}, valid until {to_text(identity.not_after_ns)}"
    again = f"enrol again: {REENROL_COMMANDS}"
    if identity.spiffe.device != device.id:
        return failed(
            "identity", f"{message}, but device.id is {device.id!r}", f"correct device.id, or {again}", Exit.CONFIG
        )
    if days < 0:
        return failed("identity", f"{message}: it has expired", again)
    if days < _WARNING_DAYS:
        return warning("identity", message, again)
    return ok("identity", message)


def _session(hub: HubConfig, device: DeviceConfig, clock: Clock, agent_version: str) -> Iterator[Finding]:
    dialler = hub_dialler(hub, device, clock)
    try:
        channel = dialler.dial()
        try:
            stream = FleetStream(dialler, channel)
            began_ns, began_s = clock.wall_ns(), clock.monotonic_s()
            stream.open(DeviceHello(agent_version, StoreId("")))
            try:
                welcome = stream.wait_for_welcome(WELCOME_S, clock, threading.Event())
            finally:
                took_s = clock.monotonic_s() - began_s
                stream.close()
        finally:
            channel.channel.close()
    except HubError as error:
        yield failed("hub", error.message, error.mend)
        return
    guard = "plain text" if hub.insecure else "mutual TLS"
    yield ok("hub", f"{dialler.address} takes this device ({guard}, {took_s * 1000:.0f} ms with the handshake)")
    if welcome is not None:
        yield _clock(welcome, began_ns, took_s, clock)


def _clock(welcome: FleetWelcome, began_ns: int, took_s: float, clock: Clock) -> Finding:
    """Compare clocks: the hub's answer was written somewhere between our question and its arrival."""
    offset_s = (began_ns - welcome.hub_time_ns) / _NS_PER_S + took_s / 2
    synced = "synchronised" if clock.is_synced() else "not known to be synchronised"
    message = f"{offset_s:+.3f} s against the hub's (give or take {took_s / 2:.3f} s), {synced}"
    if abs(offset_s) > CLOCK_WARNING_S + took_s:
        return warning("clock", message, "set up time synchronisation (chrony, systemd-timesyncd) here and at the hub")
    return ok("clock", message)
