"""Owns reading a promise out of a certificate: the pack's own, or the one that travels with a policy."""

from dataclasses import asdict
from typing import Any

from cloud_hub.core.monitoring.watch import WHOLE, Measure, Promise
from model_packs.certificate.document import Certificate
from model_packs.certificate.errors import CertificateError


def promise_of(certificate: Certificate | None) -> Promise | None:
    """Say what a certificate promises.

    Args:
        certificate: Of a pack or a policy; None: there is none.

    Returns:
        The promise; None as well for an honest certificate that no threshold qualified for: nothing is kept by it.
    """
    if certificate is None:
        return None
    kept = tuple(name for name, threshold in certificate.thresholds.items() if threshold is not None)
    groups = (WHOLE,) if certificate.threshold is not None else kept
    if not groups:
        return None
    return Promise(
        risk=Measure(certificate.risk),
        target=certificate.target,
        delta=certificate.delta,
        coverage=certificate.coverage,
        certificate=certificate.digest,
        groups=groups,
    )


def promise_in(policy_certificate: bytes) -> Promise | None:
    """Say what the certificate of a policy promises; None for none, or for one that cannot be read."""
    if not policy_certificate:
        return None
    try:
        return promise_of(Certificate.from_json(policy_certificate))
    except CertificateError:
        return None


def promise_document(promise: Promise) -> dict[str, Any]:
    """Write a promise as JSON that `read_promise` reads."""
    return {**asdict(promise), "risk": promise.risk.value, "groups": list(promise.groups)}


def read_promise(document: dict[str, Any]) -> Promise:
    """Read what `promise_document` wrote."""
    return Promise(**{**document, "risk": Measure(document["risk"]), "groups": tuple(document["groups"])})
