"""Policies, how they fare, and what input statistics tell, between their frozen values and their generated classes.

Whether a policy may take effect is the device's to judge; whether its signature holds is `protos.link.signed_policy`.
"""

import math

from protos.codec.errors import CodecError
from protos.messages.fleet import BudgetReport, DesiredPolicy, DriftReport, PolicyMode, PolicyReport, PolicyState
from protos.tandem.v1 import fleet_pb2 as pb

MAX_CERTIFICATE_BYTES = 1 << 16
MAX_SIGNATURE_BYTES = 1 << 10
_MAX_SHOWN_CHARS = 64


def policy_to_wire(policy: DesiredPolicy | None) -> pb.DesiredPolicy | None:
    """How a binding should decide; None: nothing is said."""
    if policy is None:
        return None
    return pb.DesiredPolicy(
        version=policy.version,
        mode=policy.mode.value,
        threshold=policy.threshold,
        audit_rate=policy.audit_rate,
        certificate=policy.certificate,
        signature=policy.signature,
        pack_digest=policy.pack_digest,
        voided_certificate=policy.voided_certificate,
    )


def policy_from_wire(wire: pb.DesiredPolicy, field: str) -> DesiredPolicy:
    """How a binding should decide.

    Raises:
        CodecError: A field cannot be what it says.
    """
    if wire.version == 0:
        raise CodecError(f"{field}.version", "is 0; versions start at 1")
    try:
        mode = PolicyMode(wire.mode)
    except ValueError as exc:
        raise CodecError(f"{field}.mode", f"{wire.mode[:_MAX_SHOWN_CHARS]!r} is unknown") from exc
    for name, size, most in (
        ("certificate", len(wire.certificate), MAX_CERTIFICATE_BYTES),
        ("signature", len(wire.signature), MAX_SIGNATURE_BYTES),
    ):
        if size > most:
            raise CodecError(f"{field}.{name}", f"{size} bytes, wanted at most {most}")
    threshold = wire.threshold if wire.HasField("threshold") else None
    if mode is PolicyMode.TIGHTEN and threshold is None:
        raise CodecError(f"{field}.threshold", "is absent; to tighten is to raise it")
    return DesiredPolicy(
        version=wire.version,
        mode=mode,
        threshold=None if threshold is None else _finite(threshold, f"{field}.threshold"),
        audit_rate=_unit(wire.audit_rate, f"{field}.audit_rate") if wire.HasField("audit_rate") else None,
        certificate=wire.certificate,
        signature=wire.signature,
        pack_digest=wire.pack_digest,
        voided_certificate=wire.voided_certificate,
    )


def policy_report_to_wire(report: PolicyReport) -> pb.PolicyReport:
    """How one policy fared."""
    return pb.PolicyReport(
        binding=report.binding,
        policy_version=report.policy_version,
        pack=report.pack,
        pack_digest=report.pack_digest,
        decided=report.decided,
        kept=report.kept,
        escalated=report.escalated,
        audits_drawn=report.audits_drawn,
        audits_lost=report.audits_lost,
        audit_rate=report.audit_rate,
        threshold=report.threshold,
        state=report.state.value,
        detail=report.detail,
        suppressed=report.suppressed,
        suppressed_asked=report.suppressed_asked,
        unanswered=report.unanswered,
    )


def policy_report_from_wire(wire: pb.PolicyReport, field: str) -> PolicyReport:
    """How one policy fared.

    Raises:
        CodecError: A field cannot be what it says.
    """
    try:
        state = PolicyState(wire.state)
    except ValueError as exc:
        raise CodecError(f"{field}.state", f"{wire.state[:_MAX_SHOWN_CHARS]!r} is unknown") from exc
    return PolicyReport(
        binding=wire.binding,
        policy_version=wire.policy_version,
        pack=wire.pack,
        pack_digest=wire.pack_digest,
        decided=wire.decided,
        kept=wire.kept,
        escalated=wire.escalated,
        audits_drawn=wire.audits_drawn,
        audits_lost=wire.audits_lost,
        audit_rate=_unit(wire.audit_rate, f"{field}.audit_rate"),
        threshold=_finite(wire.threshold, f"{field}.threshold") if wire.HasField("threshold") else None,
        state=state,
        detail=wire.detail,
        suppressed=wire.suppressed,
        suppressed_asked=wire.suppressed_asked,
        unanswered=wire.unanswered,
    )


def budget_to_wire(report: BudgetReport) -> pb.BudgetReport:
    """One part of the device's budget."""
    return pb.BudgetReport(resource=report.resource, pool=report.pool, spent=report.spent, left=report.left)


def budget_from_wire(wire: pb.BudgetReport, field: str) -> BudgetReport:
    """One part of the device's budget.

    Raises:
        CodecError: An amount is no number.
    """
    return BudgetReport(
        wire.resource, wire.pool, _finite(wire.spent, f"{field}.spent"), _finite(wire.left, f"{field}.left")
    )


def drift_to_wire(report: DriftReport) -> pb.DriftReport:
    """An input statistic that has changed."""
    return pb.DriftReport(binding=report.binding, signal=report.signal, at_ns=report.at_ns, statistic=report.statistic)


def drift_from_wire(wire: pb.DriftReport, field: str) -> DriftReport:
    """An input statistic that has changed.

    Raises:
        CodecError: The statistic is no number.
    """
    return DriftReport(wire.binding, wire.signal, wire.at_ns, _finite(wire.statistic, f"{field}.statistic"))


def _unit(value: float, field: str) -> float:
    if not (math.isfinite(value) and 0.0 <= value <= 1.0):
        raise CodecError(field, f"{value} is not between 0 and 1")
    return value


def _finite(value: float, field: str) -> float:
    if not math.isfinite(value):
        raise CodecError(field, f"{value} is not finite")
    return value
