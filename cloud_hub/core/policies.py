"""Owns how a binding should decide: policies in the desired twin, and how they compare with what the device reports.

Like packs they are a desired state, not jobs: the newest version wins, the device says what it does. When the hub wants
one by itself is `core.monitoring.response`; packs are `core.twin`.
"""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from protos.messages.fleet import DesiredPolicy, Heartbeat, PolicyMode, PolicyReport, PolicyState

POLICY_CAPABILITY = "policy"
"""What a device says in its hello when it takes policies."""


@dataclass(frozen=True, slots=True)
class PolicyDesire:
    """What one binding should decide by, and since when somebody wants it.

    Attributes:
        reason: Why, in a word: an alarm's name, `recertified`, or empty.
        set_by: Who wants it.
        set_at_ns: Wall clock of the hub, Unix epoch, UTC.
    """

    binding: str
    policy: DesiredPolicy
    reason: str
    set_by: str
    set_at_ns: int


class PolicyPhase(StrEnum):
    """How a desired policy compares with what the device reports."""

    IN_FORCE = "in_force"
    PENDING = "pending"
    REFUSED = "refused"
    OTHER_PACK = "other_pack"


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """One desired policy, and whether the device has it.

    Attributes:
        detail: One sentence for a person; empty when the phase says it all.
        since_ns: Since when it is wanted; wall clock of the hub, Unix epoch, UTC.
    """

    desire: PolicyDesire
    phase: PolicyPhase
    detail: str
    since_ns: int


def with_desire(policies: Iterable[PolicyDesire], desire: PolicyDesire) -> tuple[PolicyDesire, ...]:
    """State how one binding should decide; the others keep theirs.

    Args:
        policies: Until now.
        desire: The new one.

    Returns:
        One a binding, by name.
    """
    kept = {one.binding: one for one in policies} | {desire.binding: desire}
    return tuple(kept[name] for name in sorted(kept))


def policy_of(policies: Iterable[PolicyDesire], binding: str) -> PolicyDesire | None:
    """Find what one binding should decide by; None: nothing is desired."""
    return next((one for one in policies if one.binding == binding), None)


def policy_states(policies: Iterable[PolicyDesire], heartbeat: Heartbeat | None) -> tuple[PolicyStatus, ...]:
    """Compare what bindings should decide by with what the device says.

    Args:
        policies: Desired.
        heartbeat: The latest; None: there was none.

    Returns:
        One entry a desired policy, in their order.
    """
    reports = () if heartbeat is None else heartbeat.policies
    return tuple(_state(one, [report for report in reports if report.binding == one.binding]) for one in policies)


def policy_document(desire: PolicyDesire) -> dict[str, Any]:
    """Write a desired policy as JSON that `read_policy` reads."""
    policy = desire.policy
    return {
        "binding": desire.binding,
        "reason": desire.reason,
        "set_by": desire.set_by,
        "set_at_ns": desire.set_at_ns,
        "version": policy.version,
        "mode": policy.mode.value,
        "threshold": policy.threshold,
        "audit_rate": policy.audit_rate,
        "certificate": policy.certificate.decode(),
        "signature": base64.b64encode(policy.signature).decode(),
        "pack_digest": policy.pack_digest,
        "voided_certificate": policy.voided_certificate,
    }


def read_policy(document: Mapping[str, Any]) -> PolicyDesire:
    """Read what `policy_document` wrote."""
    policy = DesiredPolicy(
        version=document["version"],
        mode=PolicyMode(document["mode"]),
        threshold=document["threshold"],
        audit_rate=document["audit_rate"],
        certificate=document["certificate"].encode(),
        signature=base64.b64decode(document["signature"]),
        pack_digest=document["pack_digest"],
        voided_certificate=document["voided_certificate"],
    )
    return PolicyDesire(document["binding"], policy, document["reason"], document["set_by"], document["set_at_ns"])


def _state(desire: PolicyDesire, reports: Iterable[PolicyReport]) -> PolicyStatus:
    wanted, since_ns = desire.policy, desire.set_at_ns
    active = next((one for one in reports if one.state is PolicyState.ACTIVE), None)
    refused = next(
        (one for one in reports if one.state is PolicyState.REFUSED and one.policy_version == wanted.version), None
    )
    if refused is not None:
        return PolicyStatus(desire, PolicyPhase.REFUSED, refused.detail, since_ns)
    if active is not None and active.policy_version >= wanted.version:
        return PolicyStatus(desire, PolicyPhase.IN_FORCE, "", since_ns)
    if active is not None and wanted.pack_digest not in ("", active.pack_digest):
        return PolicyStatus(desire, PolicyPhase.OTHER_PACK, f"for another pack than {active.pack}", since_ns)
    detail = "the agent takes no policies from the hub: update it" if active is None else ""
    return PolicyStatus(desire, PolicyPhase.PENDING, detail, since_ns)
