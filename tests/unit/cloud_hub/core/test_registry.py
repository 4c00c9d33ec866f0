"""The registry's document shows what is known and nothing else."""

import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import jsonschema

from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.policies import PolicyDesire
from cloud_hub.core.registry import (
    DeviceFacts,
    Place,
    desired_places,
    devices_document,
    heartbeat_age_s,
    running_places,
)
from cloud_hub.core.twin import DesiredTwin, SlotDesire
from protos.messages.fleet import (
    BindingReport,
    DesiredPolicy,
    FailureAction,
    Heartbeat,
    InstallPhase,
    PackFailure,
    PolicyMode,
    PolicyReport,
    PolicyState,
    SlotReport,
    SlotState,
)
from protos.messages.inference import ModelUse

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
    desired=None,
)
TWIN = DesiredTwin(FACTS.key, 3, (SlotDesire("band", "band@2.0.0", "sha256:2", "", 1),), "", 1)
FAILURE = PackFailure("band@2.0.0", "sha256:2", FailureAction.REFUSED, "bad_digest", "why", 7)
SLOT = SlotReport("band", "band@1.0.0", "sha256:1", SlotState.COMMITTED, None, is_pinned=False, phase=InstallPhase.IDLE)
BINDING = BindingReport("band", ModelUse("band@1.0.0", "sha256:1"), 1, 1, 1, "certified")


def document(*facts: DeviceFacts) -> Any:  # noqa: ANN401 - JSON
    """The devices of the document, checked against the shipped schema."""
    whole = devices_document(facts, hub_incarnation="h", now_ns=5, heartbeat_interval_s=10.0, install_timeout_s=9.0)
    jsonschema.validate(whole, json.loads((files("cloud_hub") / "schemas" / "devices.schema.json").read_text()))
    return whole["devices"]


def test_what_is_not_known_is_null() -> None:
    """A device that never spoke has no version, no age and no report; it is not offline but never seen."""
    (device,) = document(FACTS)
    assert device["liveness"] == "never_seen"
    assert [device[key] for key in ("heartbeat_age_s", "agent_version", "store_id", "desired", "report")] == [None] * 5
    assert device["slots"] == []


def test_both_sides_of_the_twin_are_shown_and_compared() -> None:
    """What is desired, what was reported, and that the desired pack failed with its reason."""
    beat = Heartbeat(1, 0, "ok", (), 0, 0, None, (BINDING,), 3, (replace(SLOT, failure=FAILURE),))
    (device,) = document(replace(FACTS, last_heartbeat_at_ns=2, heartbeat=beat, desired=TWIN))
    assert (device["desired"]["version"], device["desired"]["slots"][0]["pack"]) == (3, "band@2.0.0")
    assert device["report"]["slots"][0]["failure"]["reason"] == "bad_digest"
    (slot,) = device["slots"]
    assert (slot["desired"], slot["reported"], slot["state"], slot["reason"]) == (
        "band@2.0.0",
        "band@1.0.0",
        "failed",
        "bad_digest",
    )
    (device,) = document(replace(FACTS, heartbeat=replace(beat, slots=(SLOT,)), last_heartbeat_at_ns=2))
    assert device["report"]["slots"][0]["failure"] is None


def test_how_a_binding_decides_is_shown_beside_how_it_should() -> None:
    """Version and threshold in force, what backs them, and the wanted policy with what the device made of it."""
    own = PolicyReport("band", 0, "band@1.0.0", "sha256:1", 9, 8, 1, 1, 0, 0.05, 0.8, PolicyState.ACTIVE)
    wanted = PolicyDesire("band", DesiredPolicy(1, PolicyMode.SERVE, 0.6), "recertified", "ada", 4)
    no = replace(own, policy_version=1, threshold=0.6, state=PolicyState.REFUSED, detail="signed by no key")
    beat = Heartbeat(1, 0, "ok", (), 0, 0, None, (BINDING,), policies=(own, no))
    silent = replace(BINDING, binding="old")
    twin = replace(TWIN, policies=(wanted, replace(wanted, binding="new")))
    facts = replace(FACTS, last_heartbeat_at_ns=2, heartbeat=beat, desired=twin)
    (device,) = document(facts)
    band, new = device["policies"]
    assert [band[key] for key in ("binding", "version", "threshold", "certificate_state")] == [
        "band",
        0,
        0.8,
        "certified",
    ]
    assert band["desired"] == {
        "version": 1,
        "mode": "serve",
        "threshold": 0.6,
        "state": "refused",
        "detail": "signed by no key",
        "reason": "recertified",
        "set_by": "ada",
        "set_at_ns": 4,
    }
    assert (new["version"], new["certificate_state"], new["desired"]["state"]) == (None, None, "pending")
    (device,) = document(replace(facts, heartbeat=replace(beat, bindings=(silent,), policies=()), desired=None))
    assert device["policies"] == [
        {"binding": "old", "version": None, "threshold": None, "certificate_state": "certified", "desired": None}
    ]
    (device,) = document(FACTS)
    assert device["policies"] == []


def test_places_tell_where_a_pack_should_run_and_does() -> None:
    """Both by name@version; a removed device counts for neither."""
    beat = Heartbeat(1, 0, "ok", (), 0, 0, None, (BINDING,))
    there = replace(FACTS, last_heartbeat_at_ns=2, heartbeat=beat, desired=TWIN)
    removed = replace(there, key=DeviceKey("o", "s", "gone"), is_removed=True)
    twice = replace(there, key=DeviceKey("o", "s", "e"))
    place = Place(FACTS.key, "band")
    assert desired_places([there, removed, FACTS, twice]) == {"band@2.0.0": (place, Place(twice.key, "band"))}
    assert running_places([there, removed, FACTS]) == {"band@1.0.0": (place,)}


def test_a_heartbeat_from_the_future_is_zero_seconds_old() -> None:
    """A clock that was set back never makes a negative age."""
    beat = Heartbeat(1, 0, "ok", (), 0, 0, None, ())
    facts = replace(FACTS, last_heartbeat_at_ns=2_000_000_000, heartbeat=beat)
    assert heartbeat_age_s(facts, 1_000_000_000) == 0.0
    assert heartbeat_age_s(facts, 4_500_000_000) == 2.5


def test_a_heartbeat_stamped_by_a_clock_that_was_ahead_makes_nobody_online() -> None:
    """A month ahead: how long ago that was is not known, and the device is offline until it is heard again."""
    beat = Heartbeat(1, 0, "ok", (), 0, 0, None, ())
    facts = replace(FACTS, last_heartbeat_at_ns=30 * 86_400 * 1_000_000_000, heartbeat=beat)
    (device,) = document(facts)
    assert (device["liveness"], device["heartbeat_age_s"]) == ("offline", None)
