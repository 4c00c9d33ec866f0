"""Owns the policies of a running device: taking the hub's orders, checking who vouches for them, and applying them.

    1. An order that is not newer than the last one is left alone.
    2. One that would keep more than the pack keeps itself needs a certificate, and whichever comes is checked: by a key
       that is trusted here, for this device, binding, pack and version; whose stored counts support it; for the graph
       that runs, and its threshold.
    3. What holds is written durably and applied between two passes; while the disk refuses, it is applied all the same.

Which orders hold is `core/policy.py`; where they are kept is `device_slots.py`.
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import replace

from edge_agent.config import Config
from edge_agent.core.decision import Policy
from edge_agent.core.policy import PackTerms, PolicySlot, in_force, needs_backing, take
from edge_agent.errors import PackUnusableError
from edge_agent.packs.device_slots import DeviceSlots
from edge_agent.packs.trusted_packs import trusted_keys
from edge_agent.ports import BindingName
from model_packs.certificate.document import Certificate
from model_packs.certificate.errors import CertificateError
from model_packs.engines.session import SessionFacts
from model_packs.errors import SigningError
from protos.link.identity import DeviceIdentity, IdentityError
from protos.link.signed_policy import PolicyPlace, check_signed
from protos.messages.fleet import Desired, DesiredPolicy

logger = logging.getLogger(__name__)


class Policies:
    """What each binding was ordered.

    Args:
        config: Says where the device's identity and its trusted keys are.
        slots: Where orders are kept.
    """

    def __init__(self, config: Config, slots: DeviceSlots) -> None:
        self._config = config
        self._slots = slots
        self._lock = threading.Lock()
        self._unkept: dict[str, PolicySlot] = {}

    def of(self, binding: str) -> PolicySlot:
        """What a binding was ordered, on the disk or, where that refuses, in memory."""
        with self._lock:
            unkept = self._unkept.get(binding)
        return self._slots.read().policies.get(binding, PolicySlot()) if unkept is None else unkept

    def take(self, desired: Desired, running: Mapping[BindingName, tuple[PackTerms, SessionFacts]]) -> None:
        """Take the orders in a desire.

        Args:
            desired: As it came.
            running: What each binding runs.
        """
        for one in desired.slots:
            found = running.get(BindingName(one.binding))
            if one.policy is None or found is None:
                continue
            pack, facts = found
            before = self.of(one.binding)
            distrust = self._distrust(one.binding, one.policy, facts) if needs_backing(one.policy, pack) else ""
            after = take(before, one.policy, pack, distrust)
            if after == before:
                continue
            self._keep(one.binding, after)
            _tell(one.binding, one.policy, after)

    def write_pending(self) -> None:
        """Write what the disk refused before."""
        with self._lock:
            unkept = dict(self._unkept)
        for binding, slot in unkept.items():
            self._keep(binding, slot)

    def applied(self, binding: str, own: Policy, pack: PackTerms) -> tuple[Policy, DesiredPolicy | None, str]:
        """What a binding does now.

        Args:
            binding: Whose.
            own: The pack's own policy, with what the device's files add.
            pack: What runs.

        Returns:
            The policy; the order whose certificate speaks for its threshold, None: the pack's own does; and the digest
            of the certificate that the hub has seen refuted, empty: none.
        """
        slot = self.of(binding)
        policy, base = in_force(slot, own, pack)
        is_ordered = policy is not own and slot.active is not None
        return policy, base, slot.active.voided_certificate if is_ordered and slot.active is not None else ""

    def _keep(self, binding: str, slot: PolicySlot) -> None:
        with self._lock:
            self._unkept[binding] = slot
        try:
            self._slots.change_all(lambda now: replace(now, policies={**now.policies, binding: slot}))
        except OSError as error:
            logger.warning(
                "policy_not_kept", extra={"binding": binding, "error": str(error), "mend": "free some space"}
            )
            self._slots.wake_listeners()
            return
        with self._lock:
            if self._unkept.get(binding) is slot:
                del self._unkept[binding]

    def _distrust(self, binding: str, wanted: DesiredPolicy, facts: SessionFacts) -> str:
        """Why a threshold is not trusted; empty when it is."""
        try:
            spiffe = DeviceIdentity.load(self._config.agent.device.identity_dir).spiffe
            place = PolicyPlace(spiffe.org, spiffe.site, spiffe.device, binding)
            check_signed(place, wanted, trusted_keys(self._config))
            certificate = Certificate.from_json(wanted.certificate)
        except (IdentityError, PackUnusableError, SigningError, CertificateError) as error:
            return f"nobody who is trusted here vouches for the threshold: {error}"
        recomputed = certificate.recompute()
        if not recomputed.holds:
            return f"its certificate contradicts itself: {'; '.join(recomputed.problems)}"
        if certificate.graph_digest != facts.graph_digest:
            return "its certificate is for another model than the one that runs"
        if certificate.threshold is None or wanted.threshold is None or wanted.threshold < certificate.threshold:
            return f"its certificate backs {certificate.threshold}, not {wanted.threshold}"
        return ""


def _tell(binding: str, wanted: DesiredPolicy, slot: PolicySlot) -> None:
    said = {"binding": binding, "version": wanted.version, "mode": wanted.mode.value, "threshold": wanted.threshold}
    if slot.refused is not None and slot.refused.policy is wanted:
        logger.warning("policy_refused", extra={**said, "why": slot.refused.detail})
    else:
        logger.info("policy_taken", extra=said)
