"""Owns what a signature of a policy says, making one at the hub, and checking one on the device.

Whether a policy needs a signature at all is the device's rule (a lower threshold does); whether the certificate in it
supports its threshold is the certificate's own check.

Signing, in steps: 1. write the statement: who (organisation, site, device), where (binding), and every field of the
policy but the signature, the certificate by its digest; 2. put `DOMAIN` before its canonical JSON; 3. sign with the
site key. The device writes the statement anew from its own identity and from what it received, so that a policy of
another device, binding, pack or version, or one with another threshold, does not pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from model_packs.digests import digest_of
from model_packs.errors import SigningError
from model_packs.signing import PublicKey, Signature, SiteKey
from model_packs.strict_json import canonical
from protos.messages.fleet import DesiredPolicy

DOMAIN: Final = b"tandem-policy-v1\0"

_MEND = "certify it again on the hub: cloud-hub recertify DEVICE --binding BINDING"


@dataclass(frozen=True, slots=True)
class PolicyPlace:
    """Whose decisions a policy is for."""

    org_id: str
    site_id: str
    device_id: str
    binding: str


def statement(place: PolicyPlace, policy: DesiredPolicy) -> bytes:
    """What the signature of a policy covers.

    Args:
        place: Where the policy is to decide.
        policy: The policy; its own signature is left out.

    Returns:
        Canonical JSON.
    """
    return canonical(
        {
            "schema": "tandem.policy/1",
            "org": place.org_id,
            "site": place.site_id,
            "device": place.device_id,
            "binding": place.binding,
            "version": policy.version,
            "mode": policy.mode.value,
            "threshold": policy.threshold,
            "audit_rate": policy.audit_rate,
            "pack_digest": policy.pack_digest,
            "voided_certificate": policy.voided_certificate,
            "certificate": digest_of(policy.certificate) if policy.certificate else "",
        }
    )


def signed(key: SiteKey, place: PolicyPlace, policy: DesiredPolicy) -> DesiredPolicy:
    """Sign a policy.

    Args:
        key: The site key.
        place: Where the policy is to decide.
        policy: The policy in its final version.

    Returns:
        The same policy with its signature.
    """
    return replace(policy, signature=key.sign(statement(place, policy), domain=DOMAIN).value)


def check_signed(place: PolicyPlace, policy: DesiredPolicy, trusted: Sequence[PublicKey]) -> None:
    """Require that a trusted key signed a policy for this place.

    Args:
        place: This device and binding.
        policy: As received.
        trusted: The keys that count.

    Raises:
        SigningError: There is no signature, or it is no trusted key's of this policy for this place.
    """
    if not policy.signature:
        raise SigningError(f"policy {policy.version} of {place.binding} is not signed", _MEND)
    said = statement(place, policy)
    for key in trusted:
        try:
            key.verify(said, Signature(key.key_id, policy.signature), domain=DOMAIN)
        except SigningError:
            continue
        return
    raise SigningError(f"policy {policy.version} of {place.binding} is signed by no key that is trusted here", _MEND)
