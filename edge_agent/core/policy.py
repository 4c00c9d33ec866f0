"""Owns how the hub changes a binding's policy: what it may order, which order is in force, and what that means.

    serve      keep what reaches the threshold, with the pack that runs; a threshold below the pack's own needs a
               certificate that a trusted key signed, and no other certificate is taken
    tighten    the same with a higher threshold: needs nothing, works at once, never keeps more than before
    hub_only   keep nothing

The version of a binding's policy only grows. An order that is refused changes nothing: the one before stays in force.
Pure: signatures are checked by `packs/policies.py`, where policies are kept is `adapters/slot_file.py`, and what a
policy decides is `decision.py`.
"""

from dataclasses import dataclass, replace

from edge_agent.core.decision import Policy
from protos.messages.fleet import DesiredPolicy, PolicyMode


@dataclass(frozen=True, slots=True)
class RefusedPolicy:
    """An order that does not hold here, and why, for a person."""

    policy: DesiredPolicy
    detail: str


@dataclass(frozen=True, slots=True)
class PolicySlot:
    """What a binding was ordered.

    Attributes:
        active: The last order that holds; None: the pack's own policy.
        base: The last signed order to serve with a threshold, on which a later `tighten` rests; None: the pack's own.
        refused: The last order, if it does not hold.
    """

    active: DesiredPolicy | None = None
    base: DesiredPolicy | None = None
    refused: RefusedPolicy | None = None

    @property
    def version(self) -> int:
        """The newest version that was seen; 0: none."""
        seen = [self.active, None if self.refused is None else self.refused.policy]
        return max((one.version for one in seen if one is not None), default=0)


@dataclass(frozen=True, slots=True)
class PackTerms:
    """What the pack that runs says itself.

    Attributes:
        digest: Of its pack.json.
        threshold: Of its own certificate, the lowest where groups have their own; None: it keeps nothing.
    """

    digest: str
    threshold: float | None


def take(slot: PolicySlot, wanted: DesiredPolicy, pack: PackTerms, distrust: str) -> PolicySlot:
    """Take an order of the hub.

    Args:
        slot: What was ordered before.
        wanted: The order.
        pack: What runs now.
        distrust: Why nobody who is trusted vouches for the threshold; empty: somebody does.

    Returns:
        The slot after it; the same for an order that is not newer.
    """
    if wanted.version <= slot.version:
        return slot
    refusal = _refusal(slot, wanted, pack, distrust)
    if refusal:
        return replace(slot, refused=RefusedPolicy(wanted, refusal))
    base = slot.base
    if wanted.mode is PolicyMode.SERVE:
        if wanted.threshold is not None:  # under a stricter pack, a threshold that was higher here would keep more
            wanted = replace(wanted, pack_digest=pack.digest)
        base = None if wanted.threshold is None else wanted
    return PolicySlot(active=wanted, base=base)


def in_force(slot: PolicySlot, own: Policy, pack: PackTerms) -> tuple[Policy, DesiredPolicy | None]:
    """Tell what a binding does now.

    Args:
        slot: What was ordered.
        own: The pack's own policy, with what the device's files add to it.
        pack: What runs now.

    Returns:
        The policy, and the order whose certificate speaks for its threshold; None: the pack's own does, if any.
    """
    active = _holding(slot.active, pack)
    if active is None:
        return own, None
    base = _holding(slot.base, pack)
    ground = pack.threshold if base is None else base.threshold
    tightened = replace(
        own,
        threshold=_higher(ground, active.threshold) if active.mode is PolicyMode.TIGHTEN else ground,
        # Groups keep by their own thresholds until another certificate speaks for one that is common to all.
        group_thresholds={} if base is not None and base.certificate else own.group_thresholds,
        is_hub_only=active.mode is PolicyMode.HUB_ONLY,
        audit_rate=own.audit_rate if active.audit_rate is None else active.audit_rate,
        version=active.version,
    )
    return tightened, base


def needs_backing(wanted: DesiredPolicy, pack: PackTerms) -> bool:
    """Whether an order would keep answers that the pack's own policy does not keep, or brings a certificate."""
    if wanted.mode is not PolicyMode.SERVE or wanted.threshold is None:
        return False
    return pack.threshold is None or wanted.threshold < pack.threshold or bool(wanted.certificate)


def _refusal(slot: PolicySlot, wanted: DesiredPolicy, pack: PackTerms, distrust: str) -> str:
    if wanted.audit_rate is not None and not 0.0 <= wanted.audit_rate <= 1.0:
        return f"an audit rate of {wanted.audit_rate} is no probability"
    if wanted.pack_digest and wanted.pack_digest != pack.digest:
        return f"it is for pack {wanted.pack_digest[:19]}…, and {pack.digest[:19]}… runs"
    if wanted.threshold is not None and not 0.0 <= wanted.threshold <= 1.0:
        return f"a threshold of {wanted.threshold} is no confidence"
    if wanted.mode is PolicyMode.TIGHTEN:
        base = _holding(slot.base, pack)
        ground = pack.threshold if base is None else base.threshold
        if wanted.threshold is None:
            return "to tighten needs a threshold"
        if ground is None or wanted.threshold < ground:
            return f"a threshold of {wanted.threshold} is below the one in force ({ground}): that does not tighten"
    return distrust if needs_backing(wanted, pack) else ""


def _holding(policy: DesiredPolicy | None, pack: PackTerms) -> DesiredPolicy | None:
    """The order, while the pack runs that it is for."""
    if policy is None or (policy.pack_digest and policy.pack_digest != pack.digest):
        return None
    return policy


def _higher(ground: float | None, threshold: float | None) -> float | None:
    return None if ground is None or threshold is None else max(ground, threshold)
