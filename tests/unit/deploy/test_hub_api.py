"""What the demo reads of the hub's registry."""

from typing import Any

import pytest

from deploy.demo.fleet import LEFT
from deploy.demo.hub_api import Slot, read_slots

V1, V2 = "motion-band-edge@1.0.0", "motion-band-edge@2.0.0"


def registry(**slot: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    """A registry with one agent that has one binding, and one that has not said a word."""
    whole = {"binding": "motion", "desired": None, "reported": V1, "state": "in_sync", "reason": None, "detail": None}
    return {"devices": [{"device": "left", "slots": [{**whole, **slot}]}, {"device": "branch", "slots": []}]}


def test_a_slot_is_read_by_agent() -> None:
    """What is not said is empty; an agent without a binding is not there."""
    assert read_slots(registry()) == {LEFT.name: Slot(None, V1, "in_sync", "", "")}


@pytest.mark.parametrize(
    ("slot", "runs"),
    [
        ({"desired": V2, "reported": V2, "state": "in_sync"}, True),
        ({"desired": V2, "reported": V2, "state": "trial"}, False),
        ({"desired": V2, "reported": V1, "state": "installing"}, False),
        ({"desired": None, "reported": V1, "state": "in_sync"}, False),
    ],
    ids=["committed", "on trial", "on its way", "another"],
)
def test_installed_is_what_runs_for_good(slot: dict[str, Any], runs: bool) -> None:  # noqa: FBT001 - an expectation
    """A pack on trial is not installed yet."""
    assert read_slots(registry(**slot))[LEFT.name].runs(V2) is runs


def test_a_refusal_is_of_the_pack_that_is_desired() -> None:
    """A failure of another pack, or a wait, is no refusal of this one."""
    slot = read_slots(registry(desired=V2, state="failed", reason="bad_digest", detail="why"))[LEFT.name]
    assert (slot.refuses(V2), slot.reason, slot.detail) == (True, "bad_digest", "why")
    assert not slot.refuses(V1)
    assert not read_slots(registry(desired=V2, state="pending"))[LEFT.name].refuses(V2)
