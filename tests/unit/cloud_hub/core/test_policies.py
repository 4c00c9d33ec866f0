"""A desired policy is pending until the device says that it decides by it, and a refusal says why."""

from dataclasses import replace

import pytest

from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.policies import (
    PolicyDesire,
    PolicyPhase,
    policy_document,
    policy_of,
    policy_states,
    read_policy,
    with_desire,
)
from cloud_hub.core.twin import merged, with_policy, without
from protos.messages.fleet import DesiredPolicy, DesiredSlot, Heartbeat, PolicyMode, PolicyReport, PolicyState

PRESS = DeviceKey("o", "s", "press-07")
POLICY = DesiredPolicy(3, PolicyMode.SERVE, 0.5, 0.1, b'{"a":1}', b"\x00\xff", "sha256:p", "sha256:c")
DESIRE = PolicyDesire("band", POLICY, "recertified", "ada", 7)
MUTE = "the agent takes no policies from the hub: update it"
ACTIVE = PolicyReport("band", 3, "a@1.0.0", "sha256:p", 0, 0, 0, 0, 0, 0.1, 0.5, PolicyState.ACTIVE)


def beat(*reports: PolicyReport) -> Heartbeat:
    """A heartbeat that says so of policies."""
    return Heartbeat(1, 1, "ok", (), 0, 0, None, (), policies=reports)


def test_a_policy_rests_as_json() -> None:
    """With bytes that are no text, and with nothing optional set."""
    bare = replace(DESIRE, policy=DesiredPolicy(1, PolicyMode.HUB_ONLY))
    for desire in (DESIRE, bare):
        assert read_policy(policy_document(desire)) == desire


@pytest.mark.parametrize(
    ("heartbeat", "phase", "detail"),
    [
        (None, PolicyPhase.PENDING, MUTE),
        (beat(replace(ACTIVE, policy_version=2)), PolicyPhase.PENDING, ""),
        (beat(ACTIVE), PolicyPhase.IN_FORCE, ""),
        (beat(replace(ACTIVE, policy_version=4)), PolicyPhase.IN_FORCE, ""),
        (
            beat(replace(ACTIVE, policy_version=2), replace(ACTIVE, state=PolicyState.REFUSED, detail="not signed")),
            PolicyPhase.REFUSED,
            "not signed",
        ),
        (
            beat(replace(ACTIVE, policy_version=0, pack_digest="sha256:q")),
            PolicyPhase.OTHER_PACK,
            "for another pack than a@1.0.0",
        ),
        (
            beat(replace(ACTIVE, binding="other")),
            PolicyPhase.PENDING,
            MUTE,
        ),
    ],
)
def test_what_the_device_says_decides(heartbeat: Heartbeat | None, phase: PolicyPhase, detail: str) -> None:
    """Nothing is in force because it was sent."""
    (status,) = policy_states((DESIRE,), heartbeat)
    assert (status.phase, status.detail, status.since_ns) == (phase, detail, 7)


def test_one_binding_has_one_policy() -> None:
    """The newest desire takes the place of the one before; others stay."""
    other = replace(DESIRE, binding="alpha")
    newer = replace(DESIRE, policy=replace(POLICY, version=4))
    both = with_desire(with_desire((DESIRE,), other), newer)
    assert both == (other, newer)
    assert policy_of(both, "band") == newer
    assert policy_of(both, "gone") is None


def test_packs_and_policies_do_not_disturb_each_other() -> None:
    """Each change is a version of the whole twin, and keeps the other side."""
    first = with_policy(None, PRESS, DESIRE)
    assert (first.version, first.slots, first.set_by, first.set_at_ns) == (1, (), "ada", 7)
    second = merged(first, PRESS, [DesiredSlot("band", "a@1.0.0", "sha256:1")], actor="bob", now_ns=8)
    assert (second.version, second.policies) == (2, (DESIRE,))
    third = without(second, "band", actor="bob", now_ns=9)
    assert (third.version, third.slots, third.policies) == (3, (), (DESIRE,))


def test_a_device_is_told_of_policies_only_when_it_takes_them() -> None:
    """An older agent would take a slot without a pack for a pack without a name."""
    twin = merged(
        with_policy(None, PRESS, DESIRE), PRESS, [DesiredSlot("alpha", "a@1.0.0", "sha256:1")], actor="", now_ns=8
    )
    assert twin.message().slots == (DesiredSlot("alpha", "a@1.0.0", "sha256:1"),)
    assert twin.message(takes_policies=True).slots == (
        DesiredSlot("alpha", "a@1.0.0", "sha256:1"),
        DesiredSlot("band", "", "", POLICY),
    )
