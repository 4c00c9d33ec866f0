"""Owns devices and what is known of them, for the tests of how they are told."""

from dataclasses import replace
from typing import Any

from cloud_hub.core.cases import CaseCount
from cloud_hub.core.console.fleet_view import Moment
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.registry import DeviceFacts
from cloud_hub.core.trends import TrendPoint
from cloud_hub.core.twin import DesiredTwin, SlotDesire
from protos.messages.escalation import Reason
from protos.messages.fleet import BindingReport, Heartbeat, InstallPhase, SlotReport, SlotState
from protos.messages.inference import ModelUse

S = 1_000_000_000
NOW_NS = 1_795_305_600 * S
MOMENT = Moment(NOW_NS, 10.0, 600.0)
V1, V2 = "band@1.0.0", "band@2.0.0"
DIGESTS = {V1: "sha256:1", V2: "sha256:2"}


def key(name: str) -> DeviceKey:
    """A device of one site."""
    return DeviceKey("o", "lyon", name)


def slot(pack: str = V1, **changes: Any) -> SlotReport:  # noqa: ANN401 - as dataclasses.replace
    """What one binding runs."""
    still = SlotReport(
        "wrist", pack, DIGESTS[pack], SlotState.COMMITTED, None, is_pinned=False, phase=InstallPhase.IDLE
    )
    return replace(still, **changes)


def binding(name: str = "wrist", pack: str = V1, **changes: Any) -> BindingReport:  # noqa: ANN401 - as dataclasses.replace
    """One binding of a report."""
    return replace(BindingReport(name, ModelUse(pack, DIGESTS[pack]), 100, 10, 10, "certified", 3.0), **changes)


def device(name: str = "d1", *, silent_s: float | None = 1.0, desired: str = "", **changes: Any) -> DeviceFacts:  # noqa: ANN401 - fields of a heartbeat
    """A device that was last heard so long ago, or never; `changes` are to its heartbeat."""
    heartbeat = Heartbeat(
        number=1,
        device_time_ns=NOW_NS,
        state="ok",
        problems=(),
        outbox_bytes=0,
        outbox_items=0,
        outbox_oldest_age_ms=None,
        bindings=(binding(),),
        desired_version=1,
        slots=(slot(),),
    )
    twin = None
    if desired:
        want = SlotDesire("wrist", desired, DIGESTS[desired], "ana", NOW_NS - 5 * S)
        twin = DesiredTwin(key(name), 1, (want,), "ana", NOW_NS - 5 * S)
    return DeviceFacts(
        key=key(name),
        is_removed=False,
        enrolled_at_ns=1,
        certificate_not_after_ns=None,
        session_epoch=1,
        agent_version="0.1.0",
        store_id="s",
        last_heartbeat_at_ns=None if silent_s is None else NOW_NS - int(silent_s * S),
        heartbeat=None if silent_s is None else replace(heartbeat, **changes),
        items=0,
        waiting=0,
        verdicts=0,
        verdicts_acked=0,
        desired=twin,
    )


def point(name: str = "d1", *, at_s: int = 0, span_s: int = 60, of: str = "wrist", **changes: Any) -> TrendPoint:  # noqa: ANN401 - as dataclasses.replace
    """What happened in one bucket that began so long before now."""
    still = TrendPoint(key(name), of, NOW_NS - at_s * S, span_s * S, 100, 10, 10, 3.0, 0)
    return replace(still, **changes)


def count(
    name: str = "d1", *, at_s: int = 0, reason: Reason = Reason.LOW_CONFIDENCE, cases: int = 10, disagreed: int = 1
) -> CaseCount:
    """What one device escalated in one bucket."""
    return CaseCount(NOW_NS - at_s * S, key(name), "wrist", reason, cases, cases, disagreed)
