"""Policies cross the wire as they were, a peer's mistake is named by field, and a signature holds for one place."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_packs.errors import SigningError
from model_packs.signing import SiteKey, generate_site_key
from protos.codec import fleet
from protos.codec.errors import CodecError
from protos.link.signed_policy import PolicyPlace, check_signed, signed
from protos.messages.fleet import (
    BudgetReport,
    Desired,
    DesiredPolicy,
    DesiredSlot,
    DriftReport,
    Heartbeat,
    PolicyMode,
    PolicyReport,
    PolicyState,
)
from protos.tandem.v1 import fleet_pb2
from tests.contract.wire_examples import EXAMPLES

TEXT = st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=20)
COUNT = st.integers(0, 2**62)
UNIT = st.floats(0.0, 1.0)
PLACE = PolicyPlace("acme", "plant-1", "press-07", "motion")
LOOSER = DesiredPolicy(3, PolicyMode.SERVE, 0.5, 0.1, b'{"threshold":0.5}', pack_digest="sha256:1")

POLICIES = st.builds(
    DesiredPolicy,
    version=st.integers(1, 2**62),
    mode=st.sampled_from(PolicyMode),
    threshold=st.floats(allow_nan=False, allow_infinity=False),
    audit_rate=st.none() | UNIT,
    certificate=st.binary(max_size=50),
    signature=st.binary(max_size=64),
    pack_digest=TEXT,
    voided_certificate=TEXT,
)
REPORTS = st.builds(
    PolicyReport,
    binding=TEXT,
    policy_version=COUNT,
    pack=TEXT,
    pack_digest=TEXT,
    decided=COUNT,
    kept=COUNT,
    escalated=COUNT,
    audits_drawn=COUNT,
    audits_lost=COUNT,
    audit_rate=UNIT,
    threshold=st.none() | UNIT,
    state=st.sampled_from(PolicyState),
    detail=TEXT,
    suppressed=COUNT,
    suppressed_asked=COUNT,
    unanswered=COUNT,
)
BUDGETS = st.builds(BudgetReport, TEXT, TEXT, st.floats(0, 1e18), st.floats(0, 1e18))
DRIFTS = st.builds(DriftReport, TEXT, TEXT, COUNT, st.floats(allow_nan=False, allow_infinity=False))


@pytest.fixture
def site_key(tmp_path: Path) -> SiteKey:
    """The key that signs."""
    return generate_site_key(tmp_path / "site.key")


@given(POLICIES)
def test_a_policy_survives_the_wire(policy: DesiredPolicy) -> None:
    """What the hub wants of decisions is what the device reads, with the pack or alone."""
    desired = Desired(1, (DesiredSlot("motion", "a@1.0.0", "sha256:1", policy), DesiredSlot("digits", "", "", policy)))
    assert fleet.directive_from_wire(fleet.directive_to_wire(desired)) == desired


@pytest.mark.parametrize("mode", [PolicyMode.SERVE, PolicyMode.HUB_ONLY])
def test_a_policy_without_a_threshold_survives_the_wire(mode: PolicyMode) -> None:
    """The pack's own policy, and asking the hub always, need no number."""
    desired = Desired(1, (DesiredSlot("motion", "", "", DesiredPolicy(1, mode)),))
    assert fleet.directive_from_wire(fleet.directive_to_wire(desired)) == desired


@given(*(st.lists(one, max_size=3).map(tuple) for one in (REPORTS, DRIFTS, BUDGETS)))
def test_how_policies_fare_survives_the_wire(
    policies: tuple[PolicyReport, ...], drift: tuple[DriftReport, ...], budget: tuple[BudgetReport, ...]
) -> None:
    """Totals, alarms and what is spent arrive as they were reported."""
    beat = Heartbeat(1, 1, "ok", (), 0, 0, None, (), policies=policies, drift=drift, budget=budget)
    assert fleet.report_from_wire(fleet.report_to_wire(beat)) == beat


@pytest.mark.parametrize(
    ("broken", "field"),
    [
        ({"version": 0}, "version"),
        ({"mode": "loosen"}, "mode"),
        ({"threshold": float("nan")}, "threshold"),
        ({"audit_rate": 1.5}, "audit_rate"),
        ({"certificate": b"x" * 65_537}, "certificate"),
        ({"signature": b"x" * 1_025}, "signature"),
    ],
)
def test_a_broken_policy_names_its_field(broken: dict[str, object], field: str) -> None:
    """A device never decides by what it cannot read."""
    wire = fleet.directive_to_wire(Desired(1, (DesiredSlot("motion", "", "", LOOSER),)))
    for name, value in broken.items():
        setattr(wire.desired.slots[0].policy, name, value)
    with pytest.raises(CodecError) as caught:
        fleet.directive_from_wire(wire)
    assert caught.value.field == f"desired.slots[0].policy.{field}"


def test_to_tighten_without_a_threshold_is_refused() -> None:
    """There is no default for how much."""
    desired = Desired(1, (DesiredSlot("motion", "", "", DesiredPolicy(1, PolicyMode.TIGHTEN)),))
    with pytest.raises(CodecError, match=r"policy\.threshold: is absent"):
        fleet.directive_from_wire(fleet.directive_to_wire(desired))


def _wire_beat() -> fleet_pb2.DeviceReport:
    beat = EXAMPLES["fleet_heartbeat_with_policies"][1]
    assert isinstance(beat, Heartbeat)
    return fleet.report_to_wire(replace(beat, budget=(BudgetReport("calls", "main", 29.0, 1.5),)))


@pytest.mark.parametrize(
    ("entries", "broken", "field"),
    [
        ("policies", {"state": "asleep"}, "policies[0].state"),
        ("policies", {"audit_rate": -0.1}, "policies[0].audit_rate"),
        ("policies", {"threshold": float("inf")}, "policies[0].threshold"),
        ("drift", {"statistic": float("nan")}, "drift[0].statistic"),
        ("budget", {"spent": float("inf")}, "budget[0].spent"),
    ],
)
def test_a_broken_report_names_its_field(entries: str, broken: dict[str, object], field: str) -> None:
    """A number that is none never reaches a test of a certificate."""
    wire = _wire_beat()
    for name, value in broken.items():
        setattr(getattr(wire.heartbeat, entries)[0], name, value)
    with pytest.raises(CodecError) as caught:
        fleet.report_from_wire(wire)
    assert caught.value.field == f"heartbeat.{field}"


@pytest.mark.parametrize("field", ["policies", "drift"])
def test_too_many_reports_are_refused_by_name(field: str) -> None:
    """A heartbeat is stored as a whole, so it is bounded."""
    wire = _wire_beat()
    entries = getattr(wire.heartbeat, field)
    entries.extend([entries[0]] * fleet.MAX_POLICIES)
    with pytest.raises(CodecError, match=rf"heartbeat\.{field}: 1025 entries, wanted at most 1024"):
        fleet.report_from_wire(wire)


def test_a_signed_policy_holds_where_it_was_meant_for(site_key: SiteKey) -> None:
    """A device takes it from the key that it pinned."""
    check_signed(PLACE, signed(site_key, PLACE, LOOSER), (site_key.public,))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 4},
        {"mode": PolicyMode.HUB_ONLY},
        {"threshold": 0.25},
        {"audit_rate": 0.0},
        {"certificate": b'{"threshold":0.25}'},
        {"pack_digest": "sha256:2"},
        {"voided_certificate": "sha256:3"},
    ],
)
def test_a_changed_policy_is_not_the_signed_one(site_key: SiteKey, change: dict[str, object]) -> None:
    """A stolen hub without the key can neither loosen nor replay."""
    altered = replace(signed(site_key, PLACE, LOOSER), **change)  # type: ignore[arg-type]  # one field of several types
    with pytest.raises(SigningError, match="no key that is trusted"):
        check_signed(PLACE, altered, (site_key.public,))


@pytest.mark.parametrize("part", ["org_id", "site_id", "device_id", "binding"])
def test_a_policy_of_another_place_does_not_pass(site_key: SiteKey, part: str) -> None:
    """What holds for one machine's data says nothing of another's."""
    there = replace(PLACE, **{part: "other"})
    with pytest.raises(SigningError, match="no key that is trusted"):
        check_signed(there, signed(site_key, PLACE, LOOSER), (site_key.public,))


def test_a_policy_needs_a_signature_by_a_trusted_key(site_key: SiteKey, tmp_path: Path) -> None:
    """Neither none, nor another key's, nor the same key's signature of a pack will do."""
    other = generate_site_key(tmp_path / "other.key")
    with pytest.raises(SigningError, match="is not signed"):
        check_signed(PLACE, LOOSER, (site_key.public,))
    with pytest.raises(SigningError, match="no key that is trusted"):
        check_signed(PLACE, signed(other, PLACE, LOOSER), (site_key.public,))
    check_signed(PLACE, signed(other, PLACE, LOOSER), (site_key.public, other.public))
