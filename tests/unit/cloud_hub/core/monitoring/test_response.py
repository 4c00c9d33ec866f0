"""What the hub does about an alarm by itself: it asks more, never less, once for each version that failed."""

from dataclasses import replace

import pytest

from cloud_hub.core.monitoring.response import InForce, Reaction, next_version, tightened
from cloud_hub.core.monitoring.watch import Alarm
from protos.messages.fleet import DesiredPolicy, PolicyMode

OWN = InForce(0, 0.9, "sha256:pack", "sha256:certificate")
ALL_TO_THE_HUB = Reaction(PolicyMode.HUB_ONLY, 0.99, frozenset({Alarm.VOID, Alarm.DISAGREEMENT}))
RAISE = replace(ALL_TO_THE_HUB, mode=PolicyMode.TIGHTEN)


def test_a_void_certificate_sends_everything_to_the_hub() -> None:
    """For the pack that failed, and with the certificate named."""
    assert tightened(Alarm.VOID, OWN, None, 0, ALL_TO_THE_HUB) == DesiredPolicy(
        1, PolicyMode.HUB_ONLY, pack_digest="sha256:pack", voided_certificate="sha256:certificate"
    )


def test_the_weaker_statement_voids_nothing() -> None:
    """Disagreement asks more too, and leaves the certificate to people."""
    policy = tightened(Alarm.DISAGREEMENT, OWN, None, 0, ALL_TO_THE_HUB)
    assert policy is not None
    assert policy.voided_certificate == ""


def test_the_threshold_is_raised_where_that_is_wanted() -> None:
    """And not lowered where it is higher already."""
    policy = tightened(Alarm.VOID, OWN, None, 0, RAISE)
    assert policy is not None
    assert (policy.mode, policy.threshold) == (PolicyMode.TIGHTEN, 0.99)
    assert tightened(Alarm.VOID, replace(OWN, threshold=0.995), None, 0, RAISE) is None


@pytest.mark.parametrize(
    ("alarm", "about", "newest", "reaction"),
    [
        (Alarm.ESCALATES_MORE, OWN, None, ALL_TO_THE_HUB),
        (Alarm.VOID, OWN, None, replace(ALL_TO_THE_HUB, mode=None)),
        (Alarm.VOID, OWN, DesiredPolicy(1, PolicyMode.HUB_ONLY), ALL_TO_THE_HUB),
        (Alarm.VOID, replace(OWN, threshold=None), None, ALL_TO_THE_HUB),
    ],
)
def test_where_nothing_is_to_be_done_nothing_is_done(
    alarm: Alarm, about: InForce, newest: DesiredPolicy | None, reaction: Reaction
) -> None:
    """Another alarm, alarms only, a version that was followed already, a policy that keeps nothing."""
    assert tightened(alarm, about, newest, 0, reaction) is None


def test_versions_only_grow() -> None:
    """Above what is desired and above what the device ever held, whichever hub gave that out."""
    newest = DesiredPolicy(3, PolicyMode.SERVE)
    assert next_version(None, 0) == 1
    assert next_version(newest, 0) == 4
    assert next_version(newest, 9) == 10
    policy = tightened(Alarm.VOID, replace(OWN, version=3), newest, 9, ALL_TO_THE_HUB)
    assert policy is not None
    assert policy.version == 10
