"""Owns what the hub does about an alarm: which policy it wants instead, and in which version.

A hub may always ask for more escalation. It never lowers a threshold by itself: that is a person's `recertify`.
"""

from dataclasses import dataclass, field
from typing import Final

from cloud_hub.core.monitoring.watch import BROKEN, Alarm, Limits
from protos.messages.fleet import DesiredPolicy, PolicyMode

AUTOMATIC = "monitoring"
"""The actor of what the hub wants by itself."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """What `[monitoring]` says about alarms.

    Attributes:
        mode: The policy that follows; None: alarms only.
        threshold: With `tighten`: the least threshold that then holds.
        alarms: Those that it follows on.
    """

    mode: PolicyMode | None
    threshold: float
    alarms: frozenset[Alarm]


@dataclass(frozen=True, slots=True)
class InForce:
    """The policy that the alarm is about.

    Attributes:
        version: It decided in this version; 0: the pack's own policy.
        threshold: None: everything is escalated already.
        pack_digest: The pack that it decided with.
        certificate: Digest of what backed the threshold; empty: nothing.
    """

    version: int
    threshold: float | None
    pack_digest: str
    certificate: str


def tightened(
    alarm: Alarm, about: InForce, newest: DesiredPolicy | None, reported_version: int, reaction: Reaction
) -> DesiredPolicy | None:
    """Say what policy follows on an alarm.

    Args:
        alarm: What was found.
        about: The policy that decided the audited windows.
        newest: What is desired of this binding by now; None: nothing.
        reported_version: The newest policy version that the device ever reported.
        reaction: What is configured.

    Returns:
        The policy in its next version; None when nothing follows: not configured, the version that failed was followed
        by another one already, or everything is escalated already.
    """
    is_outdated = newest is not None and newest.version > about.version
    if reaction.mode is None or alarm not in reaction.alarms or is_outdated or about.threshold is None:
        return None
    threshold = None
    if reaction.mode is PolicyMode.TIGHTEN:
        threshold = reaction.threshold
        if threshold <= about.threshold:
            return None
    return DesiredPolicy(
        version=next_version(newest, reported_version),
        mode=reaction.mode,
        threshold=threshold,
        pack_digest=about.pack_digest,
        voided_certificate=about.certificate if alarm is Alarm.VOID else "",
    )


def next_version(newest: DesiredPolicy | None, reported_version: int) -> int:
    """Number the next policy of a binding.

    Args:
        newest: What is desired by now.
        reported_version: The newest version that the device ever reported: a restored hub counts on above it.

    Returns:
        Above both; from 1.
    """
    return max(0 if newest is None else newest.version, reported_version) + 1


@dataclass(frozen=True, slots=True)
class Rules:
    """All that `[monitoring]` says.

    Attributes:
        limits: When the tests speak.
        reaction: What follows on an alarm.
        people_share: Share of what comes to the hub that the hub's own lottery chooses for people to label.
    """

    limits: Limits = field(default_factory=Limits)
    reaction: Reaction = field(default_factory=lambda: Reaction(PolicyMode.HUB_ONLY, 0.99, BROKEN))
    people_share: float = 0.0


DEFAULT_RULES: Final = Rules()
