"""Owns what the agent asks of its identity on disk: whose it is, and until when it holds. Enrolling is a command."""

from dataclasses import dataclass

from edge_agent.config import AgentConfig
from edge_agent.errors import ConfigurationError
from protos.link.identity import REENROL_COMMANDS, DeviceIdentity, IdentityError


@dataclass(frozen=True, slots=True)
class IdentityFacts:
    """Until when the device's certificate holds; None before enrolment."""

    not_after_ns: int | None
    mend: str


def identity_facts(agent: AgentConfig) -> IdentityFacts | None:
    """The device certificate as the status tells it.

    Args:
        agent: Says where the identity is.

    Returns:
        None where none is needed: without a hub, or with an insecure one.
    """
    if agent.hub is None or agent.hub.insecure:
        return None
    try:
        identity = DeviceIdentity.load(agent.device.identity_dir)
    except IdentityError as error:
        return IdentityFacts(None, f"{error}; {error.mend}")
    return IdentityFacts(identity.not_after_ns, f"enrol the device again: {REENROL_COMMANDS}")


def require_same_device(agent: AgentConfig) -> None:
    """Refuse an identity that names another device: predictions would carry one id, escalations another.

    Args:
        agent: Names the device, and says where the identity is.

    Raises:
        ConfigurationError: The two differ.
    """
    try:
        enrolled = DeviceIdentity.load(agent.device.identity_dir).spiffe.device
    except IdentityError:
        return  # not enrolled yet; the status says so
    if enrolled != agent.device.id:
        raise ConfigurationError(
            (f"device.id is {agent.device.id!r}, and the identity in {agent.device.identity_dir} is of {enrolled!r}",),
            f"set device.id = {enrolled!r} in agent.toml, or enrol this device anew in a state_dir of its own",
        )
