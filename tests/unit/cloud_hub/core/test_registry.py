"""The registry's document shows what is known and nothing else."""

from dataclasses import replace

from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.registry import DeviceFacts, devices_document, heartbeat_age_s
from protos.messages.fleet import Heartbeat

FACTS = DeviceFacts(
    key=DeviceKey("o", "s", "d"),
    is_removed=False,
    enrolled_at_ns=1,
    certificate_not_after_ns=None,
    session_epoch=0,
    agent_version="",
    store_id="",
    last_heartbeat_at_ns=None,
    heartbeat=None,
    items=0,
    waiting=0,
    verdicts=0,
    verdicts_acked=0,
)


def test_what_is_not_known_is_null() -> None:
    """A device that never spoke has no version, no age and no report; it is not offline but never seen."""
    (device,) = devices_document([FACTS], hub_incarnation="h", now_ns=5, heartbeat_interval_s=10.0)["devices"]
    assert device["liveness"] == "never_seen"
    assert [device[key] for key in ("heartbeat_age_s", "agent_version", "store_id", "report")] == [None] * 4


def test_a_heartbeat_from_the_future_is_zero_seconds_old() -> None:
    """A clock that was set back never makes a negative age."""
    beat = Heartbeat(1, 0, "ok", (), 0, 0, None, ())
    facts = replace(FACTS, last_heartbeat_at_ns=2_000_000_000, heartbeat=beat)
    assert heartbeat_age_s(facts, 1_000_000_000) == 0.0
    assert heartbeat_age_s(facts, 4_500_000_000) == 2.5
