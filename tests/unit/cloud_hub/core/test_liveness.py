"""Silence tells how a device is."""

import pytest

from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.liveness import MAX_AHEAD_S, Heard, Liveness, LivenessChange, liveness, liveness_changes


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [
        (None, Liveness.NEVER_SEEN),
        (0.0, Liveness.ONLINE),
        (30.0, Liveness.ONLINE),
        (30.1, Liveness.STALE),
        (100.0, Liveness.STALE),
        (100.1, Liveness.OFFLINE),
        (-MAX_AHEAD_S, Liveness.ONLINE),
        (-MAX_AHEAD_S - 0.1, Liveness.OFFLINE),
    ],
)
def test_missed_heartbeats_make_a_device_stale_then_offline(age_s: float | None, expected: Liveness) -> None:
    """Three missed beats of 10 s are stale, ten are offline, none ever is unknown; one yet to come says nothing."""
    assert liveness(age_s, 10.0) is expected


PRESS = DeviceKey("o", "s", "press-07")
NOW_S = 10_000


@pytest.mark.parametrize(
    ("told", "age_s", "listened_s", "expected"),
    [
        (None, None, 999, None),
        (None, 5, 999, Liveness.ONLINE),
        (Liveness.ONLINE, 5, 999, None),
        (Liveness.ONLINE, 40, 999, Liveness.STALE),
        (Liveness.STALE, 40, 999, None),
        (Liveness.STALE, 140, 999, Liveness.OFFLINE),
        (Liveness.ONLINE, 140, 999, Liveness.OFFLINE),
        (Liveness.OFFLINE, 140, 999, None),
        (Liveness.OFFLINE, 5, 999, Liveness.ONLINE),
        (Liveness.OFFLINE, 40, 999, Liveness.STALE),
        (Liveness.ONLINE, 5_000, 20, None),
        (Liveness.ONLINE, 5_000, 40, Liveness.STALE),
        (Liveness.STALE, 5_000, 40, None),
        (Liveness.OFFLINE, 5_000, 1, None),
        (None, 5_000, 1, None),
        (None, 5_000, 140, Liveness.OFFLINE),
        (Liveness.ONLINE, -9_000, 20, None),
        (Liveness.ONLINE, -9_000, 40, Liveness.STALE),
        (Liveness.ONLINE, -9_000, 140, Liveness.OFFLINE),
        (Liveness.OFFLINE, -9_000, 1, None),
        (None, -9_000, 1, None),
    ],
)
def test_a_change_is_told_once_and_never_for_the_hubs_own_absence(
    told: Liveness | None, age_s: int | None, listened_s: int, expected: Liveness | None
) -> None:
    """Silence counts only while the hub listened, also that of who was last heard by a clock that was ahead."""
    heard_ns = None if age_s is None else (NOW_S - age_s) * 1_000_000_000
    changes = liveness_changes(
        [Heard(PRESS, heard_ns, told)],
        now_ns=NOW_S * 1_000_000_000,
        listening_since_ns=(NOW_S - listened_s) * 1_000_000_000,
        interval_s=10.0,
    )
    assert changes == (() if expected is None else (LivenessChange(PRESS, told, expected),))
