"""Silence tells how a device is."""

import pytest

from cloud_hub.core.liveness import Liveness, liveness


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [
        (None, Liveness.NEVER_SEEN),
        (0.0, Liveness.ONLINE),
        (30.0, Liveness.ONLINE),
        (30.1, Liveness.STALE),
        (100.0, Liveness.STALE),
        (100.1, Liveness.OFFLINE),
    ],
)
def test_missed_heartbeats_make_a_device_stale_then_offline(age_s: float | None, expected: Liveness) -> None:
    """Three missed beats of 10 s are stale, ten are offline, none ever is unknown."""
    assert liveness(age_s, 10.0) is expected
